"""Who is told how a run ended: the hooks of its task, the receivers of signals, the log. `outcome.FATES` says of what.

The outcome stands whatever a hook does; its error is logged. Nothing here decides or stores anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NamedTuple

from fastq import signals
from fastq._ext.envelope import unpack
from fastq.app.traits import HOOKS
from fastq.einfo import ExceptionInfo
from fastq.exceptions import Reject, Retry, WireError
from fastq.request import Request
from fastq.saferepr import saferepr
from fastq.types import HELD, UNCOUNTED, Rows
from fastq.worker.outcome import FATES, Outcome

logger = logging.getLogger("celery.app.trace")
receipts = logging.getLogger("celery.worker.strategy")

FORMATS = {
    Outcome.RETURNED: "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s",
    Outcome.RETRIED: "Task %(name)s[%(id)s] retry: %(exc)s",
    Outcome.IGNORED: "Task %(name)s[%(id)s] %(description)s",
    Outcome.EXPIRED: "Task %(name)s[%(id)s] has %(description)s",
}
"""Celery's words, for whoever reads logs by pattern; the others have ``description: exc``."""
OTHERS = "Task %(name)s[%(id)s] %(description)s: %(exc)s"


class End(NamedTuple):
    """One run that has ended, as everybody is told it."""

    task: Any
    request: Request
    outcome: Outcome
    value: Any
    """What was returned or raised."""
    einfo: ExceptionInfo | None = None
    seconds: float = 0.0
    signum: int | None = None
    """The signal with which it was terminated."""

    @property
    def state(self) -> str:
        """The state of the task."""
        return FATES[self.outcome].state


Told = Callable[[End], tuple[Any, ...]]
Named = Callable[[End], dict[str, Any]]

_HOOKS: dict[str, Told] = {
    "on_success": lambda end: (end.value, *_call(end.request)),
    "on_retry": lambda end: (end.value.exc, *_call(end.request), end.einfo),
    "on_failure": lambda end: (end.value, *_call(end.request), end.einfo),
    "after_return": lambda end: (end.state, end.value, *_call(end.request), end.einfo),
}
_SIGNALS: dict[str, tuple[signals.Signal, Named]] = {
    "task_success": (signals.task_success, lambda end: {"result": end.value, "runtime": end.seconds}),
    "task_retry": (signals.task_retry, lambda end: {
        "request": end.request, "reason": end.value, "einfo": end.einfo}),
    "task_failure": (signals.task_failure, lambda end: {
        "task_id": end.request.id, "exception": end.value, "args": end.request.args, "kwargs": end.request.kwargs,
        "traceback": end.value.__traceback__, "einfo": end.einfo}),
    "task_internal_error": (signals.task_internal_error, lambda end: {
        "task_id": end.request.id, "args": end.request.args, "kwargs": end.request.kwargs, "request": end.request,
        "exception": end.value, "traceback": end.value.__traceback__, "einfo": end.einfo}),
    "task_postrun": (signals.task_postrun, lambda end: {
        "task_id": end.request.id, "task": end.task, "args": end.request.args, "kwargs": end.request.kwargs,
        "retval": end.value, "state": end.state}),
    "task_revoked": (signals.task_revoked, lambda end: {
        "request": end.request, "terminated": end.signum is not None, "signum": end.signum,
        "expired": end.outcome is Outcome.EXPIRED}),
}


def logs_tasks(app: Any, name: str) -> bool:
    """Whether the logger *name* is to have a line for each task that comes, or succeeds.

    Celery writes them at INFO, and so does its preset. `Fastq` does at DEBUG: a line costs more than most tasks.
    """
    return logging.getLogger(name).isEnabledFor(logging.INFO if app.preset == "Celery" else logging.DEBUG)


def tell(end: End, *, is_over: bool = False, is_back: bool = False) -> None:
    """Call hooks and send signals.

    With *is_over* the run ended without its child, and its prerun has no postrun. With *is_back* there is only that:
    the run has ended, and its task has not.
    """
    for name in FATES[end.outcome].tells if not is_back else ("task_postrun",):
        if name in _HOOKS:
            _call_hook(end, name)
        elif name in _SIGNALS and not (is_over and name == "task_postrun"):
            signal, named = _SIGNALS[name]
            if signal.receivers:
                signal.send(sender=end.task, **named(end))


