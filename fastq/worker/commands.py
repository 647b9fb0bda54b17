"""The commands of remote control, with Celery's names, arguments and answers.

A command gets the panel and the request's arguments. What it raises goes to whoever asked.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fastq import states
from fastq._ext import envelope
from fastq.control.mailbox import KEPT_S, Revoked
from fastq.exceptions import BackendError, ConfigError, FastqError, TaskRevokedError, WireError
from fastq.pool.children import Children
from fastq.types import Result
from fastq.wire import serializers
from fastq.worker import command_other, command_queues  # noqa: F401  they enter their commands
from fastq.worker.command_table import COMMANDS, NO_ANSWER, command
from fastq.worker.panel import Panel
from fastq.worker.revocation import stamps_of
from fastq.worker.shutdown import Stop

__all__ = ("COMMANDS", "NO_ANSWER")

logger = logging.getLogger("celery.worker.control")

_OPEN = frozenset((states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED))
_DEADLY = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR2, signal.SIGKILL))
"""A child leaves these to its supervisor. Of whatever name they are, they end the run, and if need be its child."""


# -- to revoke -------------------------------------------------------------------------------------


@command()
def revoke(panel: Panel, task_id: str | Iterable[str], terminate: bool = False, signal: str | None = None,
           kept: bool = False, **_: Any) -> object:
    """Let the tasks of these ids not start; with *terminate* end those that run."""
    ids = {task_id} if isinstance(task_id, str) else set(task_id)
    held = _held(panel)
    _remember(panel, [Revoked(each, "", time.time() + KEPT_S) for each in ids], kept,
              is_waiting=any(child < 0 and request["id"] in ids for child, _, request in held))
    _store_revoked(panel, ids - {request["id"] for child, _, request in held if child >= 0})
    if terminate:
        return _terminate(panel, lambda request: request["id"] in ids, signal)
    return {"ok": f"tasks {ids} flagged as revoked"}


@command()
def terminate(panel: Panel, signal: str, task_id: str | Iterable[str], **_: Any) -> object:
    """End tasks that run."""
    return revoke(panel, task_id, terminate=True, signal=signal)


@command()
def revoke_by_stamped_headers(panel: Panel, headers: Mapping[str, Any], terminate: bool = False,
                              signal: str | None = None, kept: bool = False, **_: Any) -> object:
    """Let all tasks that are stamped with one of *headers* not start; with *terminate* end those that run."""
    wanted = {(name, str(value)) for name, values in headers.items()
              for value in (values if isinstance(values, (list, tuple, set)) else [values])}
    waiting = (request for child, _, request in _held(panel) if child < 0)
    _remember(panel, [Revoked(value, name, time.time() + KEPT_S) for name, value in wanted], kept,
              is_waiting=any(wanted & stamps_of(request["headers"]) for request in waiting))
    if terminate:
        return _terminate(panel, lambda request: bool(wanted & stamps_of(request["headers"])), signal)
    return {"ok": f"headers {dict(headers)} flagged as revoked, but not terminated"}


def _remember(panel: Panel, revoked: list[Revoked], kept: bool, *, is_waiting: bool) -> None:
    panel.revocations.add(revoked)
    if not kept:
        panel.keep(revoked)
    if is_waiting:
        # It was let through already: what waits goes back, comes again, and is decided about.
        panel.take_back()


def _store_revoked(panel: Panel, ids: set[str]) -> None:
    """Store REVOKED for what nobody has begun, so that nobody waits for it in vain: as Celery, also for unknown ids."""
    app = panel.app
    if not app.result_url or app.replies is not None:
        return
    try:
        known = app.backend.get(sorted(ids))
        open_ids = [each for each in sorted(ids)
                    if each not in known or app.result_codec.decode(known[each])["status"] in _OPEN]
        expiry = panel.options.result_expiry.at(states.REVOKED)
        app.backend.put([
            Result(each, states.REVOKED, app.result_codec.encode(each, states.REVOKED, TaskRevokedError("revoked")),
                   expiry, None) for each in open_ids])
    except BackendError as error:
        logger.error("revoked tasks are not marked so in the result store: %s", error)


def _terminate(panel: Panel, is_meant: Callable[[dict[str, Any]], bool], name: str | None) -> dict[str, str]:
    wanted = name or "SIGTERM"
    try:
        number = signal.Signals[wanted if wanted.startswith("SIG") else f"SIG{wanted}"]
    except KeyError:
        raise ConfigError(f"there is no signal {name!r}; write for example SIGTERM or SIGKILL") from None
    if panel.children is None:
        return {"error": f"revoked, but not terminated: a worker of the pool {panel.options.kind.name!r} cannot end its"
                         " own task"}
    ended = []
    for child, tag, request in _held(panel):
        if child >= 0 and is_meant(request) and _interrupt(panel, panel.children, child, tag, number):
            logger.warning("Terminating %s[%s] (%s)", request["name"], request["id"], number.name)
            ended.append(request["id"])
    return {"ok": f"terminate: {', '.join(ended)}" if ended else "terminate: tasks unknown"}


def _interrupt(panel: Panel, children: Children, child: int, tag: int, number: signal.Signals) -> bool:
    """Do to a run what the signal is sent for; returns whether it was there."""
    if number is signal.SIGUSR1:
        return panel.ring.tell(child, tag) and children.signal(child, signal.SIGUSR1)
    if number not in _DEADLY:
        return children.signal(child, number)
    if number is signal.SIGKILL or not panel.options.kind.is_together:
        panel.settler.condemn(child, tag, number.name)
        return children.signal(child, signal.SIGKILL)
    # Others run beside it in the child, which is killed only if it does not end by itself.
    return panel.ring.tell(child, tag, number) and children.signal(child, signal.SIGUSR1)


# -- limits and life -------------------------------------------------------------------------------


@command()
def rate_limit(panel: Panel, task_name: str, rate_limit: str | float | None, **_: Any) -> object:
    """Change the rate limit of a task in this worker."""
    if panel.row_of(task_name) is None:
        return {"error": "unknown task"}
    try:
        panel.rates.set(task_name, rate_limit)
    except ConfigError as error:
        return {"error": str(error)}
    panel.take_back()
    logger.info("New rate limit for tasks of type %s: %s", task_name, rate_limit or "none")
    return {"ok": "new rate limit set successfully" if rate_limit else "rate limit disabled successfully"}


@command()
def time_limit(panel: Panel, task_name: str, hard: float | None = None, soft: float | None = None, **_: Any) -> object:
    """Change the time limits of a task, for runs that begin from now on."""
    row = panel.row_of(task_name)
    if row is None:
        return {"error": "unknown task"}
    panel.ring.set_limits(row, hard, soft)
    logger.info("New time limits for tasks of type %s: soft=%s hard=%s", task_name, soft, hard)
    return {"ok": "time limits set successfully"}


@command()
def shutdown(panel: Panel, msg: str = "Got shutdown from remote", **_: Any) -> object:
    """Stop the worker when its tasks have ended."""
    logger.warning("%s", msg)
    panel.wish.ask(Stop.WARM)
    return NO_ANSWER


@command()
def pool_grow(panel: Panel, n: int = 1, **_: Any) -> object:
    """Have more children."""
    return _resized(panel, n, "grow")


@command()
def pool_shrink(panel: Panel, n: int = 1, **_: Any) -> object:
    """Have fewer children."""
    return _resized(panel, -n, "shrink")


def _resized(panel: Panel, more: int, what: str) -> object:
    if panel.staff is None:
        return {"error": f"the pool {panel.options.kind.name!r} has no children"}
    if panel.options.autoscale:
        return {"error": f"pool {what} not supported with autoscale"}
    try:
        panel.staff.resize(panel.staff.size + more)
    except ConfigError as error:
        return {"error": str(error)}
    return {"ok": f"pool will {what}"}


@command()
def pool_restart(panel: Panel, modules: Iterable[str] | None = None, reload: bool = False, **_: Any) -> object:
    """Have new children in place of all, each when what it runs has ended. No *modules* are loaded: HUP does that."""
    if not panel.app.conf.worker_pool_restarts:
        return {"error": "Pool restarts not enabled: the setting is worker_pool_restarts"}
    if panel.staff is None:
        return {"error": f"the pool {panel.options.kind.name!r} has no children"}
    if modules or reload:
        return {"error": "a worker that runs loads no modules: send it SIGHUP, and it begins anew with all its code"}
    panel.staff.renew()
    return {"ok": "reload started"}


@command()
def autoscale(panel: Panel, max: int | None = None, min: int | None = None, **_: Any) -> object:
    """Change the bounds of the number of children."""
    if panel.staff is None or not panel.options.autoscale:
        return {"error": "Autoscale not enabled"}
    try:
        most, least = panel.staff.rescale(max, min)
    except ConfigError as error:
        return {"error": str(error)}
    return {"ok": f"autoscale now max={most} min={least}"}


# -- to look ---------------------------------------------------------------------------------------


@command()
def ping(panel: Panel, **_: Any) -> object:
    """Say that this worker is there."""
    return {"ok": "pong"}


@command()
def clock(panel: Panel, **_: Any) -> object:
    """The logical clock, which this worker does not keep."""
    return {"clock": 0}


@command("dump_active")
def active(panel: Panel, safe: bool | None = None, **_: Any) -> object:
    """What runs."""
    return [_shown(panel, child, request, bool(safe)) for child, _, request in _held(panel) if child >= 0]


@command("dump_reserved")
def reserved(panel: Panel, **_: Any) -> object:
    """What waits in this worker for a child."""
    return [_shown(panel, child, request, False) for child, _, request in _held(panel) if child < 0]


@command("dump_schedule")
def scheduled(panel: Panel, **_: Any) -> object:
    """Nothing: future tasks wait in the broker."""
    return []


@command("dump_revoked")
def revoked(panel: Panel, **_: Any) -> object:
    """The ids that are revoked."""
    return panel.revocations.ids


@command("dump_tasks")
def registered(panel: Panel, taskinfoitems: Iterable[str] | None = None, builtins: bool = False, **_: Any) -> object:
    """The names of this worker's tasks, with those of their attributes that are set."""
    items = tuple(taskinfoitems or ("exchange", "routing_key", "rate_limit"))
    found = []
    for task in panel.tasks:
        if builtins or not task.name.startswith(("celery.", "fastq.")):
            told = [f"{item}={getattr(task, item)}" for item in items if getattr(task, item, None)]
            found.append(f"{task.name} [{' '.join(told)}]" if told else task.name)
    return sorted(found)


