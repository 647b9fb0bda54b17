"""Threads: each claims a slot from the ring, and runs it. One that waits for work sleeps without the GIL.

The main thread runs no task: it hears signals, and raises in the threads whose tasks are over their limits, or are to
end.
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

from fastq._ext.execute import Executor
from fastq.pool import coroutines
from fastq.pool.crew import END, HARD, HERE, RAISED, SOFT, Crew


def live(crew: Crew) -> None:
    """Run tasks until the child has to leave."""
    executors = [crew.executor(number) for number in range(crew.concurrency)]

    def tell(number: int, frame: FrameType | None) -> None:
        for executor in executors:
            if executor.interrupt(RAISED[SOFT], RAISED[HARD], RAISED[END]):
                coroutines.wake(executor.thread)

    signal.signal(signal.SIGUSR1, tell)
    share = Share(executors, crew)
    threads = [threading.Thread(target=_work, args=(executor, crew, share), name=f"task-{number}")
               for number, executor in enumerate(executors)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


class Share:
    """Counts what all threads of a child have run together, and ends it when that is enough."""

    def __init__(self, executors: list[Executor], crew: Crew) -> None:
        self._executors = executors
        self._crew = crew
        self._lock = threading.Lock()
        self._ended = 0

    def count(self) -> None:
        """Take note that one has ended."""
        with self._lock:
            self._ended += 1
            is_over = self._ended == self._crew.max_tasks
        if is_over or (self._crew.is_too_large is not None and self._crew.is_too_large()):
            self.end()

    def end(self) -> None:
        """Let no thread begin anything more."""
        for executor in self._executors:
            executor.leave()


def _work(executor: Executor, crew: Crew, share: Share) -> None:
    HERE.set(executor)
    if not crew.max_tasks and crew.is_too_large is None:
        executor.run()
        return
    while not executor.is_leaving:
        if not executor.run(1):
            return
        share.count()
