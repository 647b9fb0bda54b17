"""What follows when a task has ended: its callbacks, the rest of its chain, its errbacks."""

from __future__ import annotations

import inspect
from typing import Any

from fastq.canvas.signature import Signature, signature
from fastq.request import Request


def callbacks_of(app: Any, request: Request, value: Any) -> list[Signature[Any]]:
    """Return what is to be sent because the task of *request* returned *value*, ready to send."""
    following = [signature(link, app=app).clone((value,)) for link in request.callbacks or ()]
    if request.chain:
        # The rest of a chain travels in reverse: the next one is the last.
        *rest, head = request.chain
        following.append(signature(head, app=app).clone((value,)).set(chain=rest))
    return [_child(sig, request) for sig in following]


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
        if task is not None and _takes_exception(task, errback):
            errback(request, exc, traceback)
        else:
            to_send.append(_child(errback.clone((request.id,)), request))
    return to_send


def _child(sig: Signature[Any], request: Request) -> Signature[Any]:
    return sig.set(parent_id=request.id, root_id=request.root_id or request.id)


def _takes_exception(task: Any, errback: Signature[Any]) -> bool:
    parameters = inspect.signature(task.run).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    places = sum(parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
                 for parameter in parameters)
    return places - len(errback.args) > 1
