"""What a worker is told: arguments first, then the app's settings, then what fits the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastq import proc
from fastq.app.results import Expiry
from fastq.app.setting_rows import ROWS
from fastq.app.traits import CELERYS
from fastq.exceptions import ConfigError
from fastq.pool import kinds
from fastq.pool.kinds import Kind
from fastq.wire.entity import worker_direct

START_METHODS = ("fork", "spawn", "forkserver")
SPARE = 8
"""Children that remote control may add; each thread takes 8 KiB of the ring, so that those kinds have none to spare."""
ENDLESS = 2**31 - 1
"""More deaths than any message dies."""


@dataclass(frozen=True)
class WorkerOptions:
    """The options of one worker, complete. Times are in seconds, memory in KiB, 0 is no limit."""

    hostname: str
    queues: tuple[str, ...]
    concurrency: int
    """Tasks at a time in a child."""
    children: int
    most_children: int
    kind: Kind
    start_method: str
    autoscale: tuple[int, int] | None
    """The most and the fewest children."""
    patience_s: float
    """A child that is not up after so long is warned of."""
    time_limit: float | None
    soft_time_limit: float | None
    max_tasks_per_child: int
    max_memory_per_child: int
    prefetch_multiplier: int | None
    lease_s: float
    max_deaths: int
    waits_at_boot: bool
    reconnects: bool
    max_attempts: int
    cancels_when_cut: bool
    result_expiry: Expiry
    soft_stop_s: float
    soft_stop_on_idle: bool


def complete(app: Any, *, hostname: str | None, queues: Sequence[str] | None, concurrency: int | str | None,
             pool: str | None, time_limit: float | None, soft_time_limit: float | None,
             max_tasks_per_child: int | None, max_memory_per_child: int | None, processes: int | None = None,
             start_method: str | None = None, autoscale: tuple[int, int] | None = None) -> WorkerOptions:
    """Fill in what was not given. Raises ConfigError for what makes no sense."""
    conf = app.conf
    kind = kinds.find(pool or conf.worker_pool)
    kind.check()
    hard = time_limit if time_limit is not None else conf.task_time_limit
    soft = soft_time_limit if soft_time_limit is not None else conf.task_soft_time_limit
    if hard and soft and soft > hard:
        raise ConfigError(f"the soft time limit ({soft} s) is longer than the hard one ({hard} s)")
    at_a_time, children = _staff(kind, _concurrency(concurrency or conf.worker_concurrency),
                                 processes or conf.worker_processes, autoscale)
    hostname = proc.node_name(hostname)
    direct = [worker_direct(hostname).name] if conf.worker_direct else []
    return WorkerOptions(
        hostname=hostname,
        queues=tuple(dict.fromkeys([*(queues or app.select_queues()), *direct])),
        concurrency=at_a_time,
        children=children,
        most_children=autoscale[0] if autoscale else children + (0 if kind.threads or kind.live is None else SPARE),
        kind=kind,
        start_method=_start_method(kind, start_method or conf.worker_pool_start_method,
                                   is_given=bool(start_method or _own(conf, "worker_pool_start_method"))),
        autoscale=autoscale,
        patience_s=float(conf.worker_proc_alive_timeout or 4.0),
        time_limit=hard or None,
        soft_time_limit=soft or None,
        max_tasks_per_child=max_tasks_per_child or conf.worker_max_tasks_per_child or 0,
        max_memory_per_child=max_memory_per_child or conf.worker_max_memory_per_child or 0,
        prefetch_multiplier=1 if conf.worker_disable_prefetch else _own(conf, "worker_prefetch_multiplier"),
        lease_s=float(conf.broker_lease),
        max_deaths=ENDLESS if conf.task_max_deaths is None else int(conf.task_max_deaths),
        waits_at_boot=bool(conf.broker_connection_retry if conf.broker_connection_retry_on_startup is None
                           else conf.broker_connection_retry_on_startup),
        reconnects=bool(conf.broker_connection_retry),
        max_attempts=int(conf.broker_connection_max_retries or 0),
        cancels_when_cut=bool(conf.worker_cancel_long_running_tasks_on_connection_loss),
        result_expiry=Expiry.of(conf),
        soft_stop_s=float(conf.worker_soft_shutdown_timeout or 0),
        soft_stop_on_idle=bool(conf.worker_enable_soft_shutdown_on_idle),
    )


def _concurrency(given: Any) -> int | None:
    if given is None:
        return None
    if given == "auto":
        return proc.cpus()
    if not isinstance(given, int) or given < 1:
        raise ConfigError(f"worker_concurrency is {given!r}; give a number from 1, 'auto', or leave it out")
    return given


def _staff(kind: Kind, concurrency: int | None, processes: Any, autoscale: tuple[int, int] | None,
           ) -> tuple[int, int]:
    """Return (tasks at a time in a child, children at the start)."""
    if autoscale is not None:
        most, least = autoscale
        if not 1 <= least <= most:
            raise ConfigError(f"autoscale is {most},{least}; give the most children and then the fewest, from 1")
        _refuse(kind, "autoscale", "autoscale")
    if processes is not None:
        _refuse(kind, "processes", "worker_processes")
        if processes < 1:
            raise ConfigError(f"worker_processes is {processes!r}; give a number of children from 1")
        if autoscale is not None:
            raise ConfigError("worker_processes and autoscale both say how many children there are; leave one out")
    if kind.is_together:
        return concurrency or kind.usual, autoscale[1] if autoscale else processes or 1
    if processes is not None and concurrency is not None and processes != concurrency:
        raise ConfigError(f"the pool {kind.name!r} runs one task at a time in a child: worker_concurrency"
                          f" ({concurrency}) and worker_processes ({processes}) are the same there; leave one out")
    if kind.live is None:
        return 1, 1
    return 1, autoscale[1] if autoscale else processes or concurrency or proc.cpus()


def _start_method(kind: Kind, wanted: str, *, is_given: bool) -> str:
    if wanted not in START_METHODS:
        raise ConfigError(f"worker_pool_start_method is {wanted!r}; it is one of {', '.join(START_METHODS)}")
    if wanted in kind.start_methods:
        return wanted
    if is_given:
        raise ConfigError(f"worker_pool_start_method is {wanted!r}, which the pool {kind.name!r} cannot have; it has "
                          f"{', '.join(kind.start_methods)}")
    return kind.start_methods[0]


def _refuse(kind: Kind, feature: str, name: str) -> None:
    if feature not in kind.can:
        raise ConfigError(f"{name} is set, and the pool {kind.name!r} has no such thing")


def warnings(told: WorkerOptions, tasks: Sequence[Any], app: Any) -> list[str]:
    """Say what is asked for and not done, one sentence each: by settings without effect, and of the kind of pool.

    *tasks* are `Traits` of those of *app*. A setting that has its default was not asked for.
    """
    conf = app.conf
    found = [f"{row.name}, set by {conf.origin(row.name)}, has no effect: {row.why_idle}"
             for row in ROWS if row.why_idle and conf[row.name] != row.default(conf.preset)]
    if conf.worker_deduplicate_successful_tasks and app.result_url in (None, "rpc://"):
        found.append("worker_deduplicate_successful_tasks has no effect: there is no result store that could be asked")
    for attribute in CELERYS:
        names = [task.name for task in tasks if attribute in task.without_effect]
        if names:
            found.append(f"{attribute} of {', '.join(names)} has no effect: fastq has no such part of a worker; hooks "
                         "of the task and signals are called")
    for feature in ("time_limit", "soft_time_limit", "max_tasks_per_child", "max_memory_per_child"):
        if feature in told.kind.can:
            continue
        if getattr(told, feature):
            found.append(f"{feature} has no effect in the pool {told.kind.name!r}")
        names = [task.name for task in tasks if getattr(task, feature, None)]
        if names and not getattr(told, feature):
            found.append(f"{feature} of {', '.join(names)} has no effect in the pool {told.kind.name!r}")
    for feature, is_one in (("functions", lambda task: not task.is_async), ("coroutines", lambda task: task.is_async)):
        names = [task.name for task in tasks if is_one(task) and not task.name.startswith(("celery.", "fastq."))]
        if names and feature not in told.kind.can:
            found.append(f"the pool {told.kind.name!r} cannot run {kinds.FEATURES[feature]}: {', '.join(names)}")
    return found


def _own(conf: Any, name: str) -> Any:
    # The prefetch tunes itself; a default that nobody chose must not switch that off.
    return conf[name] if name in conf.without_defaults() else None
