"""The supervisor's view of its children: start, watch, kill, replace.

It knows nothing of tasks or messages, nor how a child is made (`fastq.pool.start`); a child is told to stop through
the ring. One that ends before it was up is started again after a pause that doubles; so is one that cannot be started.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from fastq import signals
from fastq.exceptions import PoolError

logger = logging.getLogger("celery.pool")

CRASH_LIMIT = 5
"""Starts that may fail in a row, with none between that came up; one more, and to go on is pointless."""
PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
LATE_S = 60.0
"""A child that is not up by then is killed, and counts as one that failed to start."""
AGAIN_S = 0.05
"""When to ask again for a child that could not be had at once."""


@dataclass(slots=True)
class Child:
    """One running child. ``pidfd`` becomes readable when it ends, -1 where there is no such thing."""

    index: int
    pid: int
    pidfd: int
    started_mono: float
    is_late: bool = False


@dataclass(slots=True)
class Ended:
    """A child that is no more. ``status`` is an exit code, or minus the signal that killed it."""

    index: int
    pid: int
    status: int
    age_s: float

    @property
    def expected(self) -> bool:
        """True when it left by itself: told to stop, or at its limit of tasks or memory."""
        return self.status == 0

    def __str__(self) -> str:
        if self.status < 0:
            return f"child {self.index} (pid {self.pid}) was killed by {signal.Signals(-self.status).name}"
        return f"child {self.index} (pid {self.pid}) exited with status {self.status}"


class Children:
    """Keeps *size* children alive.

    ``begin(index)`` starts the process of one and returns its pid; or 0, and then it is asked again soon.
    """

    def __init__(self, size: int, begin: Callable[[int], int]) -> None:
        self.size = size
        self._begin = begin
        self._children: dict[int, Child] = {}
        self._due: dict[int, float] = {}
        self._more: set[int] = set()
        self._awaited: set[int] = set()
        self._failures = 0
        self.poller: selectors.BaseSelector | None = None

    def start(self) -> None:
        """Start every child that is missing. Raises PoolError when too many starts failed."""
        for index in range(self.size):
            if index not in self._children:
                self._start(index)

    def tend(self) -> float | None:
        """Start those whose pause is over; returns the seconds until the next one's, or None.

        Raises PoolError when too many starts failed.
        """
        now = time.monotonic()
        for index in [index for index, at in self._due.items() if at <= now]:
            self._start(index)
        return min(self._due.values()) - now if self._due else None

    def _start(self, index: int) -> None:
        self._due.pop(index, None)
        if index not in self._awaited:
            signals.worker_before_create_process.send(sender=self)
        self._awaited.discard(index)
        try:
            pid = self._begin(index)
        except OSError as error:
            self._failed(index, f"child {index} cannot be started: {error}")
            return
        if pid == 0:
            self._awaited.add(index)
            self._due[index] = time.monotonic() + AGAIN_S
            return
        pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        self._children[index] = Child(index, pid, pidfd, time.monotonic())
        if pidfd >= 0 and self.poller is not None:
            self.poller.register(pidfd, selectors.EVENT_READ)

    def _failed(self, index: int, why: str) -> None:
        self._failures += 1
        if self._failures > CRASH_LIMIT:
            raise PoolError(f"{self._failures} children in a row ended before they could take a task, and starting more"
                            f" is pointless; the last: {why}")
        pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2 ** (self._failures - 1))
        self._due[index] = time.monotonic() + pause_s
        logger.error("%s before it could take a task; the next in %.1f s", why, pause_s)

    def watch(self, poller: selectors.BaseSelector) -> None:
        """Make *poller* wake up when a child ends."""
        self.poller = poller
        for child in self._children.values():
            if child.pidfd >= 0:
                poller.register(child.pidfd, selectors.EVENT_READ)

    def reap(self) -> list[Ended]:
        """Return the children that ended since the last call; their places are empty now."""
        ended = []
        for child in list(self._children.values()):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if pid:
                self._forget(child)
                code = os.waitstatus_to_exitcode(status)
                ended.append(Ended(child.index, pid, code, time.monotonic() - child.started_mono))
        return ended

    def _forget(self, child: Child) -> None:
        del self._children[child.index]
        if child.pidfd >= 0:
            if self.poller is not None:
                self.poller.unregister(child.pidfd)
            os.close(child.pidfd)

    def replace(self, ended: Ended, *, was_up: bool = False) -> None:
        """Start a successor, if there is to be one. Raises PoolError when children keep ending before they are up."""
        if was_up:
            self._failures = 0
        if ended.index >= self.size and ended.index not in self._more:
            return
        if was_up or ended.expected:
            self._start(ended.index)
        else:
            self._failed(ended.index, str(ended))

    def want(self, index: int, is_wanted: bool = True) -> None:
        """Keep one more child alive, whose number is beyond the others'; or no longer."""
        if not is_wanted:
            self._more.discard(index)
            return
        self._more.add(index)
        if index not in self._children and index not in self._due:
            self._start(index)

    def find_late(self, is_up: Callable[[int], bool], patience_s: float) -> list[Child]:
        """Return those that should be up by now and are not, each once; kill those that never will be."""
        now = time.monotonic()
        late = []
        for child in self._children.values():
            age_s = now - child.started_mono
            if age_s < patience_s or is_up(child.index):
                continue
            if age_s > max(LATE_S, 10 * patience_s):
                os.kill(child.pid, signal.SIGKILL)
            elif not child.is_late:
                child.is_late = True
                late.append(child)
        return late

    def resize(self, size: int) -> list[int]:
        """Have *size* children from now on; returns those that are too many, which are to be told to leave."""
        self.size = size
        self._due = {index: at for index, at in self._due.items() if index < size or index in self._more}
        for index in range(size):
            if index not in self._children and index not in self._due:
                self._start(index)
        return [index for index in self._children if index >= size and index not in self._more]

    def signal(self, index: int, number: int) -> bool:
        """Send a signal to the child *index*; False when it is not there."""
        child = self._children.get(index)
        if child is None:
            return False
        os.kill(child.pid, number)
        return True

    def pid_of(self, index: int) -> int:
        """Return the child's process id, 0 when it is not there."""
        child = self._children.get(index)
        return child.pid if child else 0

    def kill(self, indices: Iterable[int]) -> None:
        """Kill the children of *indices* that are there, and wait for their end."""
        children = [self._children[index] for index in indices if index in self._children]
        for child in children:
            os.kill(child.pid, signal.SIGKILL)
        for child in children:
            os.waitpid(child.pid, 0)
            self._forget(child)

    def __len__(self) -> int:
        return len(self._children)
