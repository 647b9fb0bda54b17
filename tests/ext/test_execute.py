"""The child's compiled loop: what takes the usual path, what takes the slow one, and what each leaves."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext.execute import Executor
from tests.ext.ringkit import FAST_RESULT, PLAIN, STORES, Kit, message


@pytest.fixture
def kits(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    made: list[Kit] = []

    def make(call: Callable[..., Any], **options: Any) -> Kit:
        made.append(Kit(tmp_path, {"add": call}, **options))
        return made[-1]

    yield make
    for kit in made:
        kit.close()


def test_arguments_arrive_as_they_were_sent(kits: Callable[..., Kit]) -> None:
    seen: list[Any] = []
    kit = kits(lambda *args, **kwargs: seen.append((args, kwargs)))
    kit.put((1, 0, message(body='[[1, "é", null], {"k": [2.5]}, {"callbacks": null}]'.encode())))
    kit.executors[0].run_ready()
    assert seen == [((1, "é", None), {"k": [2.5]})]
    assert kit.slow.asked == []


def test_a_plain_result_is_recorded_without_the_slow_path(kits: Callable[..., Kit]) -> None:
    kit = kits(lambda a, b: a + b, traits=PLAIN | STORES | FAST_RESULT)
    kit.put((1, 0, message(task_id="t-1")))
    kit.executors[0].run_ready()
    assert kit.ring.drain() == (1, [(1, 1)], [("t-1", "SUCCESS", b'"3"', None)], [], [], [])
    assert kit.slow.asked == []


@pytest.mark.parametrize(("traits", "header", "wanted"), [
    (PLAIN, None, False), (PLAIN, False, True), (PLAIN | STORES, None, True), (PLAIN | STORES, True, False),
])
def test_the_ignore_result_header_wins_over_the_task(
    kits: Callable[..., Kit], traits: int, header: bool | None, wanted: bool,
) -> None:
    kit = kits(lambda a, b: a + b, traits=traits)
    kit.put((1, 0, message(ignore_result=header)))
    kit.executors[0].run_ready()
    assert kit.slow.asked == ([("returned", 0, 3, True)] if wanted else [])


@pytest.mark.parametrize("body", [
    b'[[1, 2], {}, {"callbacks": [{"task": "x"}]}]',
    b'[[1, 2], {}, {"chain": [{"task": "x"}]}]',
    b'[[1, 2], {}, {"chord": {"task": "x"}}]',
])
def test_what_is_linked_takes_the_slow_path(kits: Callable[..., Kit], body: bytes) -> None:
    kit = kits(lambda a, b: a + b)
    kit.put((1, 0, message(body=body)))
    kit.executors[0].run_ready()
    assert kit.slow.asked == [("returned", 0, 3, False)]


@pytest.mark.parametrize("body", [
    b"", b"nonsense", b"[[1, 2], {}]", b"[[1, 2], {}, {}, 4]", b"{}", b"[null, {}, {}]", b"[[1, 2], null, {}]",
    b"[[NaN, 2], {}, {}]", b'[["__type__"], {}, {}]', b'[["\\ud800"], {}, {}]',
])
def test_a_body_that_is_not_plain_goes_to_the_patient_decoder(kits: Callable[..., Kit], body: bytes) -> None:
    seen: list[Any] = []
    kit = kits(lambda *args: seen.append(args))
    if body == b'[["__type__"], {}, {}]':
        body = b'[[{"__type__": "bytes", "__value__": "x"}], {}, {}]'
    kit.slow.opened = (("decoded",), {}, {})
    kit.put((1, 0, message(body=body)))
    kit.executors[0].run_ready()
    assert (seen, kit.slow.asked) == ([("decoded",)], [("open", 0)])


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt, MemoryError, GeneratorExit])
def test_no_exception_of_a_task_ends_the_loop(kits: Callable[..., Kit], error: type[BaseException]) -> None:
    def fail(a: int, b: int) -> None:
        raise error

    kit = kits(fail)
    kit.put((1, 0, message()), (2, 0, message()))
    assert kit.executors[0].run_ready() == 2
    assert kit.slow.asked == [("raised", 0, error, False)] * 2
    assert kit.ring.drain()[:2] == (2, [(1, 2)])


def test_a_fault_of_the_slow_path_itself_dead_letters_the_message(kits: Callable[..., Kit]) -> None:
    kit = kits(lambda a, b: None, traits=0)
    kit.slow.returned = None    # type: ignore[assignment]
    kit.put((1, 0, message()))
    kit.executors[0].run_ready()
    [(tag, _, _, outcome, _, _, _, reason)] = kit.ring.drain()[4]
    assert (tag, outcome) == (1, 13)
    assert reason is not None and "not callable" in reason


def test_a_task_that_expired_while_it_waited_is_not_run(kits: Callable[..., Kit]) -> None:
    seen: list[Any] = []
    kit = kits(lambda a, b: seen.append(a))
    content = message(expires="2001-01-01T00:00:00")
    kit.ring.stage_one(b"q", 1, 0, content, time.time() - 1)
    kit.ring.stage_one(b"q", 2, 0, content, time.time() + 60)
    kit.ring.release()
    kit.executors[0].run_ready()
    assert (kit.slow.asked, seen) == ([("expired", 0)], [1])


def test_effects_larger_than_a_slot_travel_through_a_file(kits: Callable[..., Kit]) -> None:
    kit = kits(lambda a, b: None, traits=0)
    big = kit.slow.pack_result("t-1", "SUCCESS", b"x" * 100_000)
    kit.slow.returned = lambda *_: (0, big)     # type: ignore[method-assign]
    kit.put((1, 0, message()))
    kit.executors[0].run_ready()
    assert kit.files.left() == ["spill-1"]
    assert kit.ring.drain()[2] == [("t-1", "SUCCESS", b"x" * 100_000, None)]
    assert kit.files.left() == []


def test_a_request_is_made_once_and_only_when_asked_for(kits: Callable[..., Kit]) -> None:
    seen: list[Any] = []
    kit = kits(lambda a, b: seen.extend([kit.executors[0].request_now(), kit.executors[0].request_now()]))
    kit.put((1, 0, message()))
    assert kit.executors[0].request_now() is None
    kit.executors[0].run_ready()
    assert seen[0] is seen[1]
    assert seen[0][:8] == (message(), "id-1", "q", "h", 0, (1, 2), {}, {})


def test_between_tasks_there_is_nothing_to_ask(kits: Callable[..., Kit]) -> None:
    run = kits(lambda a, b: None).executors[0]
    for name in ("task_id", "content", "queue"):
        with pytest.raises(RuntimeError, match="no task runs now"):
            getattr(run, name)
    assert (run.row, run.deaths, run.seconds) == (-1, 0, 0.0)


def test_a_soft_limit_interrupts_only_the_run_it_was_meant_for(kits: Callable[..., Kit]) -> None:
    dues: list[Any] = []

    def work(a: int, b: int) -> None:
        before = kit.executors[0].soft_due()
        kit.ring.overdue()
        dues.append((before, kit.executors[0].soft_due()))

    kit = kits(work, limits=(None, 1e-9))
    kit.put((1, 0, message()))
    kit.executors[0].run_ready()
    kit.put((2, 0, message(timelimit=[None, 60])))
    kit.executors[0].run_ready()
    assert dues == [(False, True), (False, False)]
    assert not kit.executors[0].soft_due()


def test_an_idle_child_sleeps_until_work_is_released(kits: Callable[..., Kit]) -> None:
    kit = kits(lambda a, b: None)
    if (pid := os.fork()) == 0:
        kit.executors[0].run(2)
        os._exit(7)
    kit.put((1, 0, message()))
    kit.put((2, 0, message()))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert kit.ring.drain()[0] == 2


def test_a_stop_ends_a_sleeping_child(kits: Callable[..., Kit]) -> None:
    kit = kits(lambda a, b: None)
    if (pid := os.fork()) == 0:
        kit.executors[0].run()
        os._exit(7)
    kit.ring.stop()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


@pytest.mark.parametrize("point", range(4))
def test_a_child_killed_at_any_point_leaves_its_task_lost_or_done_but_never_both(
    tmp_path: Path, kits: Callable[..., Kit], point: int,
) -> None:
    kit = kits(lambda a, b: None)
    if (pid := os.fork()) == 0:
        Executor(kit.memory, child=0, hostname="h", entries=[(None, lambda a, b: None, PLAIN)],
                 decode=lambda body: [[1, 2], {}, {}], encode_success=None, slow=kit.slow,
                 wake_fd=kit.wake_fd, kill_at=3 << 2 | point).run()
    kit.put(*((tag, 0, message()) for tag in range(1, 6)))
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    lost = [row[0] for row in kit.ring.bury(0)]
    acked = [tag for first, last in kit.ring.drain()[1] for tag in range(first, last + 1)]
    assert (acked, lost) == (([1, 2, 3], []) if point == 3 else ([1, 2], [3]))
    assert kit.ring.take_back()[0] == [(4, 5)]


def test_a_buffer_without_a_ring_is_refused() -> None:
    with pytest.raises(ValueError, match="no ring"):
        Executor(mmap.mmap(-1, 4096), child=0, entries=[], hostname="h", decode=bytes, encode_success=None,
                 slow=None, wake_fd=-1)


@given(st.binary(max_size=300))
def test_any_body_ends_in_a_run_or_in_the_patient_decoder(body: bytes) -> None:
    kit = Kit(Path(), {"add": lambda *args, **kwargs: None})
    try:
        kit.put((1, 0, message(body=body)))
        assert kit.executors[0].run_ready() == 1
        assert kit.ring.drain()[0] == 1
        assert kit.slow.asked in ([], [("open", 0)])
    finally:
        kit.close()


@pytest.mark.parametrize("header", [{"parent_id": "p"}, {"group": "g"}])
def test_a_result_that_names_relatives_takes_the_slow_path(kits: Callable[..., Kit], header: dict[str, str]) -> None:
    kit = kits(lambda a, b: a + b, traits=PLAIN | STORES | FAST_RESULT)
    kit.put((1, 0, message(**header)))
    kit.executors[0].run_ready()
    assert kit.slow.asked == [("returned", 0, 3, True)]


def test_a_value_that_no_document_takes_is_left_to_the_slow_path(kits: Callable[..., Kit]) -> None:
    kit = kits(lambda a, b: "no number", traits=PLAIN | STORES | FAST_RESULT)
    kit.put((1, 0, message()))
    kit.executors[0].run_ready()
    assert kit.slow.asked == [("returned", 0, "no number", True)]
