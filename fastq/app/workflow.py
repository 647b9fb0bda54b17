"""Workflows on their way: what a plan says is opened in the store, and sent in few large steps.

A client calls `send`; a worker calls `messages`, since what follows a task leaves together with its ack.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any, NamedTuple

from fastq import current, signals
from fastq._ext.envelope import TaskTemplate, dumps
from fastq.app import send as sending
from fastq.canvas.plan import Call, Open, Plan, Rest
from fastq.exceptions import ImproperlyConfigured, Unsupported
from fastq.types import Message, Opening
from fastq.wire import serializers

REST_S = 30 * 86_400.0
"""A step of a chain may take so long, with all its waiting, before the store drops what follows."""
_new_tuple = tuple.__new__


def send(app: Any, sig: Any, args: Any, kwargs: Any, options: Mapping[str, Any], *, add_to_parent: bool = True) -> Any:
    """Send what *sig* starts with, and return the result of what it ends with.

    Raises as `Task.apply_async` does, Unsupported for a chord whose results cannot be joined, and BackendError when the
    store cannot be told of what the messages point to; nothing is sent then.
    """
    plan = Plan(app, inline=_inline(app))
    result = sig.plan(plan, args, kwargs, {name: value for name, value in options.items() if value is not None})
    keep_rests(app, plan.rests)
    open_chords(app, plan.opens, renew=True)
    buffer = sending.batch.get()
    if len(plan.calls) == 1:
        _one(app, plan.calls[0])
    elif buffer is not None and buffer.app is app:
        _many(app, plan.calls, buffer)
    else:
        with app.batch() as buffer:
            _many(app, plan.calls, buffer)
    parent = current.parent() if add_to_parent else None
    if parent is not None and plan.trail is not None:
        sending.remember(app, parent, plan.trail)
    return result


def messages(app: Any, sig: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> tuple[list[Message], Any]:
    """Return the messages that *sig* starts with, and the result that its parent remembers as a child."""
    plan = Plan(app, inline=_inline(app))
    sig.plan(plan, args, kwargs, options)
    keep_rests(app, plan.rests)
    open_chords(app, plan.opens)
    return list(_encoded(app, plan.calls, message_of=sending.message_of)), plan.trail


def open_chords(app: Any, opens: list[Open], *, renew: bool = False) -> None:
    """Tell the store of the chords that are about to begin; with *renew* also of one that was done before."""
    if not opens:
        return
    for opened in opens:
        sending.check_kept(app, opened.group_id, len(opened.plan))
    conf, store = app.conf, app.backend
    kept = conf.result_expires if conf.result_chord_expires is None else conf.result_chord_expires
    kept_s = kept.total_seconds() if isinstance(kept, timedelta) else kept
    expires_at = time.time() + kept_s if kept_s else None
    documents = [None if opened.nested is None else _document(app, opened.nested) for opened in opens]
    told = [Opening(group_id, size, document, plan)
            for (group_id, size, _, plan), document in zip(opens, documents, strict=True)]
    store.chord_open_all(told, expires_at=expires_at, renew=renew)


def keep_rests(app: Any, rests: list[Rest]) -> None:
    """Have the store keep what the messages only point to."""
    for ref, blocks in rests:
        app.backend.rest_put(ref, blocks, rest_expires_at(app))


def rest_expires_at(app: Any) -> float | None:
    """Return until when the store keeps the rest of a chain that goes on now (Unix seconds); None is for ever."""
    return time.time() + REST_S if app.conf.result_expires else None


def _inline(app: Any) -> bool:
    """Whether messages carry the rest of their workflow, since one of Celery's workers may get them."""
    told: bool | None = app.conf.task_workflow_inline
    return not app.transport.caps.lean_headers if told is None else told


def ensure_chords(app: Any) -> None:
    """Raise Unsupported where the results of a chord's header could not be joined."""
    try:
        store = app.backend
    except ImproperlyConfigured as error:
        raise Unsupported(f"a chord joins the results of its header, and a group before a task is a chord: {error}"
                          ) from error
    if not store.joins:
        store.chord_open("", 0)


