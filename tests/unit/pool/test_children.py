"""The children of a worker as processes: started, reaped, replaced, given up."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastq.exceptions import PoolError
from fastq.pool import children
from fastq.pool.children import CRASH_LIMIT, Children, Ended
from fastq.pool.start import by_fork
from tests.deadline import wait_until


def wait(index: int) -> int:
    signal.pause()
    return 0


@pytest.fixture
def pools() -> Iterator[Callable[..., Children]]:
    made: list[Children] = []

    def make(main: Callable[[int], int] = wait, size: int = 1) -> Children:
        made.append(Children(size, by_fork(main)))
        made[-1].start()
        return made[-1]

    yield make
    for pool in made:
        pool.kill(range(pool.size))


def ended(pool: Children) -> Ended:
    [one] = wait_until(pool.reap, what="a child to end")
    return one


def test_a_child_that_ends_is_reported_once_with_how_it_ended(pools: Callable[..., Children]) -> None:
    pool = pools(lambda index: 7)
    pid = pool.pid_of(0)
    one = ended(pool)
    assert (one.index, one.pid, one.status, one.expected) == (0, pid, 7, False)
    assert str(one) == f"child 0 (pid {pid}) exited with status 7"
    assert (pool.reap(), len(pool), pool.pid_of(0), pool.signal(0, 0)) == ([], 0, 0, False)


def test_a_killed_child_is_reported_with_the_signal(pools: Callable[..., Children]) -> None:
    pool = pools()
    assert pool.signal(0, signal.SIGKILL)
    assert str(ended(pool)).endswith("was killed by SIGKILL")


def test_start_forks_only_the_children_that_are_missing(pools: Callable[..., Children]) -> None:
    pool = pools(size=3)
    before = [pool.pid_of(index) for index in range(3)]
    pool.kill([1, 7])
    pool.start()
    after = [pool.pid_of(index) for index in range(3)]
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] not in (0, before[1])


def test_children_that_never_come_up_end_in_one_error(pools: Callable[..., Children]) -> None:
    pool = pools(lambda index: os._exit(3))
    for _ in range(CRASH_LIMIT):
        pool.replace(ended(pool))
        assert len(pool) == 0       # it pauses before the next one
        wait_until(lambda: pool.tend() is None, what="the pause to be over")
    with pytest.raises(PoolError, match=r"6 children in a row ended before they could.* exited with status 3"):
        pool.replace(ended(pool))


def test_the_pause_before_the_next_doubles(pools: Callable[..., Children], monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: now[0])
    pool = pools()
    pauses = []
    for _ in range(CRASH_LIMIT):
        pool.replace(Ended(0, 1, 3, 0.0))
        due = pool.tend()
        assert due is not None
        pauses.append(round(due, 3))
    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6]


def test_one_that_came_up_makes_the_earlier_failures_forgotten(pools: Callable[..., Children]) -> None:
    pool = pools(lambda index: os._exit(3))
    for count in range(2 * CRASH_LIMIT):
        pool.replace(ended(pool), was_up=count % 3 == 0)
        wait_until(lambda: pool.tend() is None, what="the pause to be over")


def test_a_process_that_cannot_be_started_is_tried_again(pools: Callable[..., Children]) -> None:
    tried: list[int] = []

    def begin(index: int) -> int:
        tried.append(index)
        if len(tried) == 1:
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return by_fork(wait)(index)

    pool = Children(1, begin)
    pool.start()
    assert (len(pool), pool.pid_of(0)) == (0, 0)
    try:
        wait_until(lambda: pool.tend() is None, what="the second try")
        assert tried == [0, 0]
    finally:
        pool.kill([0])


def test_a_process_that_can_never_be_started_ends_in_one_error() -> None:
    def begin(index: int) -> int:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    pool = Children(CRASH_LIMIT + 1, begin)
    with pytest.raises(PoolError, match=r"child 5 cannot be started: .*Resource temporarily unavailable"):
        pool.start()


def test_one_that_is_not_up_in_time_is_named_once_and_killed_at_last(
        pools: Callable[..., Children], monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pools(size=2)
    began = children.time.monotonic()
    now = [began + 5.0]
    monkeypatch.setattr(children.time, "monotonic", lambda: now[0])
    assert [child.index for child in pool.find_late(lambda index: index == 0, 4.0)] == [1]
    assert pool.find_late(lambda index: index == 0, 4.0) == []
    now[0] = began + children.LATE_S + 1.0
    pool.find_late(lambda index: index == 0, 4.0)
    monkeypatch.undo()
    assert str(ended(pool)).endswith("was killed by SIGKILL")
    assert pool.pid_of(0)


def test_a_smaller_number_names_those_that_are_to_leave_and_a_larger_one_starts_more(
        pools: Callable[..., Children]) -> None:
    pool = pools(size=2)
    assert (pool.resize(4), len(pool)) == ([], 4)
    assert pool.resize(1) == [1, 2, 3]
    pool.signal(3, signal.SIGKILL)
    pool.replace(ended(pool))       # it was one too many, so nobody follows
    assert len(pool) == 3
    pool.kill(range(4))


def test_children_that_die_of_their_tasks_are_replaced_for_ever(pools: Callable[..., Children]) -> None:
    pool = pools(lambda index: os._exit(3))
    for _ in range(3 * CRASH_LIMIT):
        pool.replace(ended(pool), was_up=True)


def test_children_that_leave_in_order_are_replaced_for_ever(pools: Callable[..., Children]) -> None:
    pool = pools(lambda index: 0)
    for _ in range(3 * CRASH_LIMIT):
        pool.replace(ended(pool))


def test_why_a_child_failed_is_logged_before_it_ends(pools: Callable[..., Children], tmp_path: Path) -> None:
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
