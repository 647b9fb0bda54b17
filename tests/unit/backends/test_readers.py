"""Many threads that wait, one of which reads for all."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import pytest

from fastq.backends.readers import Readers, Waiter
from tests.deadline import wait_until


class Wire:
    """What the reader reads: ids, as they are put; and who read, how many at a time."""

    def __init__(self) -> None:
        self.ids: queue.Queue[str] = queue.Queue()
        self.readers = Readers(self.read)
        self.now_reading = self.most_reading = 0
        self.who: set[int] = set()

    def read(self, timeout_s: float | None) -> None:
        self.now_reading += 1
        self.most_reading = max(self.most_reading, self.now_reading)
        self.who.add(threading.get_ident())
        try:
            task_id = self.ids.get(timeout=timeout_s)
        except queue.Empty:
            return
        finally:
            self.now_reading -= 1
        with self.readers.lock:
            self.readers.give(task_id, task_id.encode())

    def wait(self, *ids: str, timeout: float | None = None) -> Waiter:
        with self.readers.lock:
            waiter = self.readers.enlist(ids)
        self.readers.attend(waiter, None if timeout is None else time.monotonic() + timeout)
        return waiter


@pytest.fixture
def wire() -> Wire:
    return Wire()


Start = Callable[[Callable[[], object]], threading.Thread]


@pytest.fixture
def start() -> Start:
    def run(call: Callable[[], object]) -> threading.Thread:
        thread = threading.Thread(target=call, daemon=True)
        thread.start()
        return thread

    return run


def test_whoever_waits_alone_reads(wire: Wire) -> None:
    for task_id in "xya":
        wire.ids.put(task_id)
    assert wire.wait("a", "b").found == {"a": b"a"}
    assert wire.ids.empty()


def test_a_wait_ends_in_time(wire: Wire) -> None:
    began = time.monotonic()
    assert wire.wait("a", timeout=0.05).found == {}
    assert time.monotonic() - began >= 0.05
    assert wire.wait("a", timeout=-1).found == {}


def test_one_reads_for_all_and_each_gets_its_own(wire: Wire, start: Start) -> None:
    found: dict[str, bytes] = {}
    threads = [start(lambda n=n: found.update(wire.wait(f"id-{n}", "other").found)) for n in range(50)]
    wait_until(lambda: len(wire.readers._waiters) == 50)
    for n in reversed(range(50)):
        wire.ids.put(f"id-{n}")
    for thread in threads:
        thread.join(10)
    assert found == {f"id-{n}": f"id-{n}".encode() for n in range(50)}
    assert wire.most_reading == 1
    assert not wire.readers._waiters and not wire.readers._by_id


def test_all_who_wait_for_one_get_it(wire: Wire, start: Start) -> None:
    found: list[dict[str, bytes]] = []
    threads = [start(lambda: found.append(wire.wait("a").found)) for _ in range(5)]
    wait_until(lambda: len(wire.readers._waiters) == 5)
    wire.ids.put("a")
    for thread in threads:
        thread.join(10)
    assert found == [{"a": b"a"}] * 5


def test_a_reader_that_leaves_is_succeeded_by_one_who_waits(wire: Wire, start: Start) -> None:
    found: dict[str, bytes] = {}
    first = start(lambda: found.update(wire.wait("first").found))
    wait_until(lambda: wire.now_reading)
    others = [start(lambda n=n: found.update(wire.wait(f"{n}").found)) for n in range(3)]
    wait_until(lambda: len(wire.readers._waiters) == 4)
    for task_id in ("first", "0", "1", "2"):
        wire.ids.put(task_id)
    for thread in (first, *others):
        thread.join(10)
    assert set(found) == {"first", "0", "1", "2"}


def test_a_reader_whose_time_is_over_is_succeeded_too(wire: Wire, start: Start) -> None:
    found: dict[str, bytes] = {}
    first = start(lambda: wire.wait("never", timeout=0.2))
    wait_until(lambda: wire.now_reading)
    second = start(lambda: found.update(wire.wait("a").found))
    first.join(10)
    wait_until(lambda: wire.now_reading)
    wire.ids.put("a")
    second.join(10)
    assert found == {"a": b"a"}


def test_a_reader_that_is_interrupted_is_succeeded_too(wire: Wire, start: Start) -> None:
    found: dict[str, bytes] = {}
    interrupted = [True]
    read = wire.read

    def read_once(timeout_s: float | None) -> None:
        if interrupted and wire.ids.get() == "interrupt":
            interrupted.clear()
            raise KeyboardInterrupt
        read(timeout_s)

    wire.readers._read = read_once

    def first() -> None:
        with pytest.raises(KeyboardInterrupt):
            wire.wait("never")

    thread = start(first)
    wait_until(wire.readers._reading.locked)
    other = start(lambda: found.update(wire.wait("a").found))
    wait_until(lambda: len(wire.readers._waiters) == 2)
    wire.ids.put("interrupt")
    thread.join(10)
    wire.ids.put("a")
    other.join(10)
    assert found == {"a": b"a"}


def test_a_call_alone_waits_for_nobody_and_nobody_is_left_asleep(wire: Wire, start: Start) -> None:
    found: dict[str, bytes] = {}
    goes_on = threading.Event()
    alone = start(lambda: wire.readers.alone(goes_on.wait))
    wait_until(wire.readers._reading.locked)
    assert wire.readers.alone(lambda: None) is False
    waiting = start(lambda: found.update(wire.wait("a").found))
    wait_until(lambda: wire.readers._waiters)
    wire.ids.put("a")
    assert wire.now_reading == 0
    goes_on.set()
    for thread in (alone, waiting):
        thread.join(10)
    assert found == {"a": b"a"}
    assert wire.readers.alone(lambda: None) is True


def test_an_error_ends_every_wait(wire: Wire, start: Start) -> None:
    ended: list[Exception | None] = []
    threads = [start(lambda: ended.append(wire.wait("a").error)) for _ in range(5)]
    wait_until(lambda: len(wire.readers._waiters) == 5)
    error = OSError("gone")
    with wire.readers.lock:
        wire.readers.fail(error)
    wire.ids.put("whatever the reader is woken by")
    for thread in threads:
        thread.join(10)
    assert ended == [error] * 5


def test_waits_that_begin_and_end_all_the_time_lose_nothing(wire: Wire, start: Start) -> None:
    found: list[str] = []

    def impatient(n: int) -> None:
        while not (waiter := wire.wait(f"{n}", timeout=0.002)).found:
            wire.readers.alone(lambda: None)
        found.extend(waiter.found)

    def again(task_id: str) -> None:
        while task_id not in found:  # it may have come between two waits
            wire.ids.put(task_id)
            time.sleep(0.001)

    threads = [start(lambda n=n: impatient(n)) for n in range(8)]
    for n in range(8):
        again(f"{n}")
    for thread in threads:
        thread.join(10)
    assert sorted(found) == [f"{n}" for n in range(8)]
    assert wire.most_reading == 1
