"""asyncio: one event loop, in which `async def` tasks run beside each other; functions run in threads beside it.

Each run is an asyncio task with a context of its own. The soft limit is raised at the `await` where the task stands;
at the hard one it is cancelled, as when somebody terminates it, and has a second to end.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from fastq._ext.execute import Executor
from fastq.exceptions import SoftTimeLimitExceeded
from fastq.pool.crew import END, HARD, HERE, RAISED, SOFT, Crew, Lanes

THREADS = 32
"""Functions that run at a time, if the child runs that many tasks at all."""


def live(crew: Crew) -> None:
    """Run tasks until the child has to leave."""
    asyncio.run(_Loop(crew).serve())


class _Loop:
    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._left = asyncio.Event()
        self._runs: dict[Executor, asyncio.Task[None]] = {}
        self._limited: dict[Executor, _Limited] = {}
        self._called: dict[Executor, Future[Any]] = {}
        self._lanes = Lanes(crew, self._spawn, self._left.set)

    async def serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._threads = ThreadPoolExecutor(min(THREADS, self._crew.concurrency), "task")
        self._loop.set_default_executor(self._threads)
        self._loop.add_reader(self._crew.wait_fd, self._lanes.rung)
        self._loop.add_signal_handler(signal.SIGUSR1, self._tell)
        self._lanes.come_up()
        await self._left.wait()

    def _spawn(self, lane: Executor) -> None:
        self._runs[lane] = self._loop.create_task(self._run(lane))

    async def _run(self, lane: Executor) -> None:
        HERE.set(lane)
        error: BaseException | None = None
        value = None
        try:
            if self._crew.is_coroutine[lane.row]:
                value = await self._await(lane)
            else:
                called = self._called[lane] = self._threads.submit(copy_context().run, _called, lane)
                try:
                    # As a value: neither a future nor a coroutine lets a StopIteration through.
                    error, value = await asyncio.wrap_future(called, loop=self._loop)
                finally:
                    del self._called[lane]
        except BaseException as raised:
            error = raised
        if error is None:
            lane.succeed(value)
        else:
            lane.fail(self._meant(lane, error) if isinstance(error, asyncio.CancelledError) else error)
        error = value = None    # this frame is in its traceback
        self._limited.pop(lane, None)
        del self._runs[lane]
        self._lanes.ended(lane)

    def _await(self, lane: Executor) -> Coroutine[Any, Any, Any]:
        made = lane.call()
        if not lane.is_limited:
            return made     # type: ignore[no-any-return]
        limited = self._limited[lane] = _Limited(made)
        return limited

    def _tell(self) -> None:
        for lane, task in list(self._runs.items()):
            if (called := self._called.get(lane)) is not None:
                if not lane.interrupt(RAISED[SOFT], RAISED[HARD], RAISED[END]) and lane.signum:
                    called.cancel()     # it waits for a thread; one that has it is not changed by this
            elif level := lane.told():
                if (limited := self._limited.get(lane)) is not None:
                    limited.is_soft = level == SOFT
                task.cancel()

    def _meant(self, lane: Executor, error: asyncio.CancelledError) -> BaseException:
        """Return what a cancellation stands for."""
        level = END if lane.signum else lane.was_told
        if level == SOFT and lane in self._limited:
            return error    # that limit was raised as such
        return RAISED[level]().with_traceback(error.__traceback__) if level else error


def _called(lane: Executor) -> tuple[BaseException | None, Any]:
    try:
        return None, lane.call_here()
    except BaseException as error:
        return error, None


class _Limited(Coroutine[Any, Any, Any]):
    """The coroutine of a task with limits: a cancellation that is meant as one becomes SoftTimeLimitExceeded in it."""

    def __init__(self, made: Coroutine[Any, Any, Any]) -> None:
        self._made = made
        self.is_soft = False

    def send(self, value: Any) -> Any:
        return self._made.send(value)

    def throw(self, *error: Any) -> Any:
        if self.is_soft and _is_cancel(error[0]):
            self.is_soft = False
            if hasattr(task := asyncio.current_task(), "uncancel"):
                task.uncancel()     # type: ignore[union-attr]
            return self._made.throw(SoftTimeLimitExceeded())
        return self._made.throw(*error)

    def close(self) -> None:
        self._made.close()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self._made.send(None)


def _is_cancel(error: Any) -> bool:
    return isinstance(error, asyncio.CancelledError) or error is asyncio.CancelledError
