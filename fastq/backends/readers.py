"""Many threads that wait for what one connection brings: one of them reads it for all.

There is no thread of ours behind a plain wait. Whoever waits tries to become the reader; the others sleep, each on a
lock of its own. The reader hands everyone what is theirs, and when it leaves, wakes one who takes its place.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator


class Waiter:
    """One thread that waits for any of some ids; all but `sleep` is done under the lock of `Readers`."""

    __slots__ = ("_bed", "error", "found", "ids", "is_done")

    def __init__(self, ids: Iterable[str]) -> None:
        self.ids = tuple(ids)
        self.found: dict[str, bytes] = {}
        self.error: Exception | None = None
        self.is_done = False
        self._bed = threading.Lock()
        self._bed.acquire()

    def wake(self) -> None:
        """Let it go on; once more is once."""
        if self._bed.locked():
            self._bed.release()

    def left(self, deadline: float | None) -> float | None:
        """Return the seconds until the *deadline*, None without one; 0 when it has passed or the wait is over."""
        if self.is_done:
            return 0.0
        return None if deadline is None else max(0.0, deadline - time.monotonic())

    def sleep(self, timeout_s: float | None) -> None:
        """Sleep until somebody wakes this waiter, at most *timeout_s* seconds."""
        self._bed.acquire(timeout=-1 if timeout_s is None else min(timeout_s, threading.TIMEOUT_MAX))


class Readers:
    """Who waits for what, and who reads. *read* waits at most so many seconds, and hands on what came by `give`."""

    def __init__(self, read: Callable[[float | None], object]) -> None:
        self.lock = threading.Lock()
        """Held for moments: over the tables of who waits, and of what their owner keeps beside."""
        self._read = read
        self._reading = threading.Lock()
        self._waiters: dict[Waiter, None] = {}
        self._by_id: dict[str, list[Waiter]] = {}

    # -- under the lock ------------------------------------------------------------------------

    def enlist(self, ids: Iterable[str]) -> Waiter:
        """Note that a thread waits for *ids*; it has to `attend` then."""
        waiter = Waiter(ids)
        self._waiters[waiter] = None
        for task_id in waiter.ids:
            self._by_id.setdefault(task_id, []).append(waiter)
        return waiter

    def give(self, task_id: str, raw: bytes) -> bool:
        """Wake those who wait for *task_id*; returns whether there were any."""
        waiters = self._by_id.pop(task_id, None)
        for waiter in waiters or ():
            waiter.found[task_id] = raw
            waiter.is_done = True
            waiter.wake()
        return waiters is not None

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._by_id

    def __iter__(self) -> Iterator[str]:
        """Go through the ids that are waited for."""
        return iter(self._by_id)

    def fail(self, error: Exception) -> None:
        """Wake all who wait, with *error*."""
        for waiter in self._waiters:
            waiter.error, waiter.is_done = error, True
            waiter.wake()

    def strike(self, waiter: Waiter) -> None:
        """Forget a thread that did not come to `attend`."""
        del self._waiters[waiter]
        for task_id in waiter.ids:
            others = self._by_id.get(task_id)
            if others is not None and waiter in others:
                others.remove(waiter)
                if not others:
                    del self._by_id[task_id]

    # -- without it ----------------------------------------------------------------------------

    def attend(self, waiter: Waiter, deadline: float | None) -> None:
        """Wait until *waiter* is done or the *deadline* (of the monotonic clock) has passed; reads if nobody does."""
        try:
            while (left := waiter.left(deadline)) != 0.0:
                if not self._reading.acquire(blocking=False):
                    waiter.sleep(left)
                    continue
                try:
                    while (left := waiter.left(deadline)) != 0.0:
                        self._read(left)
                finally:
                    self._reading.release()
        finally:
            with self.lock:
                self.strike(waiter)
                self._call_next()

    def alone(self, call: Callable[[], object]) -> bool:
        """Do *call* unless somebody reads at the moment; returns whether it was done."""
        if not self._reading.acquire(blocking=False):
            return False
        try:
            call()
        finally:
            self._reading.release()
            with self.lock:
                self._call_next()
        return True

    def _call_next(self) -> None:
        # Whoever stops reading comes by here, so no one sleeps while nobody reads. One too many who wakes sleeps again.
        if not self._reading.locked():
            for waiter in self._waiters:
                waiter.wake()
                return
