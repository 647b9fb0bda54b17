"""The supervisor's view of its children: start, watch, kill, replace.

It knows nothing of tasks or messages: a child runs whatever function it is given and is told to
stop through the ring. The supervisor has no threads, so a fork is safe at any time.
"""

from __future__ import annotations

import gc
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

CRASH_WINDOW_S = 10.0
CRASH_LIMIT = 5
"""Children that end before they did anything: more than this in the window and starting them is pointless."""


@dataclass(slots=True)
class Child:
    """One running child. ``pidfd`` becomes readable when it ends, -1 where there is no such thing."""

    index: int
    pid: int
    pidfd: int
    started_mono: float


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


class Prefork:
    """Keeps *size* children alive, each running ``main(index)`` until it returns."""

    def __init__(self, size: int, main: Callable[[int], int]) -> None:
        self.size = size
        self._main = main
        self._children: dict[int, Child] = {}
        self._crashes: list[float] = []
        self.poller: selectors.BaseSelector | None = None

    def start(self) -> None:
        """Fork every child that is missing."""
        gc.freeze()     # what exists now is never collected in a child, so its pages stay shared
        for index in range(self.size):
            if index not in self._children:
                self.spawn(index)

    def spawn(self, index: int) -> Child:
        """Fork the child *index*."""
        signals.worker_before_create_process.send(sender=self)
        pid = os.fork()
        if pid == 0:
            self._become(index)
        pidfd = os.pidfd_open(pid) if hasattr(os, "pidfd_open") else -1
        child = self._children[index] = Child(index, pid, pidfd, time.monotonic())
        if pidfd >= 0 and self.poller is not None:
            self.poller.register(pidfd, selectors.EVENT_READ)
        return child

    def _become(self, index: int) -> None:
        status = 70
        try:
            status = self._main(index)
        except BaseException:
            logger.critical("child %d (pid %d) failed", index, os.getpid(), exc_info=True)
        finally:
            os._exit(status)

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
        """Start a successor. Raises PoolError when children keep ending before they are up."""
        if was_up:
            self._crashes.clear()
        elif not ended.expected and ended.age_s < 1.0:
            now = time.monotonic()
            self._crashes = [at for at in self._crashes if now - at < CRASH_WINDOW_S] + [now]
            if len(self._crashes) > CRASH_LIMIT:
                raise PoolError(f"{len(self._crashes)} children ended before they could take a task, and starting"
                                f" more is pointless; the last: {ended}")
        self.spawn(ended.index)

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
