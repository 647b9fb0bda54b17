"""`Task.delay` for the call that has nothing special: all that is constant was encoded before.

A task gets its express when it is first sent, and loses it whenever an option, a setting or the
broker changes (`Task.reset`). What makes a single call special is looked at per call.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

from fastq import current, points, signals
from fastq._ext.envelope import TaskTemplate, new_id
from fastq.app import bulk, send
from fastq.exceptions import OperationalError
from fastq.result import AsyncResult
from fastq.types import Message

# A NamedTuple's own constructor takes twice as long, which a million messages feel.
_new_tuple = tuple.__new__
TOGETHER = 1000
"""Calls that are handed to a batch at once."""


class Express(NamedTuple):
    """How a task is sent: one call, and many calls that are stored in few large steps."""

    send: Callable[[Any, dict[str, Any]], AsyncResult[Any]]
    send_each: Callable[[Iterable[Any]], Sequence[AsyncResult[Any]]]


def express_of(task: Any) -> Express:
    """Return how *task* is sent from now on."""
    app = task.app
    if task.has_own_sending or app.conf.task_always_eager or app.router.static(task.name) is None:
        return _slow(task)
    out = send.compose(app, task, task.name, (), {}, {})
    if out.serializer != "json" or out.compression or "expiration" in out.properties:
        return _slow(task)
    return _fast(task, out)


def _slow(task: Any) -> Express:
    def send_one(args: Any, kwargs: dict[str, Any]) -> AsyncResult[Any]:
        # Looked up at each call: a test may have put its own there, and taken it away again.
        result: AsyncResult[Any] = task.apply_async(args, kwargs)
        return result

    def send_each(calls: Iterable[Any]) -> Sequence[AsyncResult[Any]]:
        with task.app.batch():
            return [task.apply_async(args) for args in calls]

    return Express(send_one, send_each)


def _fast(task: Any, out: send.Outgoing) -> Express:
    app, name, check = task.app, task.name, task.checker()
    transport = app.transport
    encode = _template(name, out, lean=transport.caps.lean_headers).encode
    exchange, queue = out.address(transport.caps)
    priority, ignored = out.properties.get("priority") or 0, bool(out.headers["ignore_result"])
    expect = None if out.replies is None else out.replies.expect
    publish_one, batch = points.around(transport.publish_one), send.batch.get
    before, after = signals.before_task_publish, signals.after_task_publish
    cls, own = type(task), type(task).apply_async
    slow = _slow(task)

    def send_one(args: Any, kwargs: dict[str, Any]) -> AsyncResult[Any]:
        if before.receivers or after.receivers or cls.apply_async is not own:
            return slow.send(args, kwargs)
        if check is not None:
            check(*args, **kwargs)
        parent = current.parent()
        task_id = new_id()
        if parent is None:
            content = encode(task_id, args, kwargs)
        else:
            content = encode(task_id, args, kwargs, parent.root_id or parent.id, parent.id)
        if content is None:  # a value that only the slow encoder knows
            return slow.send(args, kwargs)
        buffer = batch()
        if buffer is not None and buffer.app is app:
            if expect is not None:
                send.insist(expect, send.retry_policy(app, {}))
            buffer.add(Message(queue, content, priority, None, exchange))
        else:
            try:
                if expect is not None:
                    expect()
                publish_one(queue, content, priority, None, exchange)
            except OperationalError as error:
                message = Message(queue, content, priority, None, exchange)
                send.store_again(app, message, send.retry_policy(app, {}), error, expect)
        result: AsyncResult[Any] = AsyncResult(task_id, None, name, app, None, ignored)
        if parent is not None:
            send.remember(app, parent, result)
        return result

    def result_of(task_id: str) -> AsyncResult[Any]:
        return AsyncResult(task_id, None, name, app, None, ignored)

    def send_each(calls: Iterable[Any]) -> Sequence[AsyncResult[Any]]:
        if before.receivers or after.receivers or cls.apply_async is not own or current.parent() is not None:
            return slow.send_each(calls)
        ids: list[str] = []
        keep = ids.append
        no_kwargs: dict[str, Any] = {}
        with app.batch() as buffer:
            if expect is not None:
                send.insist(expect, send.retry_policy(app, {}))
            source, count = iter(calls), -1
            while count < len(ids):
                count, messages = len(ids), list[Message]()
                for args in islice(source, TOGETHER):
                    if check is not None:
                        check(*args)
                    task_id = new_id()
                    content = encode(task_id, args, no_kwargs)
                    if content is None:
                        buffer.extend(messages)
                        messages = []
                        task_id = slow.send(args, {}).id
                    else:
                        messages.append(_new_tuple(Message, (queue, content, priority, None, exchange)))
                    keep(task_id)
                buffer.extend(messages)
        return bulk.Sent(ids, result_of)

    return Express(send_one, send_each)


def _template(name: str, out: send.Outgoing, *, lean: bool) -> TaskTemplate:
    headers, properties = out.headers, out.properties
    if lean:
        headers, properties = out.lean_headers(), out.lean_properties(properties)
    return TaskTemplate(
        name, content_type="application/json", content_encoding="utf-8", lean=lean,
        headers={header: value for header, value in headers.items()
                 if header not in ("id", "task", "root_id", "parent_id")},
        properties={field: value for field, value in properties.items() if field != "correlation_id"},
    )
