"""Prefork: one task at a time, in the main thread of the child."""

from __future__ import annotations

import signal
from types import FrameType

from fastq._ext.execute import Executor
from fastq.exceptions import SoftTimeLimitExceeded
from fastq.pool.crew import Crew


def live(crew: Crew) -> None:
    """Run tasks until the child has to leave."""
    executor = crew.executor(0)

    def soft_limit(number: int, frame: FrameType | None) -> None:
        if executor.soft_due():
            raise SoftTimeLimitExceeded()

    signal.signal(signal.SIGUSR1, soft_limit)
    if crew.is_too_large is None:
        executor.run(crew.max_tasks)
    else:
        _run_within(executor, crew)


def _run_within(executor: Executor, crew: Crew) -> None:
    left = crew.max_tasks or -1
    while left and executor.run(1):
        left -= 1
        if crew.is_too_large is not None and crew.is_too_large():
            return