@command()
def query_task(panel: Panel, ids: str | Iterable[str], **_: Any) -> object:
    """What this worker knows of tasks: {id: [state, info]}."""
    wanted = {ids} if isinstance(ids, str) else set(ids)
    return {request["id"]: ["active" if child >= 0 else "reserved", _shown(panel, child, request, False)]
            for child, _, request in _held(panel) if request["id"] in wanted}


@command()
def stats(panel: Panel, **_: Any) -> object:
    """Figures about this worker."""
    children = panel.children
    pids = [children.pid_of(index) for index in range(panel.options.most_children)
            if children.pid_of(index)] if children else [os.getpid()]
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "total": dict(Counter({"all": panel.settler.finished})), "pid": os.getpid(), "clock": "0",
        "uptime": int(time.time() - panel.started_at), "prefetch_count": panel.ring.in_hand,
        "pool": {"implementation": panel.options.kind.name,
                 "max-concurrency": panel.options.concurrency * (panel.staff.size if panel.staff else 1),
                 "processes": pids, "max-tasks-per-child": panel.options.max_tasks_per_child or "N/A",
                 "timeouts": [panel.options.soft_time_limit or 0, panel.options.time_limit or 0]},
        "broker": {"transport": panel.app.broker_url.partition("://")[0]},
        "rusage": {"utime": usage.ru_utime, "stime": usage.ru_stime, "maxrss": usage.ru_maxrss},
    }


