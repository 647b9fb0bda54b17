"""What the tests of the extensions measure with."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import psutil
import pytest


class Growth:
    bytes: int


@pytest.fixture
def peak_growth() -> Callable[[], AbstractContextManager[Growth]]:
    """Resident memory that a block leaves behind, which counts what malloc() gave and tracemalloc does not see."""

    @contextmanager
    def measure() -> Iterator[Growth]:
        growth, process = Growth(), psutil.Process(os.getpid())
        before = process.memory_info().rss
        yield growth
        growth.bytes = process.memory_info().rss - before

    return measure
