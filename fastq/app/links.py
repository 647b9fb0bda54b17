"""What follows when a task has ended: its callbacks, the rest of its chain, its errbacks."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from fastq import app as parts
from fastq import current
from fastq.canvas.signature import Signature, signature
from fastq.request import Request
from fastq.types import Message


def following(app: Any, request: Request) -> Iterator[tuple[Signature[Any], dict[str, Any]]]:
    """Yield what is to be sent because the task of *request* returned, with options that say so."""
    for link in request.callbacks or ():
        yield signature(link, app=app), _lineage(request)
    if request.chain:
        # The rest of a chain travels in reverse: the next one is the last.
        *rest, head = request.chain
        yield signature(head, app=app), {**_lineage(request), "chain": rest}


def messages(app: Any, request: Request, value: Any) -> tuple[list[Message], list[Any]]:
    """Return the messages that follow because the task of *request* returned *value*, and the results to come."""
    found: list[Message] = []
    children: list[Any] = []
    token = current.ended.set(request)
    try:
        for sig, options in following(app, request):
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


def errbacks_of(
    app: Any, request: Request, exc: BaseException, traceback: str | None,
) -> list[Signature[Any]]:
    """Call the errbacks that take the exception itself; return the others, ready to send.

    Those that this process has, and that take more than one argument, are called in place with
    ``(request, exc, traceback)``; the others get the id of the task that failed.
    """
    to_send: list[Signature[Any]] = []
    for link in request.errbacks or ():
        errback = signature(link, app=app)
        task = app.tasks.get(errback.task)
        if task is not None and errback.subtask_type is None and _takes_exception(task, errback):
            errback(request, exc, traceback)
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


def _lineage(request: Request) -> dict[str, Any]:
    return {"parent_id": request.id, "root_id": request.root_id or request.id}


def _takes_exception(task: Any, errback: Signature[Any]) -> bool:
    parameters = inspect.signature(task.run).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    places = sum(parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
                 for parameter in parameters)
    return places - len(errback.args) > 1
