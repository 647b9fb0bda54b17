"""The children of a worker as processes: started, reaped, replaced, given up."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastq.exceptions import PoolError
from fastq.pool.prefork import CRASH_LIMIT, Ended, Prefork
from tests.deadline import wait_until


def wait(index: int) -> int:
    signal.pause()
    return 0


@pytest.fixture
def pools() -> Iterator[Callable[..., Prefork]]:
    made: list[Prefork] = []

    def make(main: Callable[[int], int] = wait, size: int = 1) -> Prefork:
        made.append(Prefork(size, main))
        made[-1].start()
        return made[-1]

    yield make
    for pool in made:
        pool.kill(range(pool.size))


def ended(pool: Prefork) -> Ended:
    [one] = wait_until(pool.reap, what="a child to end")
    return one


def test_a_child_that_ends_is_reported_once_with_how_it_ended(pools: Callable[..., Prefork]) -> None:
    pool = pools(lambda index: 7)
    pid = pool.pid_of(0)
    one = ended(pool)
    assert (one.index, one.pid, one.status, one.expected) == (0, pid, 7, False)
    assert str(one) == f"child 0 (pid {pid}) exited with status 7"
    assert (pool.reap(), len(pool), pool.pid_of(0), pool.signal(0, 0)) == ([], 0, 0, False)


def test_a_killed_child_is_reported_with_the_signal(pools: Callable[..., Prefork]) -> None:
    pool = pools()
    assert pool.signal(0, signal.SIGKILL)
    assert str(ended(pool)).endswith("was killed by SIGKILL")


def test_start_forks_only_the_children_that_are_missing(pools: Callable[..., Prefork]) -> None:
    pool = pools(size=3)
    before = [pool.pid_of(index) for index in range(3)]
    pool.kill([1, 7])
    pool.start()
    after = [pool.pid_of(index) for index in range(3)]
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] not in (0, before[1])


def test_children_that_never_come_up_end_in_one_error(pools: Callable[..., Prefork]) -> None:
    pool = pools(lambda index: os._exit(3))
    for _ in range(CRASH_LIMIT):
        pool.replace(ended(pool))
    with pytest.raises(PoolError, match=r"6 children ended before they could take a task.* exited with status 3"):
        pool.replace(ended(pool))


def test_children_that_die_of_their_tasks_are_replaced_for_ever(pools: Callable[..., Prefork]) -> None:
    pool = pools(lambda index: os._exit(3))
    for _ in range(3 * CRASH_LIMIT):
        pool.replace(ended(pool), was_up=True)


def test_children_that_leave_in_order_are_replaced_for_ever(pools: Callable[..., Prefork]) -> None:
    pool = pools(lambda index: 0)
    for _ in range(3 * CRASH_LIMIT):
        pool.replace(ended(pool))


def test_why_a_child_failed_is_logged_before_it_ends(pools: Callable[..., Prefork], tmp_path: Path) -> None:
    def fail(index: int) -> int:
        raise RuntimeError("no such cable")

    handler = logging.FileHandler(tmp_path / "log")
    logging.getLogger("celery.pool").addHandler(handler)
    try:
        assert ended(pools(fail)).status == 70
    finally:
        logging.getLogger("celery.pool").removeHandler(handler)
        handler.close()
    written = (tmp_path / "log").read_text()
    assert "child 0 (pid " in written
    assert "RuntimeError: no such cable" in written
