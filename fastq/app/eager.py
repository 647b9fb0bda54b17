"""Runs a task in place, as a worker would: ``task.apply()`` and ``task_always_eager``.

The order of hooks and signals is Celery's; the worker's own path is compiled and lives elsewhere.
"""

from __future__ import annotations

import inspect
import socket
import time
from collections.abc import Coroutine, Iterable, Mapping
from contextvars import copy_context
from typing import Any, NamedTuple

from fastq import current, signals, states
from fastq.app import links
from fastq.einfo import ExceptionInfo
from fastq.exceptions import Ignore, Reject, Retry
from fastq.request import Request
from fastq.result import EagerResult, denied_join_result
from fastq.wire import serializers


class Ended(NamedTuple):
    """How a run ended; *value* is what was returned or raised."""

    state: str
    value: Any
    einfo: ExceptionInfo | None = None


def apply(
    task: Any, args: Iterable[Any] | None, kwargs: Mapping[str, Any] | None, *, throw: bool | None,
    options: Mapping[str, Any],
) -> EagerResult[Any]:
    """Run *task* here and return its result; see `Task.apply`."""
    app = task.app
    request = _request(task, tuple(args or ()), dict(kwargs or {}), options)
    token = current.push(task, request)
    try:
        with denied_join_result():
            ended = run(task, request)
    finally:
        current.pop(token)
    traceback = None if ended.einfo is None else ended.einfo.traceback
    if isinstance(ended.value, Retry) and ended.value.sig is not None:
        retried: EagerResult[Any] = ended.value.sig.apply(throw=throw)
        return retried
    if (app.conf.task_eager_propagates if throw is None else throw) and ended.state in states.PROPAGATE_STATES:
        raise ended.value
    if task.store_eager_result and not request.ignore_result and ended.state in states.READY_STATES:
        app.store_result(request.id, ended.value, ended.state, traceback, request=request)
    result: EagerResult[Any] = EagerResult(request.id or "", ended.value, ended.state, traceback, task.name)
    result.app = app
    return result


def run(task: Any, request: Request) -> Ended:
    """Run *task* under *request*, which is current, with its hooks, signals and links."""
    args, kwargs, task_id = request.args, request.kwargs, request.id
    signals.task_prerun.send(sender=task, task_id=task_id, task=task, args=args, kwargs=kwargs)
    ended, began = Ended(states.FAILURE, None), time.monotonic()
    try:
        try:
            task.before_start(task_id, args, kwargs)
            value = (task if task.has_own_call else task.run)(*args, **kwargs)
            if inspect.iscoroutine(value):
                value = run_coroutine(value)
        except (Ignore, Reject) as exc:
            ended = Ended(states.IGNORED if isinstance(exc, Ignore) else states.REJECTED, exc)
        except Retry as exc:
            ended = Ended(states.RETRY, exc, ExceptionInfo(exc))
            task.on_retry(exc.exc, task_id, args, kwargs, ended.einfo)
            signals.task_retry.send(sender=task, request=request, reason=exc, einfo=ended.einfo)
        except Exception as exc:
            einfo = ExceptionInfo(exc)
            ended = Ended(states.FAILURE, exc, einfo)
            for errback in links.errbacks_of(task.app, request, exc, einfo.traceback):
                errback.apply_async()
            task.on_failure(exc, task_id, args, kwargs, einfo)
            signals.task_failure.send(
                sender=task, task_id=task_id, exception=exc, args=args, kwargs=kwargs,
                traceback=exc.__traceback__, einfo=einfo,
            )
        else:
            ended = Ended(states.SUCCESS, value)
            for following, options in links.following(task.app, request):
                following.apply_async((value,), **options)
            task.on_success(value, task_id, args, kwargs)
            signals.task_success.send(sender=task, result=value, runtime=time.monotonic() - began)
        if ended.state not in (states.IGNORED, states.REJECTED, states.RETRY):
            task.after_return(ended.state, ended.value, task_id, args, kwargs, ended.einfo)
    finally:
        signals.task_postrun.send(sender=task, task_id=task_id, task=task, args=args, kwargs=kwargs,
                                  retval=ended.value, state=ended.state)
    return ended


def round_trip(app: Any, serializer: str, args: Any, kwargs: Any) -> tuple[Any, Any]:
    """Return arguments as a worker would get them, so that tests see what the wire does to them."""
    content_type, encoding, body = serializers.dumps((args, kwargs), serializer)
    args, kwargs = serializers.loads(body, content_type, encoding, accept=(content_type,))
    return args, kwargs


def run_coroutine(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in a thread of its own if this one's event loop is busy."""
    import asyncio  # noqa: PLC0415 - costs 15 ms, which only programs with coroutines should pay
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(copy_context().run, asyncio.run, coroutine).result()


def _request(task: Any, args: tuple[Any, ...], kwargs: dict[str, Any], options: Mapping[str, Any]) -> Request:
    parent = current.parent()
    task_id = options.get("task_id") or task.app.new_id()
    root_id = options.get("root_id") or (parent and (parent.root_id or parent.id)) or task_id
    ignored = options.get("ignore_result")
    return Request(
        id=task_id, task=task.name, args=args, kwargs=kwargs, retries=options.get("retries") or 0, is_eager=True,
        called_directly=False, hostname=socket.gethostname(), root_id=root_id,
        parent_id=options.get("parent_id") or (parent.id if parent else None), group=options.get("group_id"),
        group_index=options.get("group_index"), headers=options.get("headers"), shadow=options.get("shadow"),
        callbacks=_listed(options.get("link")), errbacks=_listed(options.get("link_error")),
        chain=options.get("chain"), chord=options.get("chord"), correlation_id=task_id,
        reply_to=options.get("reply_to"), ignore_result=task.ignore_result if ignored is None else ignored,
        timelimit=[options.get("time_limit", task.time_limit), options.get("soft_time_limit", task.soft_time_limit)],
        **_stamps_of(options),
        logfile=options.get("logfile"), loglevel=options.get("loglevel") or 0,
        delivery_info={"is_eager": True, "exchange": options.get("exchange"), "routing_key":
                       options.get("routing_key") or options.get("queue"), "priority": options.get("priority")},
    )


def _stamps_of(options: Mapping[str, Any]) -> dict[str, Any]:
    names = options.get("stamped_headers")
    if not names:
        return {}
    names = _listed(names) or []
    return {"stamped_headers": names, "stamps": {name: _listed(options.get(name)) or [] for name in names}}


def _listed(value: Any) -> list[Any] | None:
    return value if value is None or isinstance(value, list) else list(value) if isinstance(value, tuple) else [value]


