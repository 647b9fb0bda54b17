"""Children that run several tasks at a time: lanes in one thread, heads of threads, and what the ring tells of them."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import methodcaller
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from fastq._ext.execute import Executor
from fastq._ext.ring import Ring
from tests.deadline import wait_until
from tests.ext.ringkit import FAST_RESULT, PLAIN, STORES, Kit, message

SOFT, HARD, KILL, ENDED = 1, 2, 3, 4
END = 3
"""What an executor is told; the names before it are what the ring says of limits."""


class Soft(Exception):
    """A soft limit."""


class Hard(Exception):
    """A hard limit."""


class End(BaseException):
    """Somebody terminates it."""


@pytest.fixture
def kits(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    made: list[Kit] = []

    def make(call: Callable[..., Any] = lambda a, b: a + b, **options: Any) -> Kit:
        made.append(Kit(tmp_path, {"add": call}, **options))
        made[-1].slow.interruptions = {SOFT: Soft, HARD: Hard, END: End}
        return made[-1]

    yield make
    for kit in made:
        kit.close()


def test_lanes_of_a_child_run_beside_each_other_and_end_in_any_order(kits: Callable[..., Kit]) -> None:
    kit = kits(traits=PLAIN | STORES | FAST_RESULT)
    kit.put(*((tag, 0, message(task_id=f"t-{tag}", body=b"[[%d, 0], {}, {}]" % tag)) for tag in range(1, 4)))
    lanes = [kit.executors[0].lane() for _ in range(4)]
    assert [lane.begin() for lane in lanes] == [True, True, True, False]
    assert [lane.task_id for lane in lanes[:3]] == ["t-1", "t-2", "t-3"]
    values = [lane.call() for lane in lanes[:3]]
    assert sorted(row[2] for row in kit.ring.running(0)) == [1, 2, 3]
    lanes[2].succeed(values[2])
    assert kit.ring.drain() == (1, [(3, 3)], [("t-3", "SUCCESS", b'"3"', None)], [], [], [])
    lanes[0].fail(ValueError("no"))
    lanes[1].succeed(values[1])
    assert kit.slow.asked == [("raised", 0, ValueError, True)]
    assert kit.ring.drain()[:2] == (2, [(1, 2)])
    assert lanes[2].task_now() is None


def test_each_lane_has_its_own_request(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.put((1, 0, message(task_id="a")), (2, 0, message(task_id="b")))
    lanes = [kit.executors[0].lane() for _ in range(2)]
    for lane in lanes:
        lane.begin()
    assert [lane.request_now()[1] for lane in lanes] == ["a", "b"]


def test_a_lane_ends_what_it_cannot_open_and_begins_the_next(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.put((1, 0, message(body=b"nonsense")), (2, 0, message(task_id="good")))
    lane = kit.executors[0].lane()
    assert lane.begin()
    assert (lane.task_id, kit.slow.asked) == ("good", [("open", 0)])
    assert [row[0] for row in kit.ring.drain()[4]] == [1]


def test_a_lane_between_runs_refuses_to_go_on(kits: Callable[..., Kit]) -> None:
    lane = kits().executors[0].lane()
    for step in (lane.call, lambda: lane.succeed(1), lambda: lane.fail(ValueError())):
        with pytest.raises(RuntimeError, match="no task runs now"):
            step()


def test_a_fault_of_the_slow_path_ends_a_lanes_run_all_the_same(kits: Callable[..., Kit]) -> None:
    kit = kits()

    def broken(*_: Any) -> Any:
        raise RuntimeError("broken")

    kit.slow.raised = broken  # type: ignore[method-assign]
    kit.put((1, 0, message()))
    lane = kit.executors[0].lane()
    lane.begin()
    lane.fail(ValueError())
    assert kit.slow.asked == [("internal_error", 0, "RuntimeError('broken')")]
    assert kit.ring.drain()[0] == 1


def test_a_child_that_rests_is_woken_by_its_descriptor_once(kits: Callable[..., Kit]) -> None:
    read, write = os.pipe()
    os.set_blocking(read, False)
    kit = kits(children=1, bells=[write])
    child = kit.executors[0]
    assert child.rest()
    kit.put((1, 0, message()))
    kit.put((2, 0, message()))
    assert len(os.read(read, 100)) == 8
    with pytest.raises(BlockingIOError):
        os.read(read, 100)
    child.awake()
    assert not child.rest()     # something is ready, so it does not sleep
    assert child.run_ready() == 2
    os.close(read)
    os.close(write)


def test_heads_belong_to_their_child_in_all_that_the_ring_tells(kits: Callable[..., Kit]) -> None:
    kit = kits(children=2, seats=3, limits=(1e-9, None))
    kit.put(*((tag, 0, message()) for tag in range(1, 5)))
    heads = [kit.executors[number] for number in (0, 3, 4, 5)]
    for head in heads:
        assert head.begin()
    kit.executors[4].come_up()
    assert (kit.ring.is_up(0), kit.ring.is_up(1)) == (False, True)
    assert sorted((child, tag) for child, _, tag, _, _ in kit.ring.running()) == [(0, 1), (1, 2), (1, 3), (1, 4)]
    assert [row[2] for row in kit.ring.running(1)] == [2, 3, 4]
    assert {row[0] for row in kit.ring.overdue()[0]} == {0, 1}
    assert [row[0] for row in kit.ring.bury(1)] == [2, 3, 4]
    assert not kit.ring.is_up(1)
    assert [row[2] for row in kit.ring.running()] == [1]


def test_what_a_thread_finished_before_its_child_died_is_settled(kits: Callable[..., Kit]) -> None:
    kit = kits(children=1, seats=2)
    kit.put((1, 0, message()), (2, 0, message()))
    kit.executors[0].begin()
    assert kit.executors[1].run_ready() == 1
    assert [row[0] for row in kit.ring.bury(0)] == [1]
    assert kit.ring.drain()[:2] == (1, [(2, 2)])


def test_a_dismissed_child_claims_nothing_more_and_wakes(kits: Callable[..., Kit]) -> None:
    kit = kits(children=2)
    done: list[int] = []
    thread = threading.Thread(target=lambda: done.append(kit.executors[1].run()))
    thread.start()
    wait_until(lambda: kit.ring.is_up(1), what="the child to be up")
    kit.ring.dismiss(1)
    thread.join(30)
    assert done == [0]
    kit.put((1, 0, message()))
    assert (kit.executors[1].is_leaving, kit.executors[1].run()) == (True, 0)
    assert (kit.executors[0].is_leaving, kit.executors[0].run_ready()) == (False, 1)
    kit.ring.bury(1)
    assert not kit.executors[1].is_leaving      # whoever comes next in its place begins anew


def test_at_its_hard_limit_a_run_is_told_first_and_its_child_killed_after_the_grace(kits: Callable[..., Kit]) -> None:
    kit = kits(limits=(1e-9, None), grace_s=3600.0)
    kit.put((1, 0, message()))
    lane = kit.executors[0].lane()
    lane.begin()
    lane.call()
    over, due = kit.ring.overdue()
    assert over == [(0, HARD, 0, 1, 1e-9)]
    assert due is not None and 3500 < due <= 3600
    assert kit.ring.overdue()[0] == []
    assert (lane.told(), lane.told(), lane.was_told) == (HARD, 0, HARD)
    short = kits(limits=(1e-9, None), grace_s=1e-9)
    short.put((1, 0, message()))
    short.executors[0].begin()
    assert short.ring.overdue()[0] == [(0, KILL, 0, 1, 1e-9)]


def test_soft_then_hard_are_told_one_after_the_other(kits: Callable[..., Kit]) -> None:
    kit = kits(limits=(0.05, 1e-9), grace_s=3600.0)
    kit.put((1, 0, message()))
    lane = kit.executors[0].lane()
    lane.begin()
    assert (lane.is_limited, lane.hard_limit) == (True, 0.05)
    lane.call()
    assert kit.ring.overdue()[0] == [(0, SOFT, 0, 1, 1e-9)]
    assert lane.told() == SOFT
    over = wait_until(lambda: kit.ring.overdue()[0], what="the hard limit")
    assert [row[1] for row in over] == [HARD]
    assert lane.told() == HARD


def test_a_lane_that_runs_nothing_of_the_user_is_told_nothing(kits: Callable[..., Kit]) -> None:
    kit = kits(limits=(None, 1e-9))
    kit.put((1, 0, message()))
    lane = kit.executors[0].lane()
    lane.begin()
    kit.ring.overdue()
    assert (lane.told(), lane.interrupt(Soft, Hard, End)) == (0, 0)


def overdue_in_thread(ring: Ring, executor: Executor) -> int:
    level: int = wait_until(lambda: ring.overdue() and executor.interrupt(Soft, Hard, End), what="the limit to be told")
    return level


def test_a_thread_is_interrupted_in_its_task(kits: Callable[..., Kit]) -> None:
    def wait(a: int, b: int) -> None:
        while True:
            time.sleep(0.001)

    kit = kits(wait, limits=(None, 1e-9))
    kit.put((1, 0, message()), (2, 0, message()))
    for runs in (1, 2):
        thread = threading.Thread(target=lambda: kit.executors[0].run(1))
        thread.start()
        assert overdue_in_thread(kit.ring, kit.executors[0]) == SOFT
        thread.join(30)
        assert kit.slow.asked == [("raised", 0, Soft, False)] * runs


def test_an_interruption_that_comes_too_late_hits_nobody(kits: Callable[..., Kit]) -> None:
    call = partial(print)
    kit = kits(call, limits=(None, 1e-9))
    kit.put((1, 0, message(body=b"[[], {}, {}]")))
    lane = kit.executors[0].lane()
    # The task has itself told and interrupts itself, in C: no bytecode of it is left for that to be raised in.
    steps = map(methodcaller("__call__"), [kit.ring.overdue, partial(lane.interrupt, Soft, Hard, End)])
    call.__setstate__((list, (steps,), {}, None))  # type: ignore[attr-defined]
    assert lane.begin()
    assert lane.call_here()[1] == SOFT
    lane.succeed(sum(range(1000)))      # where it would be raised
    assert kit.slow.asked == []
    sys.setprofile(print_nothing)       # CPython 3.11 would never come back while something is still to be raised
    try:
        print_nothing(None, "", None)
    finally:
        sys.setprofile(None)


@pytest.mark.parametrize(("told", "raised"), [((), Soft), ((15,), End)], ids=["soft", "end"])
def test_a_thread_is_interrupted_when_somebody_wants_it(kits: Callable[..., Kit], told: tuple[int, ...],
                                                        raised: type[BaseException]) -> None:
    def wait(a: int, b: int) -> None:
        while True:
            time.sleep(0.001)

    kit = kits(wait, grace_s=3600.0)
    kit.put((1, 0, message()))
    thread = threading.Thread(target=lambda: kit.executors[0].run(1))
    thread.start()
    wait_until(lambda: kit.executors[0].in_task, what="the task to run")
    assert kit.executors[0].interrupt(Soft, Hard, End) == 0
    assert kit.ring.tell(0, 1, *told)
    assert kit.executors[0].interrupt(Soft, Hard, End) == (END if told else SOFT)
    thread.join(30)
    assert kit.slow.asked == [("raised", 0, raised, False)]


def test_who_is_told_to_end_hears_nothing_else_and_its_child_is_killed_after_the_grace(
        kits: Callable[..., Kit]) -> None:
    kit = kits(limits=(1e-9, 1e-9), grace_s=3600.0)
    kit.put((1, 0, message()), (2, 0, message()))
    lane, other = kit.executors[0].lane(), kit.executors[0].lane()
    for each in (lane, other):
        each.begin()
        each.call()
    assert not kit.ring.tell(0, 3, 15) and not kit.ring.tell(1, 1, 15)      # no such run there
    assert kit.ring.tell(0, 1, 15)
    assert (kit.ring.tell(0, 1, 2), kit.ring.tell(0, 1)) == (False, False)
    over, due = kit.ring.overdue()
    assert [row[3] for row in over] == [2] and due is not None and 3500 < due <= 3600
    assert (lane.told(), lane.told(), lane.was_told, lane.signum, lane.soft_due()) == (END, 0, END, 15, False)
    assert (other.told(), other.signum) == (HARD, 0)
    lane.fail(End())
    assert lane.signum == 0
    kit.ring.drain()
    assert [row[3] for row in kit.ring.overdue()[0]] == []
    short = kits(grace_s=1e-9)
    short.put((1, 0, message()))
    short.executors[0].begin()
    assert short.ring.overdue() == ([], None)
    short.ring.tell(0, 1, 9)
    assert short.ring.overdue() == ([(0, ENDED, 0, 1, 9)], None)
    short.ring.bury(0)
    assert short.ring.overdue() == ([], None)


def test_a_soft_limit_can_be_told_again_by_hand_and_each_time_is_news(kits: Callable[..., Kit]) -> None:
    kit = kits(limits=(None, 1e-9))
    kit.put((1, 0, message()))
    lane = kit.executors[0].lane()
    lane.begin()
    lane.call()
    assert [row[1] for row in kit.ring.overdue()[0]] == [SOFT]
    assert (lane.told(), lane.told()) == (SOFT, 0)
    for _ in range(3):
        assert kit.ring.tell(0, 1)
        assert (lane.told(), lane.told(), lane.soft_due()) == (SOFT, 0, True)
    assert kit.ring.overdue() == ([], None)


@pytest.mark.parametrize("told", [0, 15], ids=["soft", "end"])
@pytest.mark.parametrize("way", ["lane", "run"])
def test_who_is_told_before_it_is_in_its_task_hears_it_there(kits: Callable[..., Kit], told: int, way: str) -> None:
    ran: list[int] = []
    kit = kits(lambda a, b: ran.append(a), grace_s=3600.0, traits=0)
    kit.slow.before = lambda run, row: kit.ring.tell(0, 1, told) and None  # type: ignore[method-assign]
    kit.put((1, 0, message()))
    if way == "run":
        kit.executors[0].run_ready()
    else:
        lane = kit.executors[0].lane()
        lane.begin()
        with pytest.raises((Soft, End)) as raised:
            lane.call()
        lane.fail(raised.value)
    assert ran == [] and kit.slow.asked == [("raised", 0, End if told else Soft, False)]


def print_nothing(frame: FrameType | None, event: str, arg: object) -> None:
    """A profiler."""
