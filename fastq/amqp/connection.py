"""The connection of the public client: one link, its channels, and the events that wait to be handed over."""

from __future__ import annotations

import os
import socket
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.channel import DELIVER, FLOW, Channel
from fastq.amqp.error import ChannelError, ConnectionError
from fastq.amqp.link import Link
from fastq.amqp.message import Message
from fastq.amqp.target import Target
from fastq.net.tls import TlsOption

if TYPE_CHECKING:
    from types import TracebackType

    from fastq._ext.amqp import Event

AnyChannel = Channel  # the class below has an attribute of that name
FLOW_OK = METHODS["channel.flow-ok"]
LOOK_S = 0.1
"""Who only publishes looks this often whether the broker has something to say."""


class Connection:
    """A connection to RabbitMQ, with the names and ways of py-librabbitmq.

    *host* may hold the port too, as ``"rabbit:5672"``. *heartbeat* is in seconds, 0 for none; they are sent and checked
    in `drain_events` and in whatever waits for an answer. *lazy* leaves the connecting to `connect`. Further options:
    *ssl* (True, or a dict with ca_certs, certfile, keyfile, cert_reqs, server_hostname), *connect_timeout* in seconds,
    *login_method* (PLAIN, AMQPLAIN, EXTERNAL), *client_properties*; the rest is kept in ``transport_options``.
    *on_blocked* is called with the reason when the broker takes no messages, *on_unblocked* when it does again, both
    in `drain_events` or before something is sent. Not safe for two threads at once. Raises ConnectionError if
    it cannot connect.

    Example::

        with Connection("localhost", heartbeat=60) as connection, connection.channel() as channel:
            channel.queue_declare("tasks", durable=True)
            channel.basic_consume("tasks", callback=lambda message: message.ack())
            connection.drain_events(timeout=1)
    """

    Channel = Channel
    Message = Message

    def __init__(self, host: str = "localhost", userid: str = "guest", password: str = "guest",
                 virtual_host: str = "/", port: int = 5672, channel_max: int = 0xffff, frame_max: int = 131072,
                 heartbeat: float = 0, lazy: bool = False, *, ssl: TlsOption = None,
                 connect_timeout: float | None = None, login_method: str | None = None,
                 client_properties: Mapping[str, Any] | None = None,
                 on_blocked: Callable[[str], object] | None = None,
                 on_unblocked: Callable[[], object] | None = None, **kwargs: Any) -> None:
        self.hostname, self.port = _split(host, port)
        self.userid, self.password, self.virtual_host = userid or "guest", password or "guest", virtual_host or "/"
        self.channel_max, self.frame_max, self.heartbeat = channel_max, frame_max, heartbeat
        self.ssl, self.connect_timeout = ssl, connect_timeout or 5.0
        self.login_method, self.client_properties = login_method or "PLAIN", client_properties
        self.on_blocked, self.on_unblocked = on_blocked, on_unblocked
        self.transport_options = kwargs
        self.server_properties: dict[str, Any] = {}
        self.channels: dict[int, AnyChannel] = {}
        self.callbacks: dict[int, dict[str, Callable[[Any], Any] | None]] = {}
        """Channel -> consumer tag -> who gets its messages."""
        self._link: Link | None = None
        self._events: deque[tuple[AnyChannel, Event]] = deque()
        self._pid = self._inode = 0
        self._parting: weakref.finalize[..., Connection] | None = None
        self._looked_at = 0.0
        self._is_polled = self._is_draining = self._is_nudged = self._is_told_blocked = False
        if not lazy:
            self.connect()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.hostname}:{self.port} {'open' if self.connected else 'closed'}>"

    def connect(self) -> None:
        """Connect and log in. Raises ConnectionError, also when it is connected already."""
        if self.connected:
            raise ConnectionError(f"this connection to {self.hostname}:{self.port} is open already")
        target = Target(self.hostname, self.port, self.userid, self.password, self.virtual_host, self.ssl)
        link = self._link = Link.open(
            target, heartbeat_s=self.heartbeat, connect_timeout_s=self.connect_timeout, channel_max=self.channel_max,
            frame_max=self.frame_max, client_properties=self.client_properties, login_method=self.login_method)
        self._pid, self._inode = os.getpid(), os.fstat(link.fileno()).st_ino
        # Not a __del__: of a circle that is collected the socket's own end may come first.
        self._parting = weakref.finalize(self, _spare_others, link.sock, self._inode)
        self._parting.atexit = False
        self._is_polled = self._is_nudged = self._is_told_blocked = False
        self.channel_max, self.frame_max, self.heartbeat = link.channel_max, link.frame_max, link.heartbeat_s
        self.server_properties = link.server_properties

    def reconnect(self) -> None:
        """Close, and connect again; channels and consumers are to be made anew."""
        self.close()
        self.connect()

    def close(self) -> None:
        """Close the connection and all its channels. Safe twice; in the child of a fork the parent's stays open."""
        self.channels.clear()
        self.callbacks.clear()
        self._events.clear()
        if self._link is None:
            return
        if self._parting is not None:
            self._parting.detach()
        if not self._is_ours():
            self._link.sock.detach()
        if os.getpid() == self._pid and self._is_ours():
            self._link.close()
        self._link.abandon()

    @property
    def connected(self) -> bool:
        """Whether it is usable, as far as is known here."""
        return self._link is not None and self._link.is_open

    @property
    def blocked(self) -> str | None:
        """Why the broker takes no messages at the moment, None while it does."""
        return self._link.blocked if self._link is not None else None

    def fileno(self) -> int:
        """The socket's descriptor, for an event loop. Raises ValueError when there is none.

        When it is readable, call `drain_events` with timeout 0 until it times out.
        """
        if self._link is None or not self._link.is_open:
            raise ValueError(f"not connected to {self.hostname}:{self.port}: there is no descriptor")
        self._is_polled = True
        return self._link.fileno()

    def channel(self, channel_id: int | None = None) -> Any:
        """Open a channel, or return the one that is open under *channel_id*.

        Raises ConnectionError when all numbers are in use; the connection goes on then, as do its channels.
        """
        if channel_id is not None and channel_id in self.channels:
            return self.channels[channel_id]
        link = self._open_link()
        if not channel_id and len(link.channels) >= link.channel_max:
            raise ConnectionError(f"all {link.channel_max} channels of the connection to {link.where} are in use: "
                                  "close one, or connect with a higher channel_max")
        number = link.open_channel(channel_id or 0)
        channel = self.Channel(self, number)
        self.channels[number] = channel
        self.callbacks[number] = {}
        link.handlers[number] = lambda event: self._arrived(channel, event)
        return channel

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait for one message or other event and call its callback; what the callback raises comes out here.

        Waits for ever when *timeout* is None, and not at all when it is 0. Under an event loop, which asked for
        `fileno`, 0 deals with all that is here. Raises socket.timeout (TimeoutError) when nothing came, ChannelError
        when the broker closed a channel, ConnectionError when the connection broke.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self._events:
            self.receive(None if deadline is None else deadline - time.monotonic())
        was, self._is_draining = self._is_draining, True
        try:
            for _ in range(len(self._events) if self._is_polled and timeout == 0 else 1):
                if self._events:  # a callback may have closed the channel of those that follow
                    channel, event = self._events.popleft()
                    channel.deal(event)
        finally:
            self._is_draining = was
            if self._is_polled and self.connected:
                self.wake()

    def receive(self, timeout: float | None) -> None:
        """Take in what the broker says, waiting at most *timeout* seconds. Raises TimeoutError when nothing came."""
        link = self._open_link()
        beat_s = link.beat()
        if self._pump(link):
            return
        if timeout is None or (beat_s is not None and beat_s < timeout):
            link.fill(beat_s)
        elif not link.fill(timeout):
            raise TimeoutError("timed out")
        self._pump(link)

    # --- what channels call

    def link_of(self, channel: AnyChannel) -> Link:
        """The link, when *channel* is open on it. Raises the reason why it is not, ChannelError or ConnectionError."""
        link = self._open_link()
        now = time.monotonic()
        if now - self._looked_at > LOOK_S:
            self._looked_at = now
            link.fill(0)
            self.wake()
        if channel.closed_by is not None:
            raise channel.closed_by.copy()
        try:
            link.check_channel(channel.channel_id)
        except ChannelError as error:
            self.drop_channel(channel, error)
            raise
        return link

    def wake(self) -> None:
        """See to it that an event loop that sleeps on the descriptor hears of what was read on the side.

        The socket is silent about it, so the broker is asked for a word: every channel answers to flow.
        """
        link = self._open_link()
        self._pump(link)
        if not self._is_polled or self._is_draining or self._is_nudged or not link.channels:
            return
        if self._events or link.has_news():
            self._is_nudged = True
            link.send(amqp.method(next(iter(link.channels)), FLOW, True))

    def has_channel(self, number: int) -> bool:
        """Whether channel *number* is open."""
        return self._link is not None and self._link.is_open and number in self._link.channels

    def remove_channel(self, channel: AnyChannel) -> None:
        """Close *channel*, if it is open."""
        if channel.closed_by is not None:
            return
        self.drop_channel(channel, ChannelError(f"channel {channel.channel_id} was closed"))
        if self._link is not None and os.getpid() == self._pid:
            self._link.close_channel(channel.channel_id)

    def drop_channel(self, channel: AnyChannel, why: ChannelError) -> None:
        """Forget a channel that is closed, and what came for it."""
        channel.closed_by = why.copy()
        self._is_nudged = False  # it may be this channel that was asked, and now it will not answer
        if self.channels.get(channel.channel_id) is channel:
            del self.channels[channel.channel_id]
            self.callbacks.pop(channel.channel_id, None)
        self._events = deque(entry for entry in self._events if entry[0] is not channel)

    def channel_closed(self, channel: AnyChannel, event: Event) -> ChannelError:
        """Forget *channel*, which the broker closed; returns the error that says why."""
        error = self._open_link().channel_closed(event)
        self.drop_channel(channel, error)
        return error

    def give_back(self, channel: AnyChannel, consumer_tag: str) -> None:
        """Return to the queue what came for a consumer that was cancelled and was not handed over."""
        kept: deque[tuple[AnyChannel, Event]] = deque()
        for entry in self._events:
            if entry[0] is not channel or entry[1][1] != DELIVER or entry[1][2][0] != consumer_tag:
                kept.append(entry)
            elif consumer_tag not in channel.no_ack_consumers:
                channel.basic_reject(entry[1][2][1], requeue=True)
        self._events = kept

    # --- inner parts

    def _pump(self, link: Link) -> int:
        """Hand on what came, and say whether the broker takes messages; never within a write."""
        count = link.pump()
        if bool(link.blocked) != self._is_told_blocked:
            self._is_told_blocked = bool(link.blocked)
            if link.blocked and self.on_blocked is not None:
                self.on_blocked(link.blocked)
            elif not link.blocked and self.on_unblocked is not None:
                self.on_unblocked()
        return count

    def _open_link(self) -> Link:
        if self._link is None:
            raise ConnectionError(f"not connected to {self.hostname}:{self.port}: call connect()")
        if os.getpid() != self._pid:
            raise ConnectionError(f"this connection belongs to process {self._pid}; a child of a fork makes its own")
        if self._link.broken is not None:
            raise self._link.broken.copy()
        return self._link

    def _arrived(self, channel: AnyChannel, event: Event) -> None:
        if event[1] == FLOW_OK:
            self._is_nudged = False
        elif channel.on_event(event):
            self._events.append((channel, event))

    def _is_ours(self) -> bool:
        """Whether the descriptor is still that of this connection's socket."""
        return self._link is None or not self._link.is_open or _is_file(self._link.sock, self._inode)


def _spare_others(sock: socket.socket, inode: int) -> None:
    """Leave the number of *sock* to the file that has it by now: kombu closes that of a connection it gives up."""
    if not _is_file(sock, inode):
        sock.detach()


def _is_file(sock: socket.socket, inode: int) -> bool:
    try:
        return os.fstat(sock.fileno()).st_ino == inode
    except OSError:
        return False


def _split(host: str, port: int) -> tuple[str, int]:
    """Take ``host:port`` apart; an IPv6 address with a port stands in brackets."""
    if host.startswith("[") and "]" in host:
        name, _, rest = host[1:].partition("]")
        return name, int(rest[1:] or port)
    if host.count(":") == 1:
        name, _, rest = host.partition(":")
        return name or "localhost", int(rest or port)
    return host or "localhost", int(port)
