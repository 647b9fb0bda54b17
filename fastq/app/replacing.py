"""A task that goes on as something else (`Task.replace`), and one that adds members to its own chord."""

from __future__ import annotations

from typing import Any

from fastq import current
from fastq.canvas import joining
from fastq.canvas.groups import size_of
from fastq.canvas.signature import copied, listed, signature
from fastq.exceptions import Ignore, ImproperlyConfigured, Replaced
from fastq.request import Request


def replace(task: Any, sig: Any) -> Any:
    """Have *sig* take the place of the run of *task*; see `Task.replace`."""
    request: Request = task.request
    if sig["options"].get("chord") is not None:
        raise ImproperlyConfigured(f"{sig!r} belongs to a chord already, so it cannot take the place of {task.name}")
    if joining.is_empty(sig) and joining.kind(sig) == "chain":
        raise ImproperlyConfigured(f"an empty chain cannot take the place of {task.name}: it has no result")
    sig = _with_one_end(task, signature(sig, app=task.app))
    for callback in listed(request.callbacks):
        sig.link(signature(callback, app=task.app))
    for errback in listed(request.errbacks):
        sig.link_error(signature(errback, app=task.app))
    token = current.ended.set(request)
    try:
        sig.freeze(request.id)
    finally:
        current.ended.reset(token)
    nesting = (request.replaced_task_nesting or 0) + 1
    kept = {"chord": request.chord, "group_id": request.group, "group_index": request.group_index,
            "root_id": request.root_id, "chain": renested(request.chain or None, nesting)}
    sig.set(replaced_task_nesting=nesting, **{name: value for name, value in kept.items() if value is not None})
    if joining.kind(sig) == "chain":
        for step in sig.tasks:
            step.set(replaced_task_nesting=nesting)
    return task.on_replace(sig)


def on_replace(task: Any, sig: Any) -> Any:
    """Run *sig* in place when *task* runs in place; else end the task, and leave the sending to who runs it."""
    if task.request.is_eager:
        return sig.apply().get()
    if task.request.called_directly:
        sig.apply_async()
        raise Ignore("replaced by another task")
    raise Replaced(sig)


def add_to_chord(task: Any, sig: Any, *, lazy: bool) -> Any:
    """Make *sig* one more member of the chord of *task*; see `Task.add_to_chord`."""
    request: Request = task.request
    if not request.chord:
        raise ValueError(f"{task.name}[{request.id}] is not a member of a chord, so nothing can be added to it")
    sig.set(group_id=request.group, group_index=request.group_index, chord=request.chord, root_id=request.root_id)
    sig.freeze()
    task.backend.chord_add(request.group, size_of(sig))
    return sig if lazy else sig.apply_async()


def _with_one_end(task: Any, sig: Any) -> Any:
    """Return *sig*, a copy, so that it ends in one task: what a group returns is gathered in a list."""
    gather = task.app.tasks["celery.accumulate"].s(index=0)
    if joining.kind(sig) == "group":
        return sig | gather
    if joining.kind(sig) == "chain":
        steps = joining.folded([sig])
        ends = joining.folded([*steps, gather]) if joining.kind(steps[-1]) == "group" else steps
        made = type(sig).of([step.clone() for step in ends], sig._app, copied(sig.options))
        made.options.pop("link", None), made.options.pop("link_error", None)
        return made
    return sig


def renested(chain: Any, nesting: int | None) -> Any:
    """Return the rest of a chain, marked as following a task that was replaced *nesting* times."""
    return [{**step, "options": {**(step.get("options") or {}), "replaced_task_nesting": nesting}}
            for step in chain] if chain and nesting else chain
