"""A connection for publishing that is made anew when it breaks, and then sends again what was not confirmed.

1. `_open` connects, declares what was declared before, and sends again. One deadline holds for each of its steps.
2. `_on_event` counts confirms, and collects what came back.
3. The broker closes the channel for a message that it finds wrong, and does not say which one it was. So the next
   connection sends one at a time: the one that closes it again is given up, and takes no other along.
"""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable

from fastq._ext import amqp
from fastq.amqp.link import Link
from fastq.exceptions import BrokerRefused, ConnectionLost
from fastq.transport.amqp_confirm import Unconfirmed
from fastq.transport.amqp_refusal import Sent
from fastq.transport.amqp_route import Routes
from fastq.transport.amqp_side import NOT_FOUND, SideChannel

logger = logging.getLogger("fastq.transport.amqp")

_ACK, _NACK, _RETURN = amqp.METHODS["basic.ack"], amqp.METHODS["basic.nack"], amqp.METHODS["basic.return"]
_SELECT, _CLOSE, _PUBLISH = (amqp.METHODS[name] for name in ("confirm.select", "channel.close", "basic.publish"))
_QOS = amqp.METHODS["basic.qos"]
"""Asked of a broker that is silent; for a channel that only publishes it means nothing."""


class Pipe(ABC):
    """What was sent and its connection; not thread-safe. *connect* opens one in so many seconds at most."""

    def __init__(self, connect: Callable[[float], Link], routes: Routes, timeout_s: float,
                 on_link: Callable[[Link | None], None]) -> None:
        self._connect = connect
        self._routes = routes
        self._timeout_s = timeout_s
        self._on_link = on_link
        self._link: Link | None = None
        self._side: SideChannel | None = None
        self._channel = self._frame_max = 0
        self._prefixes: dict[tuple[str, str], bytes] = {}
        """The publish frame of each (exchange, queue) that was declared."""
        self._sent = Unconfirmed()
        self._returned: list[Sent] = []
        self._heard_at = 0.0
        """When the broker said something last, or could have begun to: nothing was unconfirmed before."""
        self._is_probed = False
        self._objection: tuple[int, str] | None = None
        """Why the broker closed the channel of this connection, if it did so for a message."""
        self._is_wary = False
        """It did so, and the message was not found yet."""
        self._is_blocked = False
        """The log says that the broker takes no messages."""

    @property
    def link(self) -> Link | None:
        """The connection, while there is one."""
        return self._link

    @property
    @abstractmethod
    def pending(self) -> int:
        """Messages that are not confirmed."""

    @abstractmethod
    def _refused(self, sent: Sent, why: str, *, is_final: bool = False) -> None:
        """Take note of a message that the broker does not take; it counts as confirmed right after.

        When it *is_final*, the broker would not take it at another time either.
        """

    @abstractmethod
    def _nacked(self, sent: Sent) -> None:
        """Take note of a message that its queue does not take now; it counts as confirmed right after."""

    # -- the connection ------------------------------------------------------------------------

    def _open(self, timeout_s: float) -> None:
        """Have a connection on which all that is unconfirmed was sent. Raises TransportError; then there is none."""
        link = self._connect(timeout_s)
        link.call_timeout_s = self._timeout_s
        self._link, self._heard_at, self._is_probed = link, time.monotonic(), False
        self._on_link(link)
        try:
            self._channel = link.open_channel()
            link.call(self._channel, _SELECT, False)
            link.handlers[self._channel] = self._on_event
            self._side, self._frame_max = SideChannel(link), link.frame_max
            again = self._sent.again()
            self._declare_again(self._side, again)
            if again:
                logger.warning("%s: %d unconfirmed messages are published again", link.where, len(again))
                self._send_again(link, again)
        except BaseException:
            self._let_go(abandon=True)
            raise

    def _declare_again(self, side: SideChannel, again: list[bytes]) -> None:
        """Declare what was declared over other connections: queues that died with their broker are missed by nobody."""
        places = list(self._prefixes)
        if self._is_wary:
            sent = dict.fromkeys(map(Sent.read, again))
            places += [(one.exchange, one.routing_key) for one in sent if one.exchange]
        for exchange, queue in dict.fromkeys(places):
            try:
                self._routes.declare(side, queue, exchange)
            except BrokerRefused as error:
                logger.warning("%s", error)
                self._prefixes.pop((exchange, queue), None)

    def _send_again(self, link: Link, again: list[bytes]) -> None:
        if not self._is_wary:
            link.send(b"".join(again))
            return
        for tag, frames in enumerate(again, 1):
            left, self._objection = len(self._sent), None
            try:
                link.send(frames)
                self._wait_for_less(link, left)
            except ConnectionLost:
                if self._objection is not None:
                    self._object(again, tag, *self._objection)
                raise
        self._is_wary = False

    def _object(self, again: list[bytes], tag: int, code: int, text: str) -> None:
        """Give up the message of *tag*; and where its exchange is missing, the others for there."""
        culprit = Sent.read(again[tag - 1])
        for number, frames in enumerate(again[tag - 1:], tag):
            sent = Sent.read(frames)
            if number == tag or (code == NOT_FOUND and sent.exchange == culprit.exchange):
                self._refused(sent, f"RabbitMQ refused {sent}: {code} {text}", is_final=True)
                self._sent.confirm(number, is_multiple=False)

    def _wait_for_less(self, link: Link, count: int) -> None:
        deadline = time.monotonic() + self._timeout_s
        while len(self._sent) >= count:
            left = deadline - time.monotonic()
            if left <= 0:
                raise link.lose(f"no confirm in {self._timeout_s:g} s")
            self._pump(link, left)

    def _let_go(self, *, abandon: bool) -> None:
        link, self._link = self._link, None
        self._is_blocked = False    # of the next connection the broker says it anew
        if link is not None:
            self._on_link(None)
            link.abandon() if abandon else link.close()

    # -- what the broker says ------------------------------------------------------------------

    def _pump(self, link: Link, timeout_s: float) -> None:
        """Take in what the broker says, waiting at most *timeout_s* for a first word. Raises ConnectionLost."""
        if link.fill(timeout_s):
            self._heard_at, self._is_probed = time.monotonic(), False
            link.pump()
        if bool(link.blocked) != self._is_blocked:
            self._tell_blocked(link.where, link.blocked)

    def _tell_blocked(self, where: str, why: str | None) -> None:
        self._is_blocked = bool(why)
        if why:
            logger.warning("RabbitMQ at %s takes no messages: %s; %d wait", where, why, self.pending)
        else:
            logger.info("RabbitMQ at %s takes messages again; %d wait", where, self.pending)

    def _note(self, frames: list[bytes]) -> None:
        """Take note of messages as sent, or about to be."""
        if not self._sent:
            self._heard_at, self._is_probed = time.monotonic(), False
        self._sent.add(frames)

    def _silent_s(self) -> float:
        """For how long the broker has owed a word."""
        link = self._link
        return 0.0 if link is None or link.blocked or not self._sent else time.monotonic() - self._heard_at

    def _ask_if_silent(self) -> None:
        """Ask a broker that is silent for a word: one that is merely slow has it. Raises ConnectionLost."""
        if self._link is not None and self._silent_s() >= self._timeout_s / 2 and not self._is_probed:
            self._is_probed = True
            self._link.send(amqp.method(self._channel, _QOS, 0, 1, False))

    def _expect_words(self) -> None:
        """Give up a connection whose other end owes a word for as long as a producer waits. Raises ConnectionLost.

        It may be gone without one; then only a new connection gets the messages stored.
        """
        self._ask_if_silent()
        if self._link is not None and self._silent_s() >= self._timeout_s:
            raise self._link.lose(f"messages were sent, and not a word came back in {self._silent_s():.1f} s")

    def _on_event(self, event: amqp.Event) -> None:
        _, method, args, content = event
        if method == _ACK:
            self._sent.confirm(args[0], args[1])
        elif method == _RETURN:
            assert content is not None
            self._hold()
            self._returned.append(Sent(args[2], args[3], True, content))
        elif method == _NACK:
            for frames in self._sent.up_to(args[0], args[1]):
                self._nacked(Sent.read(frames))
            self._sent.confirm(args[0], args[1])
        elif method == _CLOSE:
            if args[2] << 16 | args[3] == _PUBLISH:
                self._objection, self._is_wary = (args[0], args[1]), True
            raise ConnectionLost(f"RabbitMQ closed the channel for publishing: {args[0]} {args[1]}")

    @abstractmethod
    def _hold(self) -> None:
        """Let nothing count as settled from here on, until what came back has arrived elsewhere."""

