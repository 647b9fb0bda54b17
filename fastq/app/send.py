"""The send path: from a call and its options to a stored message, in the order of this file.

1. `send` is the whole of it: compose, announce, encode, store, remember.
2. `compose` turns options into the queue, headers and properties of the wire.
3. `store` hands the message to the transport, again and again as the retry policy says.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from fastq import current, points, signals
from fastq._ext.envelope import dumps, new_id, pack
from fastq.app import moments
from fastq.backends.base import Replies
from fastq.canvas import plain
from fastq.exceptions import BrokerFull, EncodeError, OperationalError
from fastq.ids import origin
from fastq.request import Request
from fastq.result import AsyncResult
from fastq.saferepr import saferepr
from fastq.transport.base import Caps
from fastq.types import Message
from fastq.wire import compression, serializers

logger = logging.getLogger("celery.app.send")

batch: ContextVar[Any] = ContextVar("fastq_batch", default=None)
"""The `fastq.app.bulk.Batch` that messages go to in this context, if any."""

Expect = Callable[[], object]
"""See to it that the result can come back; `fastq.backends.base.Replies.expect`."""

_DEFAULTS: dict[str, Any] = {"lang": "py", "retries": 0, "stamps": {}, "replaced_task_nesting": 0}
_DELIVERY_MODES = {"transient": 1, "persistent": 2}
_MANY = 256
"""So many messages of the largest size may leave at once."""
_KEPT_PROPERTIES = ("message_id", "type", "app_id", "timestamp", "user_id", "cluster_id")


@dataclass(slots=True)
class Outgoing:
    """A message before it is encoded; receivers of before_task_publish may change its parts in place."""

    name: str
    task_id: str
    queue: str
    exchange: str
    routing_key: str
    args: Any
    kwargs: Any
    embed: dict[str, Any]
    headers: dict[str, Any]
    properties: dict[str, Any]
    serializer: str
    compression: str | None
    run_at: float | None
    implied: dict[str, Any]
    """How absent headers read at the worker; a lean message leaves out those that say the same."""
    parent: Request | None
    replies: Replies | None = None
    """Where the result will come back to this process, if it will and is wanted."""

    def lean_headers(self) -> dict[str, Any]:
        """Return the headers without those that say what their absence says."""
        return {name: value for name, value in self.headers.items()
                if value is not None and self.implied.get(name, self) != value}

    def lean_properties(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Return *properties* without those that say what their absence says."""
        absent = {"correlation_id": self.task_id, "priority": 0, "delivery_mode": 2}
        return {name: value for name, value in properties.items() if absent.get(name, self) != value}

    def address(self, caps: Caps) -> tuple[str, str]:
        """Return ``(exchange, queue)``, as `Message` has them, for a transport that can do *caps*.

        Celery sends to a queue of a direct exchange by the exchange "" too, which every broker has.
        """
        return (self.exchange, self.routing_key) if caps.routes and self.exchange else ("", self.queue)

    def encode(self, caps: Caps) -> Message:
        """Return the packed message, for a transport that can do *caps*. Raises EncodeError."""
        parts = [self.args, self.kwargs, self.embed]
        body = dumps(parts) if self.serializer == "json" else None
        if body is not None:
            content_type, content_encoding = "application/json", "utf-8"
        else:
            content_type, content_encoding, body = serializers.dumps(parts, self.serializer)
        headers = self.headers
        if self.compression:
            body, headers["compression"] = compression.compress(body, self.compression)
        properties = {"content_type": content_type, "content_encoding": content_encoding, **self.properties}
        if caps.lean_headers:
            headers, properties = self.lean_headers(), self.lean_properties(properties)
        exchange, queue = self.address(caps)
        return Message(queue, pack(properties, headers, body), properties.get("priority") or 0, self.run_at, exchange)


