"""What a worker must know of a task, read once from its options and the settings, so that nothing is asked per run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

HOOKS = ("before_start", "on_success", "on_retry", "on_failure", "after_return")
CELERYS = ("Request", "Strategy", "start_strategy")
"""What a task of Celery may replace of the worker, and fastq's worker does not have."""


class Traits(NamedTuple):
    """One task as its worker sees it. Seconds for times, None for no limit."""

    name: str
    call: Callable[..., Any]
    """What to call with the arguments: the function, or the task if its class has its own ``__call__``."""
    is_async: bool
    hooks: frozenset[str]
    """Which of `HOOKS` the task's class defines."""
    acks_late: bool
    acks_on_failure: bool
    acks_on_timeout: bool
    reject_on_worker_lost: bool | None
    retry_on_worker_lost: bool
    ignore_result: bool
    store_errors_even_if_ignored: bool
    track_started: bool
    send_events: bool
    time_limit: float | None
    soft_time_limit: float | None
    rate_limit: str | float | None
    max_retries: int | None
    throws: tuple[type[BaseException], ...]
    resultrepr_maxsize: int
    without_effect: tuple[str, ...] = ()
    """Which of `CELERYS` the task sets."""


def traits_of(task: Any) -> Traits:
    """Read the traits of *task*, which must belong to an app."""
    call: Callable[..., Any] = task if task.has_own_call else task.run
    return Traits(
        name=task.name,
        call=call,
        is_async=inspect.iscoroutinefunction(inspect.unwrap(task.run)),
        hooks=frozenset(hook for hook in HOOKS if hook in task.__dict__ or task.has_own(hook)),
        acks_late=bool(task.acks_late),
        acks_on_failure=bool(task.acks_on_failure),
        acks_on_timeout=bool(task.acks_on_timeout),
        reject_on_worker_lost=task.reject_on_worker_lost,
        retry_on_worker_lost=bool(task.retry_on_worker_lost),
        ignore_result=bool(task.ignore_result),
        store_errors_even_if_ignored=bool(task.store_errors_even_if_ignored),
        track_started=bool(task.track_started),
        send_events=bool(task.send_events),
        time_limit=task.time_limit,
        soft_time_limit=task.soft_time_limit,
        rate_limit=task.rate_limit,
        max_retries=task.max_retries,
        throws=tuple(task.throws or ()),
        resultrepr_maxsize=task.resultrepr_maxsize,
        without_effect=tuple(name for name in CELERYS if getattr(task, name, None) is not None),
    )

