"""Messages of the public client, and their packed form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastq._ext import envelope

if TYPE_CHECKING:
    from fastq.amqp.channel import Channel

PROPERTIES = ("app_id", "content_encoding", "content_type", "correlation_id", "delivery_mode", "expiration", "headers",
              "message_id", "priority", "reply_to", "timestamp", "type", "user_id")
"""What a message may say about itself; other names are not sent."""


class Message:
    """A message that came, or is to be sent.

    ``properties`` holds what the sender said (``PROPERTIES``, with ``headers`` a dict), ``delivery_info`` what the
    broker said: consumer_tag, delivery_tag, redelivered, exchange, routing_key; message_count in place of the
    consumer_tag when `Channel.basic_get` fetched it. ``body`` is bytes.

    Example::

        channel.basic_publish(Message(body="hi", properties={"content_type": "text/plain"}), routing_key="tasks")
    """

    def __init__(self, channel: Channel | None = None, properties: Mapping[str, Any] | None = None,
                 delivery_info: Mapping[str, Any] | None = None, body: Any = b"") -> None:
        self.channel = channel
        self.properties = dict(properties or {})
        self.delivery_info = dict(delivery_info or {})
        self.body = body

    def ack(self, multiple: bool = False) -> None:
        """Tell the broker that this message is done, and with *multiple* all before it on its channel."""
        self._channel().basic_ack(self.delivery_tag, multiple)

    def reject(self, requeue: bool = True) -> None:
        """Give the message back, or without *requeue* drop or dead-letter it, as the queue says."""
        self._channel().basic_reject(self.delivery_tag, requeue)

    @property
    def delivery_tag(self) -> int:
        """The number under which its channel delivered it. Raises ValueError for a message that was not delivered."""
        try:
            return int(self.delivery_info["delivery_tag"])
        except KeyError:
            raise ValueError("this message was not delivered: it has no delivery_tag") from None

    @property
    def headers(self) -> dict[str, Any]:
        """Its headers; empty when it has none."""
        return self.properties.get("headers") or {}

    @property
    def content_type(self) -> str | None:
        """What its body is, as the sender said."""
        return self.properties.get("content_type")

    @property
    def content_encoding(self) -> str | None:
        """The character set or compression of its body, as the sender said."""
        return self.properties.get("content_encoding")

    def __repr__(self) -> str:
        size = len(self.body) if self.body is not None else 0
        return f"<{type(self).__name__} {self.delivery_info.get('delivery_tag', 'new')} of {size} bytes>"

    def _channel(self) -> Channel:
        if self.channel is None:
            raise ValueError("this message came over no channel: there is nobody to answer")
        return self.channel


def pack(body: Any, properties: Mapping[str, Any]) -> bytes:
    """Pack a body (bytes, or text as UTF-8) with its properties but those that are None. Raises EncodeError."""
    raw = body.encode() if isinstance(body, str) else bytes(body if body is not None else b"")
    said = {name: text(value) for name, value in properties.items()
            if name in PROPERTIES and name != "headers" and value is not None}
    return envelope.pack(said, table(properties.get("headers")), raw)


def unpack(packed: bytes | None) -> tuple[dict[str, Any], bytes]:
    """Take packed content apart into properties, with the headers among them, and body."""
    properties, headers, body = envelope.unpack(packed or b"\0\0\0\2\0\0")
    properties["headers"] = headers
    return properties, body


def table(arguments: Mapping[Any, Any] | None) -> dict[str, Any]:
    """A table for the wire. Its names may be bytes, as kombu makes them for this client."""
    return {text(name): value for name, value in arguments.items()} if arguments else {}


def text(value: Any) -> Any:
    """Bytes as text, all else as it is: names may be given as either."""
    return value.decode() if isinstance(value, bytes) else value
