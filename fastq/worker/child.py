"""A child of the worker: what it sets up, whatever its kind, before it lives as its kind does.

It takes tasks from the ring until the ring stops, or until it has run its share of tasks or memory.
It has no connection to the broker for its work; a task that sends others opens one of its own.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from mmap import mmap
from types import FrameType
from typing import Any

import msgspec

from fastq import current, log, points, signals
from fastq._ext.execute import Executor, die_with_parent
from fastq.app.results import Expiry
from fastq.app.traits import Traits
from fastq.backends.meta import MetaCodec
from fastq.pool import coroutines, kinds
from fastq.pool.crew import HERE, Crew
from fastq.pool.kinds import Kind
from fastq.pool.shared import Spill
from fastq.proc import set_title
from fastq.types import Result
from fastq.worker.options import WorkerOptions
from fastq.worker.room import Room
from fastq.worker.shutdown import is_ours
from fastq.worker.tell import logs_tasks
from fastq.worker.trace import Trace

logger = logging.getLogger("celery.pool")

PLAIN, STORES, FAST_RESULT, ASKS = 1, 2, 4, 8
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
    kind: Kind = kinds.PREFORK
    concurrency: int = 1
    """Tasks at a time in this child."""
    bells: Sequence[tuple[int, int]] = ()
    """Of each child: what it waits on, and what wakes it; none where it sleeps on a word in the ring."""
    trial: int = -1
    """Which child runs what one more death condemns: that alone, one at a time."""


def spec_of(app: Any, tasks: list[Any], told: WorkerOptions, room: Room, codec: MetaCodec | None) -> ChildSpec:
    """Return what the children of the worker in this process are made from; *codec* is for results, if any are kept."""
    return ChildSpec(
        app=app, tasks=tasks, ring=room.memory, wake_fd=room.wake_out, hostname=told.hostname, codec=codec,
        accept=app.conf.accept_content, spill=room.spill, parent_pid=os.getpid(),
        store_now=store_now(app, told.result_expiry) if codec else None, max_tasks=told.max_tasks_per_child,
        max_memory_kib=told.max_memory_per_child, kind=told.kind, concurrency=told.concurrency, bells=room.bells,
        trial=room.trial)


def store_now(app: Any, expiry: Expiry) -> Callable[[str, str, bytes, str | None], None]:
    """Return what stores a state while the task runs."""
    def store(task_id: str, state: str, meta: bytes, reply_to: str | None) -> None:
        app.backend.put([Result(task_id, state, meta, expiry.at(state), reply_to)])

    return store


def make_executor(spec: ChildSpec, head: int, *, is_trial: bool = False) -> Executor:
    """Build the compiled loop of one head of the ring."""
    trace = Trace(spec.app, spec.tasks, hostname=spec.hostname, codec=spec.codec, accept=spec.accept,
                  spill=spec.spill, store_now=spec.store_now)
    trace.tells_success = logs_tasks(spec.app, "celery.app.trace")
    asks = bool(spec.app.conf.worker_deduplicate_successful_tasks) and spec.app.result_url not in (None, "rpc://")
    return Executor(
        spec.ring, child=head, hostname=spec.hostname,
        entries=[(task, call_of(task, spec.kind), traits_of(task, spec.codec, trace.tells_success)
                  | (ASKS if asks and task.traits.acks_late else 0)) for task in spec.tasks],
        decode=msgspec.json.Decoder().decode, slow=trace,
        encode_success=spec.codec.encode_success if spec.codec else None,
        wake_fd=spec.wake_fd, sleep_fd=spec.sleep_fds[head] if spec.sleep_fds else -1,
        kill_at=points.child_point(), is_trial=is_trial,
    )


def be_current(executor: Executor) -> None:
    """Let `current` and the log ask *executor* what runs: it is the only one of this process."""
    current.running, current.running_task = executor.request_of, executor.task_now
    log.task_fields = lambda: _fields(executor)


def be_current_by_context() -> None:
    """Let `current` and the log ask the executor of their context."""
    current.running = lambda task: None if (here := HERE.get()) is None else here.request_of(task)
    current.running_task = lambda: None if (here := HERE.get()) is None else here.task_now()
    log.task_fields = lambda: None if (here := HERE.get()) is None else _fields(here)


def traits_of(task: Any, codec: MetaCodec | None, tells_success: bool = False) -> int:
    """Return what the compiled loop must know of *task*; with *tells_success* each success has a line in the log."""
    traits: Traits = task.traits
    around = (traits.hooks or traits.track_started or tells_success or signals.task_prerun.receivers
              or signals.task_postrun.receivers or signals.task_success.receivers)
    stores = codec is not None and not traits.ignore_result
    fast = codec is not None and codec.serializer == "json" and not codec.is_extended
    return (0 if around else PLAIN) | (STORES if stores else 0) | (FAST_RESULT if fast else 0)


def call_of(task: Any, kind: Kind = kinds.PREFORK) -> Callable[..., Any]:
    """Return what runs *task*: its function, or for a coroutine function what suits the kind of pool."""
    traits: Traits = task.traits
    if not traits.is_async or kind.host == "loop":
        return traits.call
    return (coroutines.in_thread if kind.host == "thread" else coroutines.in_greenlet)(traits.call)


def main(spec: ChildSpec, index: int) -> int:
    """Live as the child *index*; returns the exit status."""
    if die_with_parent() and os.getppid() != spec.parent_pid:
        return 0        # the supervisor ended between the fork and the line above
    signal.set_wakeup_fd(-1)
    for number in _SUPERVISORS:
        signal.signal(number, _leave_it_to_the_supervisor)
    if is_ours(signal.getsignal(signal.SIGUSR2)):
        signal.signal(signal.SIGUSR2, _leave_it_to_the_supervisor)
    set_title(f"[fastq] {spec.hostname}: child {index}")
    log.name_process(f"ForkPoolWorker-{index + 1}")
    live = spec.kind.load()
    crew = _crew_of(spec, index)
    gc.enable()
    signals.worker_process_init.send(sender=spec.hostname)
    try:
        live(crew)
    finally:
        signals.worker_process_shutdown.send(sender=None, pid=os.getpid(), exitcode=0)
        logging.shutdown()
    return 0


def _crew_of(spec: ChildSpec, index: int) -> Crew:
    seats = spec.kind.seats(spec.concurrency)
    wait_fd, wake_fd = spec.bells[index] if spec.bells else (-1, -1)

    def executor(number: int) -> Executor:
        made = make_executor(spec, index * seats + number, is_trial=index == spec.trial)
        if not spec.kind.is_together:
            be_current(made)
        return made

    if spec.kind.is_together:
        be_current_by_context()
    return Crew(
        executor=executor, concurrency=1 if index == spec.trial else spec.concurrency,
        is_coroutine=[task.traits.is_async for task in spec.tasks],
        wait_fd=wait_fd, wake_fd=wake_fd, max_tasks=spec.max_tasks,
        is_too_large=(lambda: _is_too_large(spec.max_memory_kib)) if spec.max_memory_kib else None)


def _is_too_large(most_kib: int) -> bool:
    used_kib = resident_kib()
    if used_kib > most_kib:
        logger.warning("child pid %d leaves: it uses %d KiB, more than the %d allowed", os.getpid(), used_kib, most_kib)
    return used_kib > most_kib


def resident_kib() -> int:
    """Return the resident memory of this process in KiB."""
    import psutil  # noqa: PLC0415  20 ms and 2 MiB, only for workers with a memory limit

    return int(psutil.Process().memory_info().rss) // 1024


def _leave_it_to_the_supervisor(number: int, frame: FrameType | None) -> None:
    """Do nothing."""


def _fields(executor: Executor) -> dict[str, Any] | None:
    if (task := executor.task_now()) is None:
        return None
    return {"task_id": executor.task_id, "task_name": task.name, "queue": executor.queue,
            "attempt": executor.request_now().retries + 1}