def log(end: End) -> None:
    """Write the line of a run that has ended, with Celery's fields in ``data``, and a traceback nobody expected."""
    fate = FATES[end.outcome]
    level = fate.level
    if not logger.isEnabledFor(level):
        return
    request = end.request
    data: dict[str, Any] = {
        "id": request.id, "name": request.shadow or end.task.name, "hostname": request.hostname,
        "description": fate.says, "args": request.argsrepr or saferepr(request.args),
        "kwargs": request.kwargsrepr or saferepr(request.kwargs),
    }
    if end.outcome is Outcome.RETURNED:
        data.update(return_value=saferepr(end.value, end.task.resultrepr_maxsize), runtime=end.seconds)
    else:
        data.update(exc=_shown(end.value), traceback=end.einfo.traceback if end.einfo else None)
    words = FORMATS.get(end.outcome, OTHERS)
    if end.einfo is None or level < logging.ERROR:
        logger.log(level, words, data, extra={"data": data})
        return
    record = logger.makeRecord(logger.name, level, __file__, 0, words, (data,), end.einfo.exc_info, "log",
                               {"data": data})
    # It is text already, and to format it once more would cost as much as all the rest of a failure.
    record.exc_text = end.einfo.traceback.rstrip("\n")
    logger.handle(record)


def _shown(error: Any) -> str:
    if isinstance(error, Retry):
        return str(error)
    return saferepr(error.reason if isinstance(error, Reject) else error)


class Received:
    """A message as receivers of ``task_rejected`` and ``task_unknown`` get it; its body stays closed."""

    def __init__(self, properties: dict[str, Any], headers: dict[str, Any], body: bytes, queue: str) -> None:
        self.properties, self.headers, self.body = properties, headers, body
        self.content_type: str | None = properties.get("content_type")
        self.content_encoding: str | None = properties.get("content_encoding")
        self.delivery_info: dict[str, Any] = {
            "exchange": "", "routing_key": queue, "priority": properties.get("priority")}

    def __repr__(self) -> str:
        return f"<Received {self.headers.get('task')}[{self.headers.get('id')}], {len(self.body)} bytes>"


def tell_refused(sender: Any, outcome: Outcome, message: Received, error: BaseException | None) -> None:
    """Send the signal of a message that is no run of a task."""
    if outcome is Outcome.UNKNOWN:
        if signals.task_unknown.receivers:
            signals.task_unknown.send(sender=sender, message=message, exc=error, name=message.headers.get("task"),
                                      id=message.headers.get("id"))
    elif signals.task_rejected.receivers:
        signals.task_rejected.send(sender=sender, message=message, exc=error)


def tell_received(sender: Any, queue: str, rows: Rows, hostname: str, *, logs: bool) -> None:
    """Send ``task_received`` for each task message of a batch, and with *logs* log it; their bodies stay closed."""
    for _, deaths, content in rows:
        if deaths & HELD:
            continue    # it was received before
        try:
            properties, headers, _ = unpack(content)
        except WireError:
            continue    # it is refused, and said so, when it is staged
        name = headers.get("task")
        if name is not None:
            request = Request.from_message(headers, properties, None, None, queue=queue, hostname=hostname,
                                           deaths=deaths & ~UNCOUNTED)
            request.update(name=name, task_name=name, task_id=request.id)
            if logs:
                data = {"id": request.id, "name": request.shadow or name, "args": request.argsrepr,
                        "kwargs": request.kwargsrepr, "eta": request.eta}
                receipts.info("Task %(name)s[%(id)s] received", data, extra={"data": data})
            if signals.task_received.receivers:
                signals.task_received.send(sender=sender, request=request)


def _call(request: Request) -> tuple[Any, Any, Any]:
    return request.id, request.args, request.kwargs


def _call_hook(end: End, name: str) -> None:
    assert name in HOOKS
    if name not in end.task.traits.hooks:
        return
    try:
        getattr(end.task, name)(*_HOOKS[name](end))
    except BaseException:
        logger.exception("Task %s[%s] %s handler raised", end.task.name, end.request.id, name)
