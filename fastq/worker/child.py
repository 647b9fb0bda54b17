"""A child of the worker: what it sets up after the fork, and the loop it then lives in.

It takes tasks from the ring until the ring stops, or until it has run its share of tasks or memory.
It has no connection to the broker for its work; a task that sends others opens one of its own.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from mmap import mmap
from types import FrameType
from typing import Any

import msgspec

from fastq import current, log, points, signals
from fastq._ext.execute import Executor, die_with_parent
from fastq.app.traits import Traits
from fastq.backends.meta import MetaCodec
from fastq.exceptions import SoftTimeLimitExceeded
from fastq.pool.shared import Spill
from fastq.proc import set_title
from fastq.worker.tell import logs_tasks
from fastq.worker.trace import Trace

logger = logging.getLogger("celery.pool")

PLAIN, STORES, FAST_RESULT = 1, 2, 4
"""Traits of a task in the compiled loop; the same numbers stand in ext/execute.pyx."""

# The supervisor decides when a child ends. These reach the whole process group, or cgroup, so a
# child must not die of them; a handler and not SIG_IGN, for programs that a task starts inherit that.
_SUPERVISORS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP)


@dataclass(frozen=True)
class ChildSpec:
    """What every child of one worker is made from."""

    app: Any
    tasks: list[Any]
    ring: mmap
    wake_fd: int
    hostname: str
    codec: MetaCodec | None
    accept: Any
    spill: Spill
    parent_pid: int
    store_now: Callable[[str, str, bytes, str | None], None] | None = None
    max_tasks: int = 0
    max_memory_kib: int = 0
    sleep_fds: tuple[int, ...] = ()


def make_executor(spec: ChildSpec, index: int) -> Executor:
    """Build the compiled loop for the child *index*, and let `current` know of it."""
    trace = Trace(spec.app, spec.tasks, hostname=spec.hostname, codec=spec.codec, accept=spec.accept,
                  spill=spec.spill, store_now=spec.store_now)
    trace.tells_success = logs_tasks(spec.app, "celery.app.trace")
    executor = Executor(
        spec.ring, child=index, hostname=spec.hostname,
        entries=[(task, call_of(task), traits_of(task, spec.codec, trace.tells_success)) for task in spec.tasks],
        decode=msgspec.json.Decoder().decode, slow=trace,
        encode_success=spec.codec.encode_success if spec.codec else None,
        wake_fd=spec.wake_fd, sleep_fd=spec.sleep_fds[index] if spec.sleep_fds else -1,
        kill_at=points.child_point(),
    )
    current.running, current.running_task = executor.request_of, executor.task_now
    log.task_fields = lambda: _fields(executor, executor.task_now())
    return executor


def traits_of(task: Any, codec: MetaCodec | None, tells_success: bool = False) -> int:
    """Return what the compiled loop must know of *task*; with *tells_success* each success has a line in the log."""
    traits: Traits = task.traits
    around = (traits.hooks or traits.track_started or tells_success or signals.task_prerun.receivers
              or signals.task_postrun.receivers or signals.task_success.receivers)
    stores = codec is not None and not traits.ignore_result
    fast = codec is not None and codec.serializer == "json" and not codec.is_extended
    return (0 if around else PLAIN) | (STORES if stores else 0) | (FAST_RESULT if fast else 0)


def call_of(task: Any) -> Callable[..., Any]:
    """Return what runs *task*; coroutines run in one event loop per child."""
    traits: Traits = task.traits
    if not traits.is_async:
        return traits.call
    import asyncio  # noqa: PLC0415  15 ms and 4 MiB, only for workers with such tasks

    loop: list[asyncio.AbstractEventLoop] = []

    def run(*args: Any, **kwargs: Any) -> Any:
        if not loop:
            loop.append(asyncio.new_event_loop())
        return loop[0].run_until_complete(traits.call(*args, **kwargs))

    return run


def main(spec: ChildSpec, index: int) -> int:
    """Live as the child *index*; returns the exit status."""
    if die_with_parent() and os.getppid() != spec.parent_pid:
        return 0        # the supervisor ended between the fork and the line above
    signal.set_wakeup_fd(-1)
    for number in _SUPERVISORS:
        signal.signal(number, _leave_it_to_the_supervisor)
    set_title(f"[fastq] {spec.hostname}: child {index}")
    log.name_process(f"ForkPoolWorker-{index + 1}")
    executor = make_executor(spec, index)

    def soft_limit(number: int, frame: FrameType | None) -> None:
        if executor.soft_due():
            raise SoftTimeLimitExceeded()

    signal.signal(signal.SIGUSR1, soft_limit)
    gc.unfreeze()
    gc.enable()
    signals.worker_process_init.send(sender=spec.hostname)
    try:
        if spec.max_memory_kib:
            _run_within(executor, spec)
        else:
            executor.run(spec.max_tasks)
    finally:
        signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
        logging.shutdown()
    return 0


def _run_within(executor: Executor, spec: ChildSpec) -> None:
    left = spec.max_tasks or -1
    while left and executor.run(1):
        left -= 1
        used_kib = resident_kib()
        if used_kib > spec.max_memory_kib:
            logger.warning("child pid %d leaves: it uses %d KiB, more than the %d allowed", os.getpid(), used_kib,
                           spec.max_memory_kib)
            return


def resident_kib() -> int:
    """Return the resident memory of this process in KiB."""
    import psutil  # noqa: PLC0415  20 ms and 2 MiB, only for workers with a memory limit

    return int(psutil.Process().memory_info().rss) // 1024


def _leave_it_to_the_supervisor(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _fields(executor: Executor, task: Any) -> dict[str, Any] | None:
    if task is None:
        return None
    return {"task_id": executor.task_id, "task_name": task.name, "queue": executor.queue,
            "attempt": executor.request_now().retries + 1}
