"""Messages that are to be sent: those offered, and those that came back. Numbers them, and knows what is settled.

1. A message has its number when it is taken; `settled` tells up to where all have a place at the broker.
2. What comes back is declared a place for, and sent once more. What a queue refuses is sent again for a while.
3. What the broker does not take even so is told to whoever flushes; what was offered becomes a dead letter, since
   nobody else has it.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

from fastq._ext import amqp
from fastq.amqp.link import Link
from fastq.exceptions import BrokerRefused, TransportError
from fastq.transport.amqp_again import Again
from fastq.transport.amqp_future import seconds_until, tells_time
from fastq.transport.amqp_pipe import Pipe
from fastq.transport.amqp_refusal import MOST_NAMES, Failures, Sent, given_up, is_dead, listed
from fastq.transport.amqp_route import REPLY, Routes
from fastq.types import Message

logger = logging.getLogger("fastq.transport.amqp")

WINDOW = 1000
"""Messages on their way without a confirm."""
RETRY_FIRST_S, RETRY_MOST_S = 0.1, 5.0


class Outbox(Pipe):
    """What is to be sent over one connection after the other; not thread-safe."""

    def __init__(self, connect: Callable[[float], Link], routes: Routes, timeout_s: float,
                 on_link: Callable[[Link | None], None]) -> None:
        super().__init__(connect, routes, timeout_s, on_link)
        self._offered: deque[Message] = deque()
        self._second_chance: set[int] = set()
        """Hashes of messages that came back and were sent once more."""
        self._again = Again(timeout_s)
        self._floor: tuple[int, int] | None = None
        """(settled, until): a message that came back is on its way again, so nothing above counts as settled."""
        self._failures = Failures(WINDOW)
        self._keeps = False
        """Messages were offered: whoever did so waits for nothing, and hears of no failure."""
        self._waits_to_ask = False
        """The next message offered needs a declaration, which waits until all that was sent is confirmed."""
        self._retry_at = 0.0
        self._pause_s = RETRY_FIRST_S

    @property
    def pending(self) -> int:
        """Messages that are not confirmed."""
        return len(self._sent) + len(self._offered) + len(self._returned) + len(self._again)

    @property
    def settled(self) -> int:
        """All messages up to this number, as `offer` gave it, are confirmed."""
        if self._floor is None:
            return self._sent.confirmed
        if not self._returned and not self._again and self._sent.confirmed >= self._floor[1]:
            self._floor = None
            self._second_chance.clear()
            self._again.forget()
            return self._sent.confirmed
        return self._floor[0]

    def _names(self) -> str:
        contents = [Sent.read(frames).content for frames in self._sent.again()[:MOST_NAMES]]
        contents += [sent.content for sent in self._returned + self._again.waiting]
        contents += [message.content for message in self._offered]
        return listed(contents, self.pending)

    def _break(self, error: TransportError) -> None:
        self._let_go(abandon=True)
        if self.pending:
            logger.warning("%s; %d messages are not confirmed yet", error, self.pending)

    def _read(self, timeout_s: float) -> None:
        assert self._link is not None
        self._pump(self._link, 0.0 if self._returned else timeout_s)
        if self._returned:
            self._send_returned()

    # -- sending -------------------------------------------------------------------------------

    def _put_off(self, error: TransportError) -> None:
        logger.warning("%s; %d messages wait to be published; trying again in %.1f s",
                       error, self.pending, self._pause_s)
        self._retry_at = time.monotonic() + self._pause_s
        self._pause_s = min(self._pause_s * 2, RETRY_MOST_S)

    def _can_send_offered(self) -> bool:
        link = self._link
        if not self._offered or link is None or link.blocked or (self._waits_to_ask and self._sent):
            return False
        return len(self._sent) < WINDOW

    def _send_offered(self) -> None:
        link, batch = self._link, list[bytes]()
        assert link is not None
        failure: Exception | None = None
        self._waits_to_ask = False
        while self._offered and len(self._sent) + len(batch) < WINDOW and failure is None:
            if (batch or self._sent) and not self._is_known(self._offered[0]):
                # A broker that blocks publishers reads no question either. Once all is confirmed, it does not block.
                self._waits_to_ask = True
                break
            try:
                batch.append(self._encode_offered(self._offered[0]))
                self._offered.popleft()
            except TransportError as error:
                failure = error
        if batch:
            self._note(batch)
            link.send(b"".join(batch))
        if failure is not None:
            raise failure

    def _is_known(self, message: Message) -> bool:
        """Whether nothing has to be asked before *message* can be sent."""
        assert self._side is not None
        if (message.exchange, message.queue) in self._prefixes and (message.run_at is None or is_due(message)):
            return True
        return self._routes.is_open(self._side, message.queue, message.run_at, message.exchange)

    def _encode_offered(self, message: Message) -> bytes:
        try:
            return self._encode(*message)
        except (BrokerRefused, ValueError) as error:
            if is_dead(message):
                raise
            return self._encode(*given_up(message, f"it could not be published: {error}"))

    def _encode(self, queue: str, content: bytes, priority: int, run_at: float | None, exchange: str) -> bytes:
        prefix = self._prefixes.get((exchange, queue)) if run_at is None else None
        if prefix is None:
            # The first message there, or one that goes a way of its own.
            assert self._side is not None
            place = self._routes.place(self._side, queue, content, run_at, exchange)
            content = place.content
            prefix = amqp.publisher(self._channel, place.exchange, place.routing_key, place.is_mandatory)
            if not place.is_passing:
                self._prefixes[exchange, queue] = prefix
        return amqp.publish(prefix, content, self._frame_max, priority)

    # -- what the broker does not take -----------------------------------------------------------

    def _hold(self) -> None:
        self._floor = self.settled, self._sent.sent + len(self._offered)

    def _send_returned(self) -> None:
        """Queues are gone: declare them again and send once more what came back; then it is refused."""
        assert self._side is not None
        settled = self.settled
        returned, self._returned = self._returned, []
        first = [sent for sent in returned if hash(sent.content) not in self._second_chance]
        for sent in returned:
            if hash(sent.content) in self._second_chance:
                self._refused(sent, f"no queue took {sent}: bind a queue to it")
        for sent in first:
            self._routes.forget(self._side, sent.routing_key, sent.exchange)
            self._prefixes.pop((sent.exchange, sent.routing_key), None)
            self._offered.append(Message(sent.routing_key, sent.content, exchange=sent.exchange))
        self._second_chance.update(hash(sent.content) for sent in first)
        self._floor = settled, self._sent.sent + len(self._offered)
        if self._can_send_offered():
            self._send_offered()

    def _nacked(self, sent: Sent) -> None:
        is_news = not self._again and not self._again.knows(sent)
        if self._routes.has_limit(sent.routing_key, sent.exchange) or not self._again.add(sent):
            self._refused(sent, _nack(sent))
            return
        if is_news:
            logger.warning("%s; it is sent again for %g s", _nack(sent), self._timeout_s)
        self._hold()

    def _offer_again(self) -> None:
        """Have sent what was refused, if it is time to."""
        if self._again.due_in != 0.0:
            return
        settled = self.settled
        for sent in self._again.take():
            exchange = sent.exchange if sent.exchange or sent.is_mandatory else REPLY
            self._offered.append(Message(sent.routing_key, sent.content, exchange=exchange))
        self._floor = settled, self._sent.sent + len(self._offered)

    def _give_up_refused(self) -> bool:
        """Send no more what was refused: whoever waits for it waits no longer. Returns whether there was any."""
        settled = self.settled
        refused = self._again.take()
        for sent in refused:
            self._refused(sent, _nack(sent))
        if refused:
            self._floor = settled, self._sent.sent + len(self._offered)
        return bool(refused)

    def _refused(self, sent: Sent, why: str, *, is_final: bool = False) -> None:
        message = Message(sent.routing_key, sent.content, exchange=sent.exchange)
        if not self._keeps or not sent.is_mandatory or (is_final and is_dead(message)):
            logger.error("%s", why)
            self._failures.add(why, sent)
            return
        if is_dead(message):
            # There is no other place for it: it waits here.
            self._put_off(TransportError(why))
        else:
            message = given_up(message, why)
        self._offered.append(message)
        self._hold()


def is_due(message: Message) -> bool:
    """Whether *message*, which has a time, goes to its queue at once all the same: its worker waits for the rest."""
    assert message.run_at is not None
    now = time.time()
    # What is far ahead, perhaps too far for any queue, is not near.
    is_near = message.run_at - now <= 2.0 and not seconds_until(message.run_at, now, is_early=True)
    return is_near and tells_time(message.content)


def _nack(sent: Sent) -> str:
    return f"RabbitMQ refused {sent} (basic.nack): its queue is full or failed"
