"""One connection to a broker: what the public client and the transport have in common.

A link (1) makes the connection, see handshake.py, (2) moves bytes between socket and decoder, and never waits without a
deadline, (3) answers what concerns the connection itself: close, blocked, heartbeat, (4) hands every other event to the
handler of its channel, or to whoever waits for it in `call`. It has no thread and no lock: one user at a time.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastq._ext import amqp
from fastq._ext.amqp import HEARTBEAT_FRAME, METHODS
from fastq.amqp import handshake
from fastq.amqp.error import AMQPError, ChannelClosed, ChannelError, ConnectionFailed, LinkLost, name_of
from fastq.amqp.stream import BLOCKED, CLOSE, UNBLOCKED, Stream
from fastq.amqp.target import Target
from fastq.net import sock
from fastq.net.meanwhile import opening

if TYPE_CHECKING:
    from fastq._ext.amqp import Event

CALL_TIMEOUT_S = 30.0
CLOSE_TIMEOUT_S = 1.0

CLOSE_OK = METHODS["connection.close-ok"]
CHANNEL_CLOSE, CHANNEL_CLOSE_OK = METHODS["channel.close"], METHODS["channel.close-ok"]

ANSWERS = {number: frozenset({METHODS[f"{name}-ok"]}) for name, number in METHODS.items() if f"{name}-ok" in METHODS}
"""Method -> what answers it."""
ANSWERS[METHODS["basic.get"]] = frozenset({METHODS["basic.get-ok"], METHODS["basic.get-empty"]})

_OWN = frozenset({CLOSE, BLOCKED, UNBLOCKED, amqp.HEARTBEAT})

Handler = Callable[["Event"], None]


class Link(Stream):
    """A connection that stands; `open` makes one.

    Example::

        link = Link.open(parse("amqp://guest:guest@localhost:5672//"))
        channel = link.open_channel()
        link.call(channel, METHODS["queue.declare"], "tasks", False, True, False, False, False, {})
    """

    def __init__(self, connected: socket.socket, where: str, frame_max: int = 131072) -> None:
        super().__init__(connected, where, frame_max)
        self.frame_max = frame_max
        self.channel_max = 0
        self.heartbeat_s = 0.0
        self.server_properties: dict[str, Any] = {}
        self.call_timeout_s = CALL_TIMEOUT_S
        self.handlers: dict[int, Handler] = {}
        self.channels: set[int] = set()
        self._reasons: dict[int, ChannelClosed] = {}  # why the broker closed a channel
        self._channel = 0

    @classmethod
    def open(cls, target: Target, *, heartbeat_s: float = 0.0, connect_timeout_s: float = 5.0, channel_max: int = 2047,
             frame_max: int = 131072, client_properties: Mapping[str, Any] | None = None,
             login_method: str = "PLAIN") -> Link:
        """Connect, log in and open the virtual host, all within *connect_timeout_s*.

        *heartbeat_s* 0 asks for none. *login_method* is PLAIN, AMQPLAIN or EXTERNAL. Raises ConnectionFailed when the
        broker cannot be reached, ConnectionRefused when it lets this user not in, ConfigError for wrong options.
        """
        deadline = time.monotonic() + connect_timeout_s
        endpoint = sock.Endpoint("RabbitMQ", target.where, ConnectionFailed, target.host, target.port, ssl=target.ssl,
                                 tls_hint="RabbitMQ's port for TLS is 5671; amqp:// means a connection without")
        wishes = handshake.Wishes(channel_max, frame_max, heartbeat_s, login_method, client_properties or {})
        with opening():
            link = cls(sock.connect(endpoint, deadline), target.where)
            try:
                handshake.shake(link, target, wishes, deadline)
            except BaseException:
                link.abandon()
                raise
        return link

    # --- events

    def next(self) -> Event | None:
        """Return the oldest event of a channel that nobody was given yet, or None; those of the link are dealt with.

        A channel that the broker closed is closed here too when its event is returned. Raises ConnectionClosed.
        """
        while True:
            event = self._early.popleft() if self._early else self.decoder.next()
            if event is None:
                return None
            if event[0] == 0 and event[1] in _OWN:
                self._own(event)
                continue
            if event[1] == CHANNEL_CLOSE:
                self._drop_channel(event[0])
                self.send(amqp.method(event[0], CHANNEL_CLOSE_OK))
            return event

    def pump(self) -> int:
        """Hand every event that came to the handler of its channel; returns how many.

        A handler may `send`; it raises nothing, and waits for no answer: that may be one that somebody else waits for.
        """
        count = 0
        while (event := self.next()) is not None:
            self._hand(event)
            count += 1
        return count

    def call(self, channel: int, method: int, *args: Any, timeout_s: float | None = None) -> Event:
        """Send a method and wait for its answer; other events go to their handlers meanwhile.

        Raises ChannelClosed when the broker closes the channel instead, LinkLost when no answer comes in *timeout_s*,
        by default ``call_timeout_s``; what `within` bounds may have less.
        """
        self.check_channel(channel)
        wait_s = self.call_timeout_s if timeout_s is None else timeout_s
        return self.wait(channel, ANSWERS[method], wait_s, f"{name_of(method)} was not answered",
                         amqp.method(channel, method, *args))

    def wait(self, channel: int, methods: frozenset[int], timeout_s: float, why: str, request: bytes = b"") -> Event:
        """Send *request*, wait for one of *methods* on *channel*. Raises as `call`; *why* says what did not happen."""
        began = time.monotonic()
        deadline = min(began + timeout_s, self._until)
        try:
            if request:
                self.send(request)
            while True:
                beat_s = self.beat()  # may read: so before what came is looked at
                while (event := self.next()) is not None:
                    if event[0] == channel and event[1] in methods:
                        return event
                    if event[0] == channel and event[1] == CHANNEL_CLOSE:
                        raise self.channel_closed(event)
                    self._hand(event)
                if (left := deadline - time.monotonic()) <= 0:
                    raise self.lose(f"{why} in {deadline - began:.3g} s")
                self.fill(left if beat_s is None else min(left, beat_s))
        except AMQPError:
            raise
        except BaseException:
            # Interrupted: the answer is still to come, and would be taken for that of the next call.
            self._break(LinkLost(f"{self.where}: the wait for an answer was interrupted; connect again"))
            raise

    def channel_closed(self, event: Event) -> ChannelClosed:
        """Return the error that a channel.close *event* means; whoever uses the channel again gets it too."""
        code, text, class_id, method_id = event[2]
        error = ChannelClosed(f"{text} ({code}, channel {event[0]} at {self.where})", code, text,
                              class_id << 16 | method_id)
        self._reasons[event[0]] = error.copy()
        return error

    def check_channel(self, number: int) -> None:
        """Raise ChannelError unless channel *number* is open, with the broker's reason if it closed it."""
        if self.broken is not None:
            raise self.broken.copy()
        if number and number not in self.channels:
            if why := self._reasons.get(number):
                raise why.copy()
            raise ChannelError(f"channel {number} of the connection to {self.where} is closed")

    # --- the connection as a whole

    def beat(self) -> float | None:
        """Send a heartbeat if one is due; returns the seconds until the next, None when there are none.

        Raises LinkLost when the broker was silent for two intervals.
        """
        if not self.heartbeat_s:
            return None
        now = time.monotonic()
        if now - self._heard_at > 2 * self.heartbeat_s and not self.fill(0):
            # Asked once more: it may be this program that slept, while the broker's words waited in the socket.
            raise self.lose(f"not a word, not even a heartbeat, in {now - self._heard_at:.0f} s")
        if now - self._sent_at >= self.heartbeat_s / 2:
            self.send(HEARTBEAT_FRAME)
        now = time.monotonic()
        return max(0.0, min(self._sent_at + self.heartbeat_s / 2, self._heard_at + 2 * self.heartbeat_s) - now)

    def open_channel(self, number: int = 0) -> int:
        """Open channel *number*, or any for 0, and return its number. Raises ChannelError when it or all are in use."""
        if number in self.channels:
            raise ChannelError(f"channel {number} of the connection to {self.where} is in use")
        number = number or self._free_channel()
        self.channels.add(number)
        self._reasons.pop(number, None)
        try:
            self.call(number, METHODS["channel.open"])
        except BaseException:
            self.channels.discard(number)
            raise
        return number

    def close_channel(self, number: int) -> None:
        """Close a channel; what it held goes back to its queues. Safe twice, and when the broker was first."""
        if number not in self.channels or self.broken is not None:
            return
        self.handlers[number] = _drop
        try:
            self.call(number, CHANNEL_CLOSE, 200, "", 0, 0)
        except ChannelClosed:
            return  # both sides at once: it is closed
        finally:
            self._drop_channel(number)
            self.handlers.pop(number, None)

    def close(self) -> None:
        """Say goodbye, wait a second for the answer, and close the socket. Safe twice; raises nothing."""
        if self.broken is not None:
            return
        self.send_timeout_s = CLOSE_TIMEOUT_S
        deadline = time.monotonic() + CLOSE_TIMEOUT_S
        try:
            self.send(amqp.method(0, CLOSE, 200, "", 0, 0))
            while (left := deadline - time.monotonic()) > 0 and self.fill(left):
                while (event := self.next()) is not None:
                    if event[:2] == (0, CLOSE_OK):
                        return
        except LinkLost:
            return  # it was gone before
        finally:
            self.abandon()

    # --- inner parts

    def _own(self, event: Event) -> None:
        """Deal with an event of the connection itself."""
        if event[1] != CLOSE:
            self._note(event)
            return
        try:
            self._write(amqp.method(0, CLOSE_OK))
        except OSError:
            pass  # it is gone already; the answer is a courtesy
        raise self._closed(event)

    def _hand(self, event: Event) -> None:
        handler = self.handlers.get(event[0])
        if event[1] == CHANNEL_CLOSE:
            self.handlers.pop(event[0], None)
            self.channel_closed(event)
        if handler is not None:
            handler(event)

    def _free_channel(self) -> int:
        """The next number in turn: one just closed rests, since words about it may still be on their way."""
        if len(self.channels) >= self.channel_max:
            raise ChannelError(f"all {self.channel_max} channels of the connection to {self.where} are in use")
        number = self._channel
        while (number := number % self.channel_max + 1) in self.channels:
            pass
        self._channel = number
        return number

    def _drop_channel(self, number: int) -> None:
        self.channels.discard(number)
        self.decoder.forget(number)


def _drop(event: Event) -> None:
    """Take what comes for a channel that is being closed: it goes back to its queue with the channel."""
