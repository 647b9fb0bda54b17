"""What a worker is told: arguments first, then the app's settings, then what fits the machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastq import proc
from fastq.app.results import Expiry
from fastq.exceptions import ConfigError

POOLS = ("prefork", "solo")
ENDLESS = 2**31 - 1
"""More deaths than any message dies."""


@dataclass(frozen=True)
class WorkerOptions:
    """The options of one worker, complete. Times are in seconds, memory in KiB, 0 is no limit."""

    hostname: str
    queues: tuple[str, ...]
    concurrency: int
    pool: str
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
    result_expiry: Expiry
    soft_stop_s: float
    soft_stop_on_idle: bool


def complete(app: Any, *, hostname: str | None, queues: Sequence[str] | None, concurrency: int | None,
             pool: str | None, time_limit: float | None, soft_time_limit: float | None,
             max_tasks_per_child: int | None, max_memory_per_child: int | None) -> WorkerOptions:
    """Fill in what was not given. Raises ConfigError for what makes no sense."""
    conf = app.conf
    kind = pool or conf.worker_pool
    if kind not in POOLS:
        raise ConfigError(f"worker_pool is {kind!r}; this version has the pools {', '.join(POOLS)}")
    children = 1 if kind == "solo" else concurrency or conf.worker_concurrency or cpus()
    if not isinstance(children, int) or children < 1:
        raise ConfigError(f"worker_concurrency is {children!r}; give a number of children from 1, or leave it out")
    hard = time_limit if time_limit is not None else conf.task_time_limit
    soft = soft_time_limit if soft_time_limit is not None else conf.task_soft_time_limit
    if hard and soft and soft > hard:
        raise ConfigError(f"the soft time limit ({soft} s) is longer than the hard one ({hard} s)")
    return WorkerOptions(
        hostname=proc.node_name(hostname),
        queues=tuple(queues or app.select_queues()),
        concurrency=children,
        pool=kind,
        time_limit=hard or None,
        soft_time_limit=soft or None,
        max_tasks_per_child=max_tasks_per_child or conf.worker_max_tasks_per_child or 0,
        max_memory_per_child=max_memory_per_child or conf.worker_max_memory_per_child or 0,
        prefetch_multiplier=_own(conf, "worker_prefetch_multiplier"),
        lease_s=float(conf.broker_lease),
        max_deaths=ENDLESS if conf.task_max_deaths is None else int(conf.task_max_deaths),
        waits_at_boot=bool(conf.broker_connection_retry if conf.broker_connection_retry_on_startup is None
                           else conf.broker_connection_retry_on_startup),
        reconnects=bool(conf.broker_connection_retry),
        max_attempts=int(conf.broker_connection_max_retries or 0),
        result_expiry=Expiry.of(conf),
        soft_stop_s=float(conf.worker_soft_shutdown_timeout or 0),
        soft_stop_on_idle=bool(conf.worker_enable_soft_shutdown_on_idle),
    )


def cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _own(conf: Any, name: str) -> Any:
    # The prefetch tunes itself; a default that nobody chose must not switch that off.
    return conf[name] if name in conf.without_defaults() else None
