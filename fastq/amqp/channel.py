"""Channels of the public client: publishing, consuming, settling, confirms and transactions."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.error import ChannelError
from fastq.amqp.message import Message, pack, table, unpack
from fastq.amqp.topology import Arguments, Topology, name

if TYPE_CHECKING:
    from types import TracebackType

    from fastq._ext.amqp import Event
    from fastq.amqp.connection import Connection
    from fastq.amqp.link import Link

ACK, NACK, CANCEL, CLOSE, DELIVER, FLOW, RETURN = (METHODS[known] for known in (
    "basic.ack", "basic.nack", "basic.cancel", "channel.close", "basic.deliver", "channel.flow", "basic.return"))
PREFIXES = 1000
"""How many destinations a channel remembers the encoded basic.publish of."""


class Channel(Topology):
    """A channel of a `fastq.amqp.Connection`; `Connection.channel` opens one.

    Callbacks run in `Connection.drain_events`, never before. ``events`` holds sets of further ones, by the method that
    the broker sends: ``basic_return`` (exception, exchange, routing_key, message), ``basic_ack`` and ``basic_nack``
    (delivery_tag, multiple) in confirm mode. Not safe for two threads at once, as its connection.
    """

    Message = Message

    def __init__(self, connection: Connection, channel_id: int) -> None:
        self.connection: Connection | None = connection
        self.channel_id = channel_id
        self.closed_by: ChannelError | None = None
        """Why it is closed; None while it is open."""
        self.no_ack_consumers: set[str] = set()
        self.events: dict[str, set[Callable[..., Any]]] = {"basic_ack": set(), "basic_nack": set(),
                                                           "basic_return": set()}
        self.cancel_callbacks: dict[str, Callable[[str], Any]] = {}
        self.next_consumer_tag: Callable[[], int] = itertools.count(1).__next__
        """Numbers the consumers that are given no tag."""
        self._prefixes: dict[tuple[str, str, bool], bytes] = {}
        self._sequence = 0  # of publishes in confirm mode; 0: not in it
        self._unconfirmed: dict[int, None] = {}
        self._refused = False

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it can be used, as far as is known here."""
        return self.closed_by is None and self.connection is not None and self.connection.has_channel(self.channel_id)

    def close(self) -> None:
        """Close it; messages not acknowledged go back to their queues. Safe twice."""
        if self.connection is not None:
            self.connection.remove_channel(self)

    def prepare_message(self, body: Any, priority: int | None = None, content_type: str | None = None,
                        content_encoding: str | None = None, headers: dict[str, Any] | None = None,
                        properties: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Return body and properties as `basic_publish` takes them."""
        said = {"content_type": content_type, "content_encoding": content_encoding, "headers": headers,
                "priority": priority}
        return body, {**(properties or {}), **{key: value for key, value in said.items() if value is not None}}

    def basic_publish(self, body: Any, exchange: str = "", routing_key: str = "", mandatory: bool = False,
                      immediate: bool = False, timeout: float | None = None, confirm_timeout: float | None = None,
                      **properties: Any) -> None:
        """Send a message: a `Message`, a pair (body, properties), or a body (bytes or text) with *properties*.

        *mandatory* asks for the message back when no queue gets it, see ``events``. *timeout* is how many seconds to
        wait for room to write. In confirm mode *confirm_timeout* waits so long for the broker's word. An error such as
        a missing exchange closes the channel later: the next use that hears from the broker raises it.

        Example::

            channel.basic_publish(b"{}", routing_key="tasks", content_type="application/json", delivery_mode=2)
        """
        if isinstance(body, tuple):
            body, properties = body
        elif isinstance(body, Message) or hasattr(body, "delivery_info"):
            body, properties = body.body, body.properties
        link = self._link()
        packed = pack(body, properties)
        if immediate:  # RabbitMQ has not known it since 3.0, and says so; other brokers may
            data = amqp.method(self.channel_id, METHODS["basic.publish"], name(exchange), name(routing_key),
                               bool(mandatory), True) + amqp.content(self.channel_id, packed, link.frame_max)
        else:
            data = amqp.publish(self._prefix(name(exchange), name(routing_key), bool(mandatory)), packed,
                                link.frame_max)
        if self._sequence:
            self._unconfirmed[self._sequence] = None
            self._sequence += 1
        usual = link.send_timeout_s
        link.send_timeout_s = usual if timeout is None else timeout
        link.send(data)
        link.send_timeout_s = usual
        if confirm_timeout is not None and self._sequence and not self.wait_for_confirms(confirm_timeout):
            raise ChannelError("the broker could not take the message (basic.nack)")

    def basic_consume(self, queue: str = "", consumer_tag: str | None = None, no_local: bool = False,
                      no_ack: bool = False, exclusive: bool = False, callback: Callable[[Any], Any] | None = None,
                      arguments: Arguments = None, nowait: bool = False,
                      on_cancel: Callable[[str], Any] | None = None) -> str:
        """Have the messages of *queue* sent to *callback*, one at a time; returns the consumer's tag.

        *on_cancel* is called with the tag when the broker ends the consumer, as when its queue is deleted.
        """
        # A tag of our own: the first messages may be here before an answer could tell the broker's.
        tag = name(consumer_tag) or f"{self.channel_id}.{self.next_consumer_tag()}"
        self._callbacks()[tag] = callback
        if no_ack:
            self.no_ack_consumers.add(tag)
        if on_cancel is not None:
            self.cancel_callbacks[tag] = on_cancel
        try:
            self._call("basic.consume", name(queue), tag, bool(no_local), bool(no_ack), bool(exclusive), bool(nowait),
                       table(arguments), nowait=nowait)
        except BaseException:
            self._forget_consumer(tag)
            raise
        return tag

    def basic_cancel(self, consumer_tag: str, nowait: bool = False) -> None:
        """End a consumer. What it was sent and was not handed over yet goes back to the queue.

        It always waits for the answer: only then is known what still came.
        """
        if self.connection is None or not self.is_open:
            return
        self._call("basic.cancel", name(consumer_tag), False)
        self.connection.give_back(self, consumer_tag)
        self._forget_consumer(consumer_tag)

    def basic_get(self, queue: str = "", no_ack: bool = False) -> Any:
        """Fetch one message of *queue*, None when there is none."""
        event = self._event("basic.get", name(queue), bool(no_ack))
        if not event[2]:
            return None
        delivery_tag, redelivered, exchange, routing_key, message_count = event[2]
        properties, body = unpack(event[3])
        return self.Message(self, properties, {
            "delivery_tag": delivery_tag, "redelivered": redelivered, "exchange": exchange,
            "routing_key": routing_key, "message_count": message_count}, body)

    def basic_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Tell the broker that a message is done; with *multiple* all up to it."""
        self._link().send(amqp.method(self.channel_id, ACK, delivery_tag, bool(multiple)))

    def basic_nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """Give messages back, as `basic_reject`; with *multiple* all up to this one."""
        self._link().send(amqp.method(self.channel_id, NACK, delivery_tag, bool(multiple), bool(requeue)))

    def basic_reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """Give a message back to its queue; without *requeue* drop or dead-letter it, as the queue says."""
        self._link().send(amqp.method(self.channel_id, METHODS["basic.reject"], delivery_tag, bool(requeue)))

    def basic_recover(self, requeue: bool = True) -> None:
        """Have everything delivered here and not acknowledged sent again, perhaps to others."""
        self._call("basic.recover", bool(requeue))

    recover = basic_recover

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, _global: bool = False) -> None:
        """Limit the messages that are out and not acknowledged: per consumer to come, or for all with *_global*."""
        self._call("basic.qos", prefetch_size, prefetch_count, bool(_global))

    def flow(self, active: bool) -> bool:
        """Ask the broker to stop sending, or to go on. RabbitMQ only knows how to go on."""
        return bool(self._call("channel.flow", bool(active))[0])

    def confirm_select(self, nowait: bool = False) -> None:
        """Have the broker confirm every message published here from now on; see `wait_for_confirms`."""
        self._call("confirm.select", bool(nowait), nowait=nowait)
        self._sequence = self._sequence or 1

    def wait_for_confirms(self, timeout: float | None = None) -> bool:
        """Wait until the broker has spoken about everything published; tells whether it took responsibility for all.

        Raises socket.timeout (TimeoutError) after *timeout* seconds, ChannelError when the channel is closed instead.
        """
        connection, deadline = self._connection(), None if timeout is None else time.monotonic() + timeout
        while self._unconfirmed:
            connection.receive(None if deadline is None else deadline - time.monotonic())
            self._link()
        refused, self._refused = self._refused, False
        return not refused

    def tx_select(self) -> None:
        """Begin transactions: publishes and acknowledgements count at `tx_commit`."""
        self._call("tx.select")

    def tx_commit(self) -> None:
        """Make everything since the last commit count."""
        self._call("tx.commit")

    def tx_rollback(self) -> None:
        """Undo everything since the last commit; messages stay unacknowledged."""
        self._call("tx.rollback")

    # --- what the connection calls

    def on_event(self, event: Event) -> bool:
        """Take note of *event* as it arrives; tells whether `deal` is to have it in its turn."""
        if event[1] == FLOW:
            self._link().send(amqp.method(self.channel_id, METHODS["channel.flow-ok"], event[2][0]))
            return False
        if event[1] not in (ACK, NACK):
            return True
        tag, multiple = event[2][:2]
        settled = list(itertools.takewhile(lambda known: known <= tag, self._unconfirmed)) if multiple else [tag]
        for number in settled:
            self._unconfirmed.pop(number, None)
        self._refused = self._refused or event[1] == NACK
        return bool(self.events["basic_ack" if event[1] == ACK else "basic_nack"])

    def deal(self, event: Event) -> None:
        """Call whom *event* is for. Raises ChannelError when it closes the channel."""
        method, arguments = event[1], event[2]
        if method == DELIVER:
            self._deliver(event)
        elif method == CLOSE:
            raise self._connection().channel_closed(self, event)
        elif method == RETURN:
            self._return(event)
        elif method == CANCEL:
            callback = self.cancel_callbacks.get(arguments[0])
            self._forget_consumer(arguments[0])
            if callback is not None:
                callback(arguments[0])
        elif method in (ACK, NACK):
            for callback in list(self.events["basic_ack" if method == ACK else "basic_nack"]):
                callback(*arguments[:2])

    def _deliver(self, event: Event) -> None:
        tag, delivery_tag, redelivered, exchange, routing_key = event[2]
        callback = self._callbacks().get(tag)
        properties, body = unpack(event[3])
        message = self._connection().Message(self, properties, {
            "consumer_tag": tag, "delivery_tag": delivery_tag, "redelivered": redelivered, "exchange": exchange,
            "routing_key": routing_key}, body)
        if callback is not None:
            callback(message)

    def _return(self, event: Event) -> None:
        reply_code, reply_text, exchange, routing_key = event[2]
        error = ChannelError(f"a message to exchange {exchange!r} with key {routing_key!r} came back: {reply_text} "
                             f"({reply_code})", reply_code, reply_text, METHODS["basic.publish"])
        if not self.events["basic_return"]:
            raise error
        properties, body = unpack(event[3])
        message = self._connection().Message(self, properties, {"exchange": exchange, "routing_key": routing_key}, body)
        for callback in list(self.events["basic_return"]):
            callback(error, exchange, routing_key, message)

    # --- inner parts

    def _connection(self) -> Connection:
        if self.connection is None:
            raise ChannelError(f"channel {self.channel_id} belongs to no connection any more")
        return self.connection

    def _link(self) -> Link:
        """The link, when this channel is open on it. Raises the reason why it is not."""
        return self._connection().link_of(self)

    def _call(self, name: str, *args: Any, nowait: bool = False) -> tuple[Any, ...]:
        if not nowait:
            return self._event(name, *args)[2]
        self._link().send(amqp.method(self.channel_id, METHODS[name], *args))
        return ()

    def _event(self, name: str, *args: Any) -> Event:
        link = self._link()
        try:
            answer = link.call(self.channel_id, METHODS[name], *args)
        except ChannelError as error:
            self._connection().drop_channel(self, error)
            raise
        self._connection().wake()
        return answer

    def _callbacks(self) -> dict[str, Callable[[Any], Any] | None]:
        return self._connection().callbacks.setdefault(self.channel_id, {})

    def _forget_consumer(self, tag: str) -> None:
        self._callbacks().pop(tag, None)
        self.no_ack_consumers.discard(tag)
        self.cancel_callbacks.pop(tag, None)

    def _prefix(self, exchange: str, routing_key: str, mandatory: bool) -> bytes:
        key = (exchange, routing_key, mandatory)
        if (found := self._prefixes.get(key)) is None:
            if len(self._prefixes) >= PREFIXES:
                self._prefixes.clear()
            found = self._prefixes[key] = amqp.publisher(self.channel_id, *key)
        return found
