"""What can go wrong with an AMQP connection, as one tree.

Every error is a `fastq.exceptions.TransportError`, and either a `ConnectionError` (the connection is gone) or a
`ChannelError` (one channel is gone, the connection stands). Those two names are py-librabbitmq's.
"""

from __future__ import annotations

from typing import TypeVar

from fastq._ext.amqp import METHODS
from fastq.exceptions import BrokerRefused, ConnectionLost, TransportError

__all__ = ("AMQPError", "ChannelClosed", "ChannelError", "ConnectionClosed", "ConnectionError", "ConnectionFailed",
           "ConnectionRefused", "LinkLost", "name_of")

Error = TypeVar("Error", bound="AMQPError")

_NAMES = {number: name for name, number in METHODS.items()}


def name_of(method: int) -> str:
    """Return the name of a method's number, such as ``queue.declare``."""
    return _NAMES.get(method, f"method {method >> 16}.{method & 0xffff}")


class AMQPError(TransportError):
    """Base of the errors of a connection and its channels.

    ``reply_code`` (also ``code``) is 0 and ``reply_text`` empty unless the broker itself said what was wrong;
    ``class_id`` and ``method_id`` then name the method it did not like, as ``method`` does in words.
    """

    def __init__(self, message: str = "", reply_code: int = 0, reply_text: str = "", method: int = 0) -> None:
        super().__init__(message)
        self.reply_code = reply_code
        self.reply_text = reply_text
        self.code = reply_code
        self.class_id, self.method_id = method >> 16, method & 0xffff

    def copy(self: Error) -> Error:
        """The same error once more, without its traceback: to raise what was raised before."""
        return type(self)(str(self), self.reply_code, self.reply_text, self.class_id << 16 | self.method_id)

    @property
    def method(self) -> str:
        """The method that the broker did not like, such as ``queue.declare``; empty when it named none."""
        number = self.class_id << 16 | self.method_id
        return name_of(number) if number else ""


class ConnectionError(AMQPError):
    """The connection cannot be made, is broken, or was closed: nothing of it is usable any more."""


class ConnectionFailed(ConnectionError):
    """The broker cannot be reached; the message names host, port, reason and what to look at."""


class ConnectionRefused(ConnectionError, BrokerRefused):
    """The broker answers, but does not let this user in: 403 for a wrong password, 530 for an unknown vhost."""


class LinkLost(ConnectionError, ConnectionLost):
    """The connection broke: end of stream, time-out, a missing heartbeat, or bytes that are no AMQP."""


class ConnectionClosed(LinkLost):
    """The broker closed the connection and said why, such as 320 when an operator did it."""


class ChannelError(AMQPError):
    """A channel cannot be used; its connection and the other channels go on."""


class ChannelClosed(ChannelError, BrokerRefused):
    """The broker closed the channel: 404 not found, 403 refused, 405 locked, 406 precondition failed."""