@command("dump_conf")
def conf(panel: Panel, with_defaults: bool = False, **_: Any) -> object:
    """The settings, without passwords."""
    return {name: value if isinstance(value, (str, int, float, bool, type(None))) else repr(value)
            for name, value in panel.app.conf.table(with_defaults=with_defaults, censored=True).items()}


@command()
def report(panel: Panel, **_: Any) -> object:
    """What a bug report should say of this worker."""
    return {"ok": panel.app.bugreport()}


@command()
def hello(panel: Panel, from_node: str, revoked: Iterable[str] | None = None, **_: Any) -> object:
    """Exchange what is revoked with a worker that starts: Celery's keep it in memory, and ask those that run."""
    if from_node == panel.node:
        return NO_ANSWER
    told = [Revoked(str(task_id), "", time.time() + KEPT_S) for task_id in revoked or ()]
    if told:
        _remember(panel, told, kept=False, is_waiting=True)
    return {"revoked": panel.revocations.ids, "clock": 0}


# -- what they share -------------------------------------------------------------------------------


def _held(panel: Panel) -> list[tuple[int, int, dict[str, Any]]]:
    """(child, tag, request) of all that waits (child -1) or runs."""
    found = []
    for child, _, tag, seconds, queue, content in panel.ring.holding():
        try:
            properties, headers, body = envelope.unpack(content)
        except WireError:
            continue    # its slot was taken while it was read
        found.append((child, tag, {"id": headers.get("id"), "name": headers.get("task"), "headers": headers,
                                   "properties": properties, "body": body, "queue": queue,
                                   "time_start": time.time() - seconds if child >= 0 else None}))
    return found


def _shown(panel: Panel, child: int, request: dict[str, Any], safe: bool) -> dict[str, Any]:
    properties, headers = request["properties"], request["headers"]
    args: Any = headers.get("argsrepr") or "()"
    kwargs: Any = headers.get("kwargsrepr") or "{}"
    if not safe or "argsrepr" not in headers:
        args, kwargs = _arguments(request, args, kwargs, safe)
    return {
        "id": request["id"], "name": request["name"], "type": request["name"], "args": args, "kwargs": kwargs,
        "hostname": panel.node, "time_start": request["time_start"], "acknowledged": False,
        "delivery_info": {"exchange": "", "routing_key": request["queue"], "priority": properties.get("priority") or 0,
                          "redelivered": False},
        "worker_pid": panel.children.pid_of(child) if panel.children and child >= 0 else None,
    }


def _arguments(request: dict[str, Any], args: Any, kwargs: Any, safe: bool) -> tuple[Any, Any]:
    # Only what can be read without running anybody's code.
    try:
        decoded = serializers.loads(request["body"], request["properties"].get("content_type"),
                                    request["properties"].get("content_encoding"), {"application/json"})
        args, kwargs = decoded[0], decoded[1]
    except (FastqError, LookupError, TypeError):
        return args, kwargs
    return (repr(tuple(args)), repr(kwargs)) if safe else (args, kwargs)