def send(
    app: Any, task: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any],
) -> AsyncResult[Any]:
    """Send one message and return the handle on its result.

    *task* is None where this process does not have it. Raises TypeError and ValueError for what
    was asked, EncodeError for what was passed, OperationalError when it could not be stored.
    """
    out = compose(app, task, name, args, kwargs, options)
    policy = retry_policy(app, options)
    _tell_before(name, out, policy)
    message = out.encode(app.transport.caps)
    check_size(app, out, len(message.content))
    store(app, message, policy, None if out.replies is None else out.replies.expect)
    _tell_after(name, out)
    own = task.AsyncResult if task is not None and task.has_own("AsyncResult") else app.AsyncResult
    result: AsyncResult[Any] = (options.get("result_cls") or own)(out.task_id)
    result.ignored = bool(out.headers["ignore_result"])
    if out.parent is not None and options.get("add_to_parent", True):
        remember(app, out.parent, result)
    return result


def _tell_before(name: str, out: Outgoing, policy: Mapping[str, Any] | None) -> None:
    if signals.before_task_publish.receivers:
        signals.before_task_publish.send(
            sender=name, body=(out.args, out.kwargs, out.embed), exchange=out.exchange, routing_key=out.routing_key,
            headers=out.headers, properties=out.properties, declare=[], retry_policy=policy,
        )


def _tell_after(name: str, out: Outgoing) -> None:
    if signals.after_task_publish.receivers:
        signals.after_task_publish.send(
            sender=name, body=(out.args, out.kwargs, out.embed), exchange=out.exchange, routing_key=out.routing_key,
            headers=out.headers,
        )


def remember(app: Any, parent: Request, result: AsyncResult[Any]) -> None:
    """Note *result* among the children of *parent*, unless its task says ``trail=False``."""
    task = app._tasks.get(parent.task)
    if task is None or task.trail:
        parent.children.append(result)


