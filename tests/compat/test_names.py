"""Names that a program of Celery's imports."""

from __future__ import annotations

from types import ModuleType

import celery.exceptions
import celery.signals
import pytest

import fastq.exceptions
import fastq.signals
from fastq.exceptions import Retry, RetryTaskError, reraise


@pytest.mark.parametrize(("theirs", "ours"), [(celery.exceptions, fastq.exceptions), (celery.signals, fastq.signals)])
def test_every_public_name_is_here(theirs: ModuleType, ours: ModuleType) -> None:
    assert [name for name in theirs.__all__ if not hasattr(ours, name)] == []


def test_every_exception_is_here_under_each_of_its_names() -> None:
    names = [name for name, value in vars(celery.exceptions).items()
             if isinstance(value, type) and value.__module__.partition(".")[0] in ("celery", "billiard", "kombu")]
    assert {"Retry", "RetryTaskError", "SystemTerminate"} < set(names)
    assert [name for name in names if not hasattr(fastq.exceptions, name)] == []


def test_an_error_is_raised_again_with_its_traceback() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        told, where = error, error.__traceback__
    with pytest.raises(KeyError) as caught:
        reraise(KeyError, told, where)
    assert caught.value is told
    assert caught.tb.tb_next.tb_next is where
    assert RetryTaskError is Retry
