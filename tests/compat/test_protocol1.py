"""Messages of protocol 1, which some old clients still send."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.compat.sides import Client, Pair


@pytest.fixture
def old(sides: tuple[str, str], pair: Pair, make_client: Callable[..., Client]) -> Pair:
    """The same worker, and a client that speaks protocol 1."""
    return Pair(make_client(sides[0], task_protocol=1, **pair.worker.settings), pair.worker)


def test_a_task_runs_and_answers(old: Pair):
    sent = old.tasks.add.delay(2, 3)
    assert sent.get(timeout=10) == 5
    facts = old.tasks.facts.apply_async(priority=3).get(timeout=10)
    assert facts["retries"] == 0 and facts["priority"] == 3


def test_keywords_and_links_arrive(old: Pair, key: str):
    assert old.tasks.echo.delay(1, two=2).get(timeout=10) == [[1], {"two": 2}]
    old.tasks.add.apply_async((2, 3), link=old.tasks.keep.s(key))
    assert old.wait_for_notes(key) == ["5"]


def test_a_failure_comes_back(old: Pair):
    with pytest.raises(ValueError, match="no good"):
        old.tasks.fail.delay("builtin").get(timeout=10)


def test_a_retry_comes_back(old: Pair):
    assert old.tasks.retry.delay(2).get(timeout=10) == 2
