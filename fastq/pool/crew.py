"""What a child has to work with, whatever its kind; and the lanes of those that run many tasks in one thread.

Nothing here knows of messages: a lane is an executor that has claimed a slot.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass

from fastq._ext.execute import Executor
from fastq.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

HERE: ContextVar[Executor | None] = ContextVar("fastq_lane", default=None)
"""The executor whose task runs in this context: this thread, this asyncio task or this greenlet."""

SOFT, HARD, END = 1, 2, 3
"""What `Executor.told` says; the same numbers stand in ext/execute.pyx."""


class Terminating(BaseException):
    """Raised in a task that somebody terminates, and no error: ``except Exception`` does not hold it up."""


RAISED: dict[int, type[BaseException]] = {SOFT: SoftTimeLimitExceeded, HARD: TimeLimitExceeded, END: Terminating}
"""What is raised in the task for each of them."""


@dataclass(frozen=True)
class Crew:
    """The means of one child.

    ``executor(n)`` makes the executor of its *n*-th head in the ring. ``wait_fd`` is readable when the supervisor has
    work for a child that said `Executor.rest`, and after a signal when ``wake_fd`` was given to
    ``signal.set_wakeup_fd``. ``is_coroutine`` tells of each row of the task table whether calling it makes a coroutine.
    """

    executor: Callable[[int], Executor]
    concurrency: int
    is_coroutine: Sequence[bool]
    wait_fd: int
    wake_fd: int
    max_tasks: int
    is_too_large: Callable[[], bool] | None
    """Whether the child uses more memory than it may; None when there is no such limit."""

    def drain(self) -> None:
        """Read what made ``wait_fd`` readable."""
        try:
            os.read(self.wait_fd, 4096)
        except BlockingIOError:
            return      # another reader was quicker

    def ring_up(self) -> None:
        """Make ``wait_fd`` readable."""
        try:
            os.write(self.wake_fd, b"\0")
        except BlockingIOError:
            return      # it is, many times over


class Lanes:
    """The runs of a child that runs many tasks in one thread.

    *spawn* is given a lane that was begun, and sees to it that it is run and given to `ended`. *left* is called when
    the child has to leave and nothing runs any more.
    """

    def __init__(self, crew: Crew, spawn: Callable[[Executor], object], left: Callable[[], object]) -> None:
        self._crew = crew
        self._spawn = spawn
        self._left = left
        self._first = crew.executor(0)
        self._free: list[Executor] = []
        self._begun = 0
        self.busy: set[Executor] = set()

    def come_up(self) -> None:
        """Say that the child is there, and begin."""
        self._first.come_up()
        self.pump()

    def pump(self) -> None:
        """Begin what is ready, as long as there is room for it; then say that the child rests."""
        while True:
            while len(self.busy) < self._crew.concurrency and not self._first.is_leaving:
                lane = self._free.pop() if self._free else self._first.lane()
                if not lane.begin():
                    self._free.append(lane)
                    break
                self.busy.add(lane)
                self._count()
                self._spawn(lane)
            if self._first.is_leaving:
                if not self.busy:
                    self._left()
                return
            # Who has no room asks for no call: the next run that ends looks again.
            if len(self.busy) >= self._crew.concurrency or self._first.rest():
                return

    def rung(self) -> None:
        """Take note that ``wait_fd`` is readable."""
        self._crew.drain()
        self._first.awake()
        self.pump()

    def ended(self, lane: Executor) -> None:
        """Take a lane back whose run has ended."""
        self.busy.discard(lane)
        self._free.append(lane)
        if self._crew.is_too_large is not None and self._crew.is_too_large():
            self._first.leave()
        self._first.awake()
        self.pump()

    def _count(self) -> None:
        self._begun += 1
        if self._begun == self._crew.max_tasks:
            self._first.leave()
