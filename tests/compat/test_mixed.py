"""Workers of both sides share one queue: every task is done once, whoever takes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest

from tests.compat.conftest import common
from tests.compat.sides import Client, Pair, Worker

TASKS = 300


@pytest.fixture(scope="package")
def both(sides: tuple[str, str], start_worker: Callable[..., Worker], make_client: Callable[..., Client]) -> list[Pair]:
    """A client and a worker of each side, all on one queue."""
    queue = {"task_default_queue": f"mixed-{'-'.join(sides)}", **common(sides)}
    return [Pair(make_client(side, **queue), start_worker(side, number, **queue)) for number, side in enumerate(sides)]


def test_every_task_is_done_exactly_once_whoever_sent_it(both: list[Pair], key: str):
    for n in range(TASKS):
        both[n % 2].tasks.keep.delay(n, key)
    both[0].wait_for_notes(key, TASKS)
    assert [sent.get(timeout=10) for sent in [both[0].tasks.add.delay(n, 1) for n in range(40)]] == [*range(1, 41)]
    assert Counter(both[0].worker.noted(key)) == Counter(str(n) for n in range(TASKS))


def test_each_of_them_takes_its_share(both: list[Pair], key: str):
    for _ in range(TASKS):
        both[0].tasks.count.delay(key)
    workers = Counter(both[0].wait_for_notes(key, TASKS))
    assert sum(workers.values()) == TASKS and set(workers) == {pair.worker.name for pair in both}


def test_a_retry_may_be_taken_by_the_other(both: list[Pair]):
    sent = [both[0].tasks.retry.delay(4) for _ in range(30)]
    assert [one.get(timeout=20) for one in sent] == [4] * 30
    assert all(both[0].worker.noted(one.id) == ["0", "1", "2", "3", "4"] for one in sent)
