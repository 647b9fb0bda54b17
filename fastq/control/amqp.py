"""Remote control over RabbitMQ: Celery's exchanges, and a stream that keeps the revocations.

A stream is a queue that is read without being emptied, by any number of workers from its beginning. One that starts
puts a mark of its own at its end and reads up to it: then it knows all that was revoked before.
"""

from __future__ import annotations

import json
import logging
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from fastq._ext import amqp, envelope
from fastq._ext.amqp import METHODS
from fastq.amqp.brokers import Brokers
from fastq.amqp.error import ChannelClosed
from fastq.amqp.link import Link
from fastq.amqp.target import mask, parse_many
from fastq.control.mailbox import KEPT_S, QUEUE_S, REQUEST_S, Revoked
from fastq.exceptions import ConnectionLost
from fastq.transport.amqp_options import AmqpOptions

logger = logging.getLogger("fastq.control")

STREAM = "fastq.revoked"
READ_S = 5.0
"""Seconds within which all that was revoked before has been read."""
_SEGMENT_BYTES = 1_000_000
"""RabbitMQ drops what is too old by the segment; its default of 500 MB would be dropped never."""
_WINDOW = 500
_DECLARE, _BIND, _EXCHANGE, _CONSUME, _QOS = (METHODS[name] for name in (
    "queue.declare", "queue.bind", "exchange.declare", "basic.consume", "basic.qos"))


def open_urls(urls: Sequence[str], options: Mapping[str, Any], name: str) -> AmqpMailbox:
    """Connect to the first of several brokers that answers. Raises ConfigError, TransportError."""
    targets = parse_many(list(urls), options.get("ssl"))
    read = AmqpOptions.read(mask(urls[0]), targets[0].options, options)
    brokers = Brokers(targets, read.connect_timeout_s, read.failover, read.login_method, read.client_properties)
    return AmqpMailbox(brokers.connect(heartbeat_s=read.heartbeat_s), name, read.connect_timeout_s)