def _one(app: Any, call: Call) -> None:
    options = {**call.options, "task_id": call.task_id, "group_index": call.group_index, "add_to_parent": False}
    if call.type is not None:
        call.type.apply_async(call.args, call.kwargs, **options)
    else:
        sending.send(app, None, call.name, call.args, call.kwargs, options)


def _many(app: Any, calls: list[Call], batch: Any) -> None:
    add = batch.add
    for message in _encoded(app, calls, message_of=None):
        add(message)


def _encoded(app: Any, calls: list[Call], *, message_of: Callable[..., Message] | None) -> Iterator[Message]:
    """Yield the message of each call; without *message_of* those that take the long way are sent on the spot."""
    last_name: str | None = None
    last_options: dict[str, Any] | None = None
    express: _Express | None = None
    for name, task, args, kwargs, options, task_id, index in calls:
        if options is not last_options or name != last_name:
            last_name, last_options = name, options
            express = _express(app, name, task, options, len(calls)) if len(calls) > 1 else None
        if express is not None:
            if express.check is not None:
                express.check(*args, **kwargs)
            content = express.encode(task_id, args, kwargs, express.root_id, express.parent_id, index)
            if content is not None:
                if len(content) > express.largest:
                    sending.check_size(app, express.out, len(content))
                yield _new_tuple(Message, (express.queue, content, express.priority, express.run_at, express.exchange))
                continue
        call = Call(name, task, args, kwargs, options, task_id, index)
        if message_of is None:
            _one(app, call)
        else:
            yield message_of(app, task, name, args, kwargs, {**options, "task_id": task_id, "group_index": index})


class _Express(NamedTuple):
    """All that the calls of one task with the same options have in common, encoded once."""

    encode: Callable[..., bytes | None]
    check: Callable[..., None] | None
    queue: str
    priority: int
    run_at: float | None
    exchange: str
    root_id: str | None
    parent_id: str | None
    largest: int
    """Bytes that a message may have."""
    out: sending.Outgoing


def _express(app: Any, name: str, task: Any, options: dict[str, Any], times: int) -> _Express | None:
    if signals.before_task_publish.receivers or signals.after_task_publish.receivers or options.get("result_cls"):
        return None
    if task is not None and (task.has_own_sending or app.conf.task_always_eager):
        return None
    if app.router.static(options.get("route_name") or name) is None or app.conf.worker_send_task_events \
            or app.conf.task_send_sent_event:
        return None
    ended = current.ended.get()
    parent = ended or current.parent()
    if ended is not None and options.get("reply_to") is None:
        options = {**options, "reply_to": ended.reply_to or ""}
    out = sending.compose(app, task, name, (), {}, options)
    embed = dumps(out.embed)
    if out.serializer != "json" or out.compression or "expiration" in out.properties or embed is None:
        return None
    caps = app.transport.caps
    sending.check_size(app, out, len(out.encode(caps).content), times)
    lean = caps.lean_headers
    headers, properties = out.headers, out.properties
    if lean:
        headers, properties = out.lean_headers(), out.lean_properties(properties)
    template = TaskTemplate(
        name, content_type="application/json", content_encoding="utf-8", lean=lean, numbered=True, embed=embed,
        headers={header: value for header, value in headers.items()
                 if header not in ("id", "task", "root_id", "parent_id", "group_index")},
        properties={field: value for field, value in properties.items() if field != "correlation_id"},
    )
    if out.replies is not None:
        out.replies.expect()
    exchange, queue = out.address(caps)
    root_id, parent_id = options.get("root_id"), options.get("parent_id")
    if parent is not None:
        root_id, parent_id = root_id or parent.root_id or parent.id, parent_id or parent.id
    return _Express(template.encode, None if task is None else task.checker(), queue,
                    out.properties.get("priority") or 0, out.run_at, exchange, root_id, parent_id,
                    sending.largest(app, out), out)


def _document(app: Any, result: Any) -> bytes:
    """Return the document under which the store keeps a group's result."""
    return serializers.dumps({"result": result.as_tuple()}, app.conf.result_serializer)[2]
