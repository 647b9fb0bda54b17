"""The slot table from the supervisor's side, with the child's loop as its other half."""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fastq._ext.ring import Ring, parse_effects, ring_size
from fastq.exceptions import FrameError
from fastq.types import Message
from fastq.worker.effects import pack_message, pack_reason, pack_result
from tests.ext.ringkit import Kit, message


@pytest.fixture
def kits(tmp_path: Path) -> Iterator[Callable[..., Kit]]:
    made: list[Kit] = []

    def make(functions: dict[str, Any] | None = None, **options: Any) -> Kit:
        made.append(Kit(tmp_path, functions or {"add": lambda a, b: a + b}, **options))
        return made[-1]

    yield make
    for kit in made:
        kit.close()


def test_a_batch_is_run_and_acked_as_one_run_of_tags(kits: Callable[..., Kit]) -> None:
    kit = kits()
    assert kit.put(*((tag, 0, message()) for tag in range(10, 15))) == []
    assert kit.ring.waiting == 5
    assert kit.executors[0].run_ready() == 5
    assert kit.ring.drain() == (5, [(10, 14)], [], [], [], [])
    assert kit.ring.free == 8


def test_acks_of_several_children_come_out_as_sorted_runs(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.put(*((tag, 0, message()) for tag in (7, 1, 2, 9, 3, 8)))
    kit.executors[1].run_ready(2)
    kit.executors[0].run_ready()
    assert kit.ring.drain()[:2] == (6, [(1, 3), (7, 9)])


def test_nothing_can_be_claimed_before_it_is_released(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.ring.stage(b"q", [(1, 0, message())])
    assert kit.executors[0].run_ready() == 0
    kit.ring.release()
    assert kit.executors[0].run_ready() == 1


def test_a_staged_batch_can_be_forgotten(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.ring.stage(b"q", [(1, 0, message()), (2, 0, message()), (9, 0, message())])
    assert kit.ring.unstage() == [(1, 2), (9, 9)]
    assert (kit.ring.free, kit.ring.release(), kit.executors[0].run_ready()) == (8, 0, 0)


@pytest.mark.parametrize(("content", "why"), [
    (b"", 1),
    (message()[:-30], 1),
    (message(task="unknown"), 3),
    (message(eta="2031-01-01T00:00:00"), 6),
    (message(expires="2031-01-01T00:00:00"), 7),
    (message(eta=5), 5),
    (message(timelimit=[1]), 5),
    (message(retries=-1), 5),
])
def test_messages_that_need_a_decision_are_handed_back_with_the_reason(
    kits: Callable[..., Kit], content: bytes, why: int,
) -> None:
    kit = kits()
    assert kit.put((5, 1, content)) == [(why, 5, 1, content)]
    assert kit.ring.in_hand == 0


def test_a_message_that_died_too_often_is_not_run(kits: Callable[..., Kit]) -> None:
    kit = kits()
    assert [row[0] for row in kit.put((1, 3, message()), (2, 2, message()))] == [4]
    assert kit.executors[0].run_ready() == 1


def test_what_was_decided_is_not_asked_again(kits: Callable[..., Kit]) -> None:
    kit = kits()
    assert kit.ring.stage_one(b"q", 1, 9, message(eta="2001-01-01T00:00:00"), 0.0) == 0
    kit.ring.release()
    assert kit.executors[0].run_ready() == 1


def test_a_full_table_refuses_without_losing_anything(kits: Callable[..., Kit]) -> None:
    kit = kits(slots=2)
    odd = kit.put(*((tag, 0, message()) for tag in range(4)))
    assert [(row[0], row[1]) for row in odd] == [(8, 2), (8, 3)]
    assert kit.executors[0].run_ready() == 2


def test_a_message_larger_than_a_slot_travels_through_a_file(kits: Callable[..., Kit]) -> None:
    seen: list[int] = []
    kit = kits({"add": seen.append})
    kit.slow.opened = ((5,), {}, {})
    body = b'[["' + b"x" * 100_000 + b'"], {}, {}]'
    kit.put((1, 0, message(body=body)))
    assert kit.files.left() == ["spill-1"]
    kit.executors[0].run_ready()
    assert (seen, kit.slow.asked) == ([5], [("open", 0)])
    assert kit.ring.drain()[:2] == (1, [(1, 1)])
    assert kit.files.left() == []


def test_endings_other_than_an_ack_come_with_all_that_is_needed_to_decide(kits: Callable[..., Kit]) -> None:
    kit = kits()
    content = message(body=b"nonsense")
    kit.put((3, 1, content), queue=b"mail")
    kit.executors[0].run_ready()
    assert kit.ring.drain() == (1, [], [], [], [(3, 1, 0, 11, "mail", content, False, "undecodable")], [])


def test_tasks_that_ack_early_are_named_before_their_release_and_not_acked_again(kits: Callable[..., Kit]) -> None:
    kit = kits({"add": lambda a, b: 0, "late": lambda a, b: 0}, early=["add"])
    kit.ring.stage(b"q", [(1, 0, message()), (2, 0, message("late")), (3, 0, message())])
    assert kit.ring.early() == [(1, 1), (3, 3)]
    kit.ring.release()
    kit.executors[0].run_ready()
    assert kit.ring.drain()[:2] == (3, [(2, 2)])


def test_unstarted_work_can_be_taken_back_oldest_first(kits: Callable[..., Kit]) -> None:
    kit = kits(early=["add"], functions={"add": lambda a, b: 0, "late": lambda a, b: 0})
    early = message()
    kit.put((1, 0, message("late")), (2, 0, early), (3, 0, message("late")))
    assert kit.ring.take_back(2) == ([(1, 1)], [("q", early)])
    assert kit.executors[0].run_ready() == 1
    assert kit.ring.take_back() == ([], [])


def test_what_a_dead_child_ran_is_known_exactly(kits: Callable[..., Kit]) -> None:
    content = message()
    kit = kits({"add": lambda a, b: os._exit(9)})
    kit.put((1, 0, content), (2, 0, content))
    if (pid := os.fork()) == 0:
        kit.executors[1].run_ready()
        os._exit(0)
    os.waitpid(pid, 0)
    [(child, row, tag, task_id, _)] = kit.ring.running()
    assert (child, row, tag, task_id) == (1, 0, 1, "id-1")
    assert kit.ring.bury(1) == [(1, 0, 0, 0, "q", content, False, None)]
    assert kit.ring.bury(0) == []
    assert (kit.ring.waiting, kit.ring.in_hand) == (1, 1)


def test_a_run_that_ended_before_its_child_could_tell_is_not_lost(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.put((1, 0, message()), (2, 0, message()))
    kit.executors[0].run_ready()
    # The death in the narrowest gap: the slot says done, the queue of completions does not.
    head = struct.unpack_from("=Q", kit.memory, 48 - 24)[0]
    done_tail = head + 64
    kit.memory[done_tail:done_tail + 8] = struct.pack("=Q", 1)
    assert kit.ring.bury(0) == []
    assert kit.ring.drain()[:2] == (2, [(1, 2)])


def test_limits_are_told_once_each_and_the_next_one_is_known(kits: Callable[..., Kit]) -> None:
    reports: list[Any] = []
    kit = kits({"add": lambda a, b: reports.append(kit.ring.overdue())}, limits=(1e-9, None))
    kit.put((1, 0, message()))
    assert kit.ring.limited == 1
    kit.executors[0].run_ready()
    assert reports[0] == ([(0, 3, 0, 1, 1e-9)], None)
    kit.ring.drain()
    assert kit.ring.limited == 0


def test_a_limit_in_the_message_wins_over_the_tasks(kits: Callable[..., Kit]) -> None:
    reports: list[Any] = []
    kit = kits({"add": lambda a, b: reports.append(kit.ring.overdue())}, limits=(1e-9, None))
    kit.put((1, 0, message(timelimit=[50, 40.5])))
    kit.executors[0].run_ready()
    [(over, due)] = reports
    assert over == [] and 40 < due <= 40.5


def test_a_run_that_began_after_the_clock_was_read_is_not_over_its_limit(kits: Callable[..., Kit]) -> None:
    reports: list[Any] = []

    def begin_later(a: int, b: int) -> None:
        (slots,) = struct.unpack_from("=Q", kit.memory, 40)
        struct.pack_into("=Q", kit.memory, slots + 40, time.monotonic_ns() + 10**9)
        reports.append((kit.ring.overdue(), kit.ring.running()[0][-1]))

    kit = kits({"add": begin_later}, limits=(30.0, 20.0))
    kit.put((1, 0, message()))
    kit.executors[0].run_ready()
    assert reports == [(([], 20.0), 0.0)]


def test_a_child_is_up_from_its_loop_until_its_burial(kits: Callable[..., Kit]) -> None:
    kit = kits({"add": lambda a, b: kit.ring.stop()})
    assert not kit.ring.is_up(0)
    kit.put((1, 0, message()))
    kit.executors[0].run()
    assert (kit.ring.is_up(0), kit.ring.is_up(1)) == (True, False)
    kit.ring.bury(0)
    assert not kit.ring.is_up(0)


def test_a_long_queue_name_leaves_room_for_the_path_of_large_effects(kits: Callable[..., Kit], tmp_path: Path) -> None:
    kit = kits({"add": lambda a, b: 1}, traits=0)
    kit.slow.returned = lambda *_: (0, pack_result("id", "SUCCESS", b"x" * 5000))  # type: ignore[method-assign]
    kit.slow.opened = ((1, 2), {}, {})
    name, payload = b"q" * 255, 1024 - struct.calcsize("=QQdddQ11I4B")
    for size in range(payload - 256 - 260, payload - 250):
        content = message(body=b"[[1, 2], {}, {}]" + b" " * (size - len(message(body=b"[[1, 2], {}, {}]"))))
        kit.put((1, 0, content), (2, 0, message()), queue=name)
        assert kit.executors[0].run_ready() == 2
        _, acks, results, _, odd, _ = kit.ring.drain()
        assert (odd, acks, len(results)) == ([], [(1, 2)], 2)
    assert kit.files.left() == []


def test_a_supervisor_that_dozes_is_woken_by_the_first_completion_only(kits: Callable[..., Kit]) -> None:
    kit = kits()
    kit.put(*((tag, 0, message()) for tag in range(3)))
    assert kit.ring.doze()
    kit.executors[0].run_ready()
    assert os.eventfd_read(kit.wake_fd) == 1
    assert not kit.ring.doze()
    kit.ring.drain()
    assert kit.ring.doze()


def test_a_ring_refuses_a_shape_it_cannot_have() -> None:
    memory = mmap.mmap(-1, 1 << 20)
    for shape in ({"slots": 0}, {"children": 0}, {"slot_bytes": 1000}, {"slot_bytes": 128}):
        with pytest.raises(ValueError, match="a ring needs"):
            Ring(memory, **{"slots": 4, "slot_bytes": 1024, "children": 1, **shape}, tasks=[], spill=bytes,
                 unspill=bytes)
    with pytest.raises(ValueError, match="the ring needs"):
        Ring(mmap.mmap(-1, 4096), slots=64, slot_bytes=1024, children=1, tasks=[], spill=bytes, unspill=bytes)
    assert ring_size(64, 1024, 1) > 64 * 1024


# --- effects ----------------------------------------------------------------------------------------------------

results = st.tuples(st.text(max_size=60), st.text(max_size=20), st.binary(max_size=300))
messages = st.builds(Message, queue=st.text(max_size=30), content=st.binary(max_size=300),
                     priority=st.integers(0, 255), run_at=st.none() | st.floats(0, 1e12),
                     exchange=st.text(max_size=30))


@given(st.lists(results, max_size=5), st.lists(messages, max_size=5), st.none() | st.text(max_size=40),
       st.none() | st.text(max_size=20))
def test_effects_come_out_as_they_went_in(
    stored: list[tuple[str, str, bytes]], sent: list[Message], reason: str | None, reply_to: str | None,
) -> None:
    raw = b"".join([*(pack_result(*result) for result in stored), *map(pack_message, sent),
                    pack_reason(reason) if reason is not None else b""])
    into: tuple[list[Any], list[Any]] = [], []
    assert parse_effects(raw, *into, reply_to) == reason
    assert into == ([(*result, reply_to) for result in stored], [tuple(message) for message in sent])


@given(messages, st.data())
def test_a_message_among_effects_cut_anywhere_is_refused(sent: Message, data: st.DataObject) -> None:
    raw = pack_message(sent)
    with pytest.raises(FrameError, match="effects"):
        parse_effects(raw[:data.draw(st.integers(1, len(raw) - 1))], [], [])


@given(results, st.data())
def test_effects_cut_anywhere_are_refused_or_shorter(stored: tuple[str, str, bytes], data: st.DataObject) -> None:
    raw = pack_result(*stored) * 2
    cut = data.draw(st.integers(0, len(raw) - 1))
    into: list[Any] = []
    if cut in (0, len(raw) // 2):
        parse_effects(raw[:cut], into, [])
        assert len(into) == (cut > 0)
    else:
        with pytest.raises(FrameError, match="effects"):
            parse_effects(raw[:cut], into, [])


@given(st.binary(max_size=200))
def test_effects_of_any_bytes_end_in_values_or_an_error(raw: bytes) -> None:
    try:
        parse_effects(raw, [], [])
    except (FrameError, UnicodeDecodeError):
        pass


# --- the whole table against a model ------------------------------------------------------------------------------

class RingMachine(RuleBasedStateMachine):
    """Every delivery is in exactly one place: staged, waiting, or ended once."""

    def __init__(self) -> None:
        super().__init__()
        self.kit = Kit(Path(), {"add": lambda a, b: None}, slots=4, children=2)
        self.next_tag = 1
        self.staged: list[int] = []
        self.waiting: list[int] = []
        self.ran: set[int] = set()

    def teardown(self) -> None:
        self.kit.close()

    @rule(count=st.integers(1, 6))
    def stage(self, count: int) -> None:
        tags = range(self.next_tag, self.next_tag + count)
        self.next_tag += count
        free = self.kit.ring.free
        odd = self.kit.ring.stage(b"q", [(tag, 0, message()) for tag in tags])
        assert [row[1] for row in odd] == list(tags)[free:]
        self.staged += list(tags)[:free]

    @rule()
    def release(self) -> None:
        assert self.kit.ring.release() == len(self.staged)
        self.waiting += self.staged
        self.staged = []

    @rule()
    def unstage(self) -> None:
        self.kit.ring.unstage()
        self.staged = []

    @rule(child=st.integers(0, 1), most=st.integers(1, 3))
    def run(self, child: int, most: int) -> None:
        count = self.kit.executors[child].run_ready(most)
        assert count == min(most, len(self.waiting))
        self.ran |= set(self.waiting[:count])
        self.waiting = self.waiting[count:]

    @rule(most=st.integers(1, 3))
    def take_back(self, most: int) -> None:
        runs, _ = self.kit.ring.take_back(most)
        tags = [tag for first, last in runs for tag in range(first, last + 1)]
        assert tags == self.waiting[:most]
        self.waiting = self.waiting[most:]

    @precondition(lambda self: self.ran)
    @rule()
    def drain(self) -> None:
        count, runs, *_ = self.kit.ring.drain()
        assert {tag for first, last in runs for tag in range(first, last + 1)} == self.ran
        assert count == len(self.ran)
        self.ran = set()

    @rule(child=st.integers(0, 1))
    def bury(self, child: int) -> None:
        assert self.kit.ring.bury(child) == []

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.kit.ring.in_hand == len(self.staged) + len(self.waiting) + len(self.ran)
        assert self.kit.ring.waiting == len(self.waiting)


TestRingMachine = RingMachine.TestCase
TestRingMachine.settings = settings(max_examples=60, stateful_step_count=40)