def message_of(app: Any, task: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Message:
    """Return the message that `send` would store, for a worker that stores it together with an ack.

    What follows a task is awaited, if at all, by whoever awaits the task: a child that runs it is not asked. Receivers
    of ``before_task_publish`` and ``after_task_publish`` are told here, though it leaves a moment later.
    """
    parent = current.ended.get() or current.parent()
    if parent is not None and options.get("reply_to") is None:
        options = {**options, "reply_to": parent.reply_to or ""}
    out = compose(app, task, name, args, kwargs, options)
    _tell_before(name, out, {})
    message = out.encode(app.transport.caps)
    check_size(app, out, len(message.content))
    _tell_after(name, out)
    return message


def largest(app: Any, out: Outgoing) -> int:
    """Return of how many bytes a message may be: without limit, unless it carries more of a workflow."""
    return app.conf.task_workflow_max_size or sys.maxsize if any(out.embed.values()) else sys.maxsize


def check_size(app: Any, out: Outgoing, size: int, times: int = 1) -> None:
    """Raise EncodeError when *size* bytes, *times* over, are too many for a message that has a workflow in it."""
    limit = largest(app, out)
    if size <= limit and times * size <= _MANY * limit:
        return
    carried = [name for name, part in out.embed.items() if part]
    many = f" in each of {times:,} messages" if times > 1 else ""
    raise EncodeError(
        f"the message of {out.name} would have {size:,} bytes{many}, since it carries its {' and '.join(carried)}, and "
        f"setting task_workflow_max_size allows {limit:,}: pass what is large by a key of a store and not as an "
        "argument, let a task at the end start the rest, or raise the setting if the broker takes it")


def check_kept(app: Any, group_id: str, size: int) -> None:
    """Raise EncodeError for the body of a chord that is too large to be sent when its time comes."""
    limit = app.conf.task_workflow_max_size
    if limit and size > limit:
        raise EncodeError(
            f"the body of chord {group_id} has {size:,} bytes, and setting task_workflow_max_size allows {limit:,}: "
            "pass what is large by a key of a store and not as an argument, let a task at the end start the rest, or "
            "raise the setting if the broker takes it")


def compose(
    app: Any, task: Any, name: str, args: Any, kwargs: Any, options: Mapping[str, Any],
) -> Outgoing:
    """Turn a call and its options into a message that is not yet encoded."""
    args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
    if not isinstance(args, (list, tuple)):
        raise TypeError(f"the arguments of {name} are a list or tuple, not {type(args).__name__}")
    if not isinstance(kwargs, Mapping):
        raise TypeError(f"the keyword arguments of {name} are a mapping, not {type(kwargs).__name__}")
    conf = app.conf
    options = {**task.exec_options(), **options} if task is not None else dict(options)
    parent = current.parent()
    if parent is not None and conf.task_inherit_parent_priority and options.get("priority") is None:
        options["priority"] = (parent.delivery_info or {}).get("priority")
    options = app.router.route(options, options.get("route_name") or name, args, kwargs, task)
    place = app.router.destination(options)

    task_id = options.get("task_id") or new_id()
    eta = run_at = expires = expires_at = None
    if options.get("countdown") or options.get("eta"):
        eta, run_at = moments.eta_of(options.get("countdown"), options.get("eta"), app.timezone)
    if options.get("expires") is not None:
        expires, expires_at = moments.expiry_of(options["expires"], app.timezone)
    implied: dict[str, Any] = {**_DEFAULTS, "root_id": task_id, "origin": origin(), "timelimit": [None, None]}
    if task is not None:
        implied.update(timelimit=[task.time_limit, task.soft_time_limit], ignore_result=bool(task.ignore_result))
    ignored = _first(options.get("ignore_result"), implied.get("ignore_result"))
    reply_to, replies = _reply(app, options, bool(ignored))
    headers = {
        **_headers(conf, name, task_id, args, kwargs, options, parent),
        "eta": eta,
        "expires": expires,
        "ignore_result": ignored,
        **(options.get("headers") or {}),
    }
    exchange_mode = place.queue.exchange.delivery_mode if place.queue is not None else None
    mode = _first(_first(options.get("delivery_mode"), exchange_mode), conf.task_default_delivery_mode)
    properties: dict[str, Any] = {
        "delivery_mode": _DELIVERY_MODES.get(mode, mode),
        # Celery leaves it out where a call names its queue and the task leaves it open; else it is 0.
        "priority": options.get("priority", 0),
        "correlation_id": task_id,
        "reply_to": reply_to,
        "expiration": _expiration(task_id, options.get("expiration"), expires_at),
        **{field: options[field] for field in _KEPT_PROPERTIES if field in options},
    }
    return Outgoing(
        name=name, task_id=task_id, queue=place.queue.name if place.queue is not None else place.routing_key,
        exchange=place.exchange, routing_key=place.routing_key, args=args, kwargs=kwargs,
        embed={
            "callbacks": plain.links(options.get("link")), "errbacks": plain.links(options.get("link_error")),
            "chain": plain.steps(options.get("chain")), "chord": plain.link(options.get("chord")),
        },
        headers=headers, properties={field: value for field, value in properties.items() if value is not None},
        serializer=options.get("serializer") or conf.task_serializer,
        compression=options.get("compression") or conf.task_compression,
        run_at=run_at, implied=implied, parent=parent, replies=replies,
    )


def _reply(app: Any, options: Mapping[str, Any], ignored: bool) -> tuple[str | None, Replies | None]:
    """Return the queue that the result goes back to, and the store that waits there if it is ours and it is wanted."""
    told = options.get("reply_to")
    replies = app.replies if told is None else None
    if replies is None:
        return told or None, None
    return replies.address, None if ignored else replies


def _headers(
    conf: Any, name: str, task_id: str, args: Any, kwargs: Any, options: Mapping[str, Any], parent: Request | None,
) -> dict[str, Any]:
    """Return the headers of task protocol 2 in its order; the caller fills in the times."""
    hard, soft = options.get("time_limit"), options.get("soft_time_limit")
    if hard and soft and soft > hard:
        raise ValueError(f"soft_time_limit ({soft}) must be less than or equal to time_limit ({hard})")
    root_id, parent_id = options.get("root_id"), options.get("parent_id")
    if parent is not None:
        root_id, parent_id = root_id or parent.root_id or parent.id, parent_id or parent.id
    argsrepr, kwargsrepr = options.get("argsrepr"), options.get("kwargsrepr")
    if conf.task_send_sent_event or conf.worker_send_task_events:
        # Events are all that shows them, and making them costs more than the rest of the message.
        argsrepr = _first(argsrepr, saferepr(args, maxlevels=conf.task_repr_maxlevels))
        kwargsrepr = _first(kwargsrepr, saferepr(kwargs, maxlevels=conf.task_repr_maxlevels))
    stamped = options.get("stamped_headers")
    return {
        "lang": "py",
        "task": name,
        "id": task_id,
        "shadow": options.get("shadow"),
        "eta": None,
        "expires": None,
        "group": options.get("group_id"),
        "group_index": options.get("group_index"),
        "retries": options.get("retries") or 0,
        "timelimit": [hard, soft],
        "root_id": root_id or task_id,
        "parent_id": parent_id,
        "argsrepr": argsrepr,
        "kwargsrepr": kwargsrepr,
        "origin": options.get("origin") or origin(),
        "ignore_result": None,
        "replaced_task_nesting": options.get("replaced_task_nesting") or 0,
        "stamped_headers": stamped,
        "stamps": {stamp: options[stamp] for stamp in stamped or ()},
    }


def _first(value: Any, other: Any) -> Any:
    return other if value is None else value


def retry_policy(app: Any, options: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return how often and how soon to try again when a message cannot be stored; None: never."""
    conf = app.conf
    retry = options.get("retry")
    if not (conf.task_publish_retry if retry is None else retry):
        return None
    return {**(conf.task_publish_retry_policy or {}), **(options.get("retry_policy") or {})}


def store(app: Any, message: Message, policy: Mapping[str, Any] | None,
          expect: Expect | None = None) -> None:
    """Hand *message* to the open batch, else to the transport, once *expect* has returned. Raises OperationalError."""
    buffer = batch.get()
    if buffer is not None and buffer.app is app:
        if expect is not None:
            insist(expect, policy)
        buffer.add(message)
        return
    insist(_storing(points.around(app.transport.publish_one), message, expect), policy)


def store_again(app: Any, message: Message, policy: Mapping[str, Any] | None, error: OperationalError,
                expect: Expect | None) -> None:
    """Go on storing *message* after a first *error*, as *policy* allows; then raise the last error."""
    _insist_after(error, _storing(app.transport.publish_one, message, expect), policy)


def _storing(publish_one: Callable[..., object], message: Message, expect: Expect | None) -> Callable[[], None]:
    def attempt() -> None:
        if expect is not None:
            expect()
        publish_one(*message)

    return attempt


def insist(attempt: Callable[[], object], policy: Mapping[str, Any] | None) -> None:
    """Call *attempt*, and again as *policy* allows while it raises OperationalError; then raise the last error."""
    try:
        attempt()
    except OperationalError as error:
        _insist_after(error, attempt, policy)


def _insist_after(error: OperationalError, attempt: Callable[[], object], policy: Mapping[str, Any] | None) -> None:
    # The error says all there is to know: its caller does not get our way to the broker in 80 lines besides.
    if policy is None:
        raise error.with_traceback(None) from None
    limit = policy.get("max_retries", 3)
    pause = policy.get("interval_start", 0.0)
    tries = 0
    while True:
        # A full disk does not empty in a second, and the caller should hear of it at once.
        if isinstance(error, BrokerFull) or not isinstance(error, tuple(policy.get("retry_errors") or (Exception,))):
            raise error.with_traceback(None) from None
        if limit is not None and tries >= limit:
            raise error.with_traceback(None) from None
        if policy.get("errback"):
            policy["errback"](error, pause)
        time.sleep(pause)
        pause = min(pause + policy.get("interval_step", 0.2), policy.get("interval_max", 1.0))
        tries += 1
        try:
            attempt()
            return
        except OperationalError as again:
            error = again


def new_task_id() -> str:
    """Return a new task id."""
    return new_id()


async def in_thread(call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return what *call* returns, and let the event loop run meanwhile."""
    import asyncio  # noqa: PLC0415 - costs 15 ms, which only programs with an event loop should pay

    return await asyncio.to_thread(call, *args, **kwargs)


def _expiration(task_id: str, told: Any, expires_at: float | None) -> str | None:
    """Return for how many milliseconds a broker keeps the message: as *told*, in seconds, else until it expires."""
    if told is not None:
        if isinstance(told, bool) or not isinstance(told, (int, float)) or not 0 <= told < 2**32 / 1000:
            raise ValueError(f"expiration is the seconds that the broker keeps the message, from 0 on, not {told!r}")
        return str(int(told * 1000))
    if expires_at is None:
        return None
    left = expires_at - time.time()
    if left < 0:
        logger.warning("task %s had expired %.1f s before it was sent: no worker will run it", task_id, -left)
    return str(max(0, int(left * 1000)))