class AmqpMailbox:
    """A `Mailbox` over one connection of its own. Whatever it is asked, the broker has *timeout_s* seconds for all."""

    def __init__(self, link: Link, name: str, timeout_s: float) -> None:
        self._link = link
        self._timeout_s = link.send_timeout_s = timeout_s
        self._requests, self._answers = f"{name}.pidbox", f"reply.{name}.pidbox"
        try:
            with link.within(timeout_s):
                self._channel = link.open_channel()
                link.handlers[self._channel] = self._on_event
                for exchange, kind in ((self._requests, "fanout"), (self._answers, "direct")):
                    link.call(self._channel, _EXCHANGE, exchange, kind, False, False, False, False, False, {})
        except BaseException:
            link.abandon()
            raise
        self._consumer = -1
        self._loss = ""

    def listen(self, node: str) -> None:
        """Consume the queue of the worker *node*. Raises ChannelClosed (405) when another worker has that name."""
        self._consume(f"{node}.{self._requests}", self._requests, "")

    def expect(self, address: str) -> None:
        """Consume a queue for the answers to *address*."""
        self._consume(f"{address}.{self._answers}", self._answers, address)

    def _consume(self, queue: str, exchange: str, key: str) -> None:
        link, channel = self._link, self._channel
        limits = {"x-expires": int(QUEUE_S * 1000), "x-message-ttl": int(REQUEST_S * 1000)}
        with link.within(self._timeout_s):
            link.call(channel, _DECLARE, queue, False, False, True, True, False, limits)
            link.call(channel, _BIND, queue, exchange, key, False, {})
            # Watched before: what waits there may come with the answer.
            self._consumer = link.decoder.watch(channel, queue)
            link.call(channel, _CONSUME, queue, queue, False, True, False, False, {})

    def fileno(self) -> int:
        """The socket's descriptor."""
        return self._link.fileno()

    def receive(self, timeout_s: float = 0.0) -> list[bytes]:
        """Return the contents that have come; sends heartbeats too."""
        link = self._link
        link.beat()
        link.fill(0.0 if link.decoder.gathered(self._consumer) or link.has_news() else timeout_s)
        link.pump()
        if self._loss:
            raise link.lose(self._loss)
        count = link.decoder.gathered(self._consumer)
        return [content for _, _, content in link.decoder.take(self._consumer, count)] if count else []

    def request(self, content: bytes) -> None:
        """Publish to the exchange that feeds every worker's queue."""
        self._publish(self._requests, "", content)

    def answer(self, exchange: str, address: str, content: bytes) -> None:
        """Publish to the queue of whoever asked."""
        self._publish(exchange, address, content)

    def _publish(self, exchange: str, key: str, content: bytes) -> None:
        prefix = amqp.publisher(self._channel, exchange, key)
        self._link.send(amqp.publish(prefix, content, self._link.frame_max))

    # -- what is revoked -----------------------------------------------------------------------

    def revoke(self, revoked: Sequence[Revoked]) -> None:
        """Append to the stream."""
        self._with_stream(lambda channel: self._append(channel, [list(each) for each in revoked]))

    def revoked(self) -> list[Revoked]:
        """Read the stream up to a mark that is put at its end now."""
        return self._with_stream(self._read) or []

    def _with_stream(self, work: Any) -> Any:
        with self._link.within(READ_S):
            return self._on_channel(work)

    def _on_channel(self, work: Any) -> Any:
        # One of its own: where the server knows no streams, the refusal closes only that.
        link = self._link
        channel = link.open_channel()
        link.handlers[channel] = self._on_stream_event
        try:
            link.call(channel, _DECLARE, STREAM, False, True, False, False, False, {
                "x-queue-type": "stream", "x-max-age": f"{int(KEPT_S)}s",
                "x-stream-max-segment-size-bytes": _SEGMENT_BYTES})
            return work(channel)
        except ChannelClosed as error:
            logger.warning("this broker keeps no revocations, so only workers that run now know of them: %s", error)
            return None
        finally:
            if channel in link.channels:
                link.close_channel(channel)

    def _append(self, channel: int, records: list[Any]) -> None:
        prefix = amqp.publisher(channel, "", STREAM)
        properties = {"content_type": "application/json", "delivery_mode": 2}
        frames = [amqp.publish(prefix, envelope.pack(properties, {}, json.dumps(record).encode()),
                               self._link.frame_max) for record in records]
        self._link.send(b"".join(frames))

    def _read(self, channel: int) -> list[Revoked]:
        link, mark = self._link, uuid.uuid4().hex
        self._append(channel, [mark])
        link.call(channel, _QOS, 0, _WINDOW, False)
        consumer = link.decoder.watch(channel, mark)
        link.call(channel, _CONSUME, STREAM, mark, False, False, False, False, {"x-stream-offset": "first"})
        found: list[Revoked] = []
        deadline = time.monotonic() + READ_S
        while time.monotonic() < deadline:
            rows = list(link.decoder.take(consumer, link.decoder.gathered(consumer)))
            for _, _, content in rows:
                record = json.loads(envelope.unpack(content)[2])
                if record == mark:
                    return found
                if isinstance(record, list) and record[2] > time.time():
                    found.append(Revoked(*record))
            if rows:
                link.send(amqp.method(channel, METHODS["basic.ack"], rows[-1][0], True))
            link.fill(0.1)
            link.pump()
        raise ConnectionLost(f"RabbitMQ at {link.where}: the stream {STREAM} was not read in {READ_S:g} s")

    def _on_event(self, event: amqp.Event) -> None:
        if event[1] in (METHODS["basic.cancel"], METHODS["channel.close"]):
            self._loss = f"remote control was cut off by the broker: {event[2]}"

    def _on_stream_event(self, event: amqp.Event) -> None:
        """A late confirm or close of a channel that serves one question: nobody waits for it."""

    def abandon(self) -> None:
        """Close the descriptor."""
        self._link.abandon()

    def close(self) -> None:
        """Leave; the queue goes with the connection."""
        self._link.close()
