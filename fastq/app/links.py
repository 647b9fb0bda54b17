"""What follows when a task has ended: its callbacks, the rest of its chain, its errbacks."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Iterator
from typing import Any

from fastq import app as parts
from fastq import current
from fastq.canvas.signature import Signature, signature
from fastq.request import Request
from fastq.types import Message
from fastq.wire import rest

logger = logging.getLogger("celery.backends.base")


def following(app: Any, request: Request) -> Iterator[tuple[Signature[Any], dict[str, Any]]]:
    """Yield what is to be sent because the task of *request* returned, with options that say so."""
    for link in request.callbacks or ():
        yield signature(link, app=app), _lineage(request)
    if request.chain:
        # The rest of a chain travels in reverse: the next one is the last.
        *behind, head = request.chain
        yield signature(head, app=app), {**_lineage(request), "chain": behind}


def messages(app: Any, request: Request, value: Any) -> tuple[list[Message], list[Any]]:
    """Return the messages that follow because the task of *request* returned *value*, and the results to come."""
    found: list[Message] = []
    children: list[Any] = []
    token = current.ended.set(request)
    try:
        for sig, options in following(app, request):
            if sig["task"] == rest.TASK:
                sent, child = [_beyond(app, request, sig, value)], app.AsyncResult(sig.id)
            else:
                sent, child = parts.workflow.messages(app, sig, (value,), {}, options)
            found += sent
            if child is not None:
                children.append(child)
    finally:
        current.ended.reset(token)
    return found, children


def due(app: Any, body: dict[str, Any], values: list[Any], request: Request) -> list[Message]:
    """Return the messages that start the *body* of a chord with *values*, since *request* was its last member."""
    token = current.ended.set(request)
    try:
        return parts.workflow.messages(app, signature(body, app=app), (values,), {}, _lineage(request))[0]
    finally:
        current.ended.reset(token)


def going_on(app: Any, sig: Signature[Any], value: Any, behind: list[Any], request: Request) -> list[Message]:
    """Return the messages of *sig*, which follows *request* with *value* and has the steps *behind* it."""
    token = current.ended.set(request)
    try:
        return parts.workflow.messages(app, sig, (value,), {}, {**_lineage(request), "chain": behind})[0]
    finally:
        current.ended.reset(token)


def errbacks_of(
    app: Any, request: Request, exc: BaseException, traceback: str | None,
) -> list[Signature[Any]]:
    """Call the errbacks that take the exception itself; return the others, ready to send.

    Those that this process has, and that take more than one argument, are called in place with
    ``(request, exc, traceback)``; the others get the id of the task that failed. One that raises is logged, and keeps
    nobody from the others.
    """
    to_send: list[Signature[Any]] = []
    for link in request.errbacks or ():
        errback = signature(link, app=app)
        task = app.tasks.get(errback.task)
        if task is not None and errback.subtask_type is None and _takes_exception(task, errback):
            try:
                errback(request, exc, traceback)
            except Exception:
                logger.exception("The errback %s of task %s has failed", errback.task, request.id)
        else:
            to_send.append(errback.clone((request.id,)).set(**_lineage(request)))
    return to_send


def error_messages(
    app: Any, request: Request, exc: BaseException, traceback: str | None,
) -> list[Message]:
    """Call the errbacks that take the exception itself; return the messages of the others."""
    token = current.ended.set(request)
    try:
        return [message for sig in errbacks_of(app, request, exc, traceback)
                for message in parts.workflow.messages(app, sig, (), {}, {})[0]]
    finally:
        current.ended.reset(token)


def _beyond(app: Any, request: Request, sig: Signature[Any], value: Any) -> Message:
    """Return the message that goes on with what the store keeps, in the queue that this task came from."""
    delivery = request.delivery_info or {}
    return rest.message(sig, value, serializer=app.conf.task_serializer,
                        queue=delivery.get("routing_key") or app.conf.task_default_queue,
                        priority=delivery.get("priority") or 0, root_id=request.root_id or request.id,
                        parent_id=request.id, reply_to=request.reply_to)


def _lineage(request: Request) -> dict[str, Any]:
    return {"parent_id": request.id, "root_id": request.root_id or request.id}


def _takes_exception(task: Any, errback: Signature[Any]) -> bool:
    """Tell whether *errback* takes more than the id, besides what it holds already; Celery decides so too.

    A method, that is a task with ``bind=True`` or of a class of its own, does where it cannot do with less: Celery's
    workers give the id to all of these.
    """
    taken = inspect.signature(task.run)
    if not errback.immutable and (errback.args or errback.kwargs):
        try:
            taken = inspect.signature(functools.partial(task.run, *errback.args, **errback.kwargs))
        except ValueError:
            pass    # they do not fit, which the call will say
    parameters = taken.parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    return sum(parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
               and (parameter.default is parameter.empty or not inspect.ismethod(task.run))
               for parameter in parameters) > 1
