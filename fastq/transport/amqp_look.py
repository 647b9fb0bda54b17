"""A look through a queue of AMQP, which can only be consumed: take every message, settle some, let the rest go back.

1. One looks at a time. The next one waits, also until what a dead one held is back.
2. Messages are taken by windows, each on a channel of its own that may have so many out and no more. So there is never
   more under way than a window, the next one goes on where the last one ended, and an ack is found fast: the broker
   searches all that is out on the channel for it (20,000: 15 ms).
3. What is left at the end goes back to its place, window by window.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.link import Link
from fastq.exceptions import BrokerRefused
from fastq.transport import amqp_side
from fastq.transport.amqp_side import LOCKED, NOT_FOUND, Refusal, SideChannel, Step, refused

if TYPE_CHECKING:
    from fastq._ext.amqp import Event

WAIT_S = 10.0
"""How long to wait for another reader."""
CONFIRM_TIMEOUT_S = 30.0
QUIET_S = 2.0
"""After so long without a message, the rest of those counted was purged or has expired."""
PAUSE_S = 0.002
BACK_S = 5.0
"""How long to wait for what goes back, before others are let in."""
WINDOW, WINDOWS = 1000, 1000
ACKS, ACKS_PAUSE_S = 30, 0.05
"""RabbitMQ has 32 acks of a channel under way to a quorum queue, and forgets the others when the channel closes."""
_TAG = "look"


@contextmanager
def looking(side: SideChannel, queue: str) -> Iterator[Look]:
    """Look through *queue*, alone: a queue that does not exist is empty.

    Waits up to 10 s for another reader. Raises BrokerRefused when that goes on, ConnectionLost.
    """
    step = amqp_side.passive_queue(queue)
    if _ask(side, step) == (0, 0):
        yield Look(side.link, queue, 0, is_classic=True)
        return
    # An exclusive consumer excludes nobody from a quorum queue; an exclusive queue does, and it dies with us.
    lock = amqp_side.queue(f"{queue}.reader", durable=False, exclusive=True, auto_delete=True)
    deadline = time.monotonic() + WAIT_S
    while refusals := side.refusals([lock]):
        if refusals[0][1].code != LOCKED or time.monotonic() > deadline:
            raise refused(side, *refusals[0])
        _pause(side.link, PAUSE_S)
    try:
        ready, consumers = _ask(side, step)
        # One who was cut off, whose messages are not back yet; or another program, which would keep some from us.
        while consumers:
            if time.monotonic() > deadline:
                raise BrokerRefused(f"{side.link.where}: queue {queue!r} has {consumers} other consumers, which keep "
                                    "messages from whoever looks through it; stop them")
            _pause(side.link, PAUSE_S)
            ready, consumers = _ask(side, step)
        # Declared with other arguments it is refused: then it is a quorum queue, or treated as one.
        look = Look(side.link, queue, ready, is_classic=not side.refusals([amqp_side.queue(queue)]))
        try:
            yield look
        finally:
            if side.link.is_open:
                _give_back(side, step, look)
    finally:
        if side.link.is_open:
            side.run([Step("queue.delete", (lock.args[0], False, False, False))])


def _give_back(side: SideChannel, step: Step, look: Look) -> None:
    """Close the windows, each when what the one before it held can be counted again.

    A quorum queue takes its time for that, and would mix up the windows, and leave some out for the next reader. It
    appends what comes back, where a classic one sorts it in and searches the place from its head: 40 s for 100,000 from
    the oldest on, nothing from the newest on.
    """
    ready, _ = _ask(side, step)
    deadline = time.monotonic() + BACK_S
    for window in reversed(look.windows) if look.is_classic else look.windows:
        window.close()
        ready += window.held
        while _ask(side, step)[0] < ready and time.monotonic() < deadline:
            _pause(side.link, PAUSE_S)
    look.may_have_undone = bool(look.acked) and _ask(side, step)[0] > ready


def _ask(side: SideChannel, step: Step) -> tuple[int, int]:
    """Return how many messages are ready, and how many consumers there are."""
    answer, = side.run([step])
    if not isinstance(answer, Refusal):
        return answer[1], answer[2]
    if answer.code != NOT_FOUND:
        raise refused(side, step, answer)
    return 0, 0


def _pause(link: Link, pause_s: float) -> None:
    link.beat()
    link.fill(pause_s)
    link.pump()


class Look:
    """The messages of a queue, from the oldest to the newest of when the look began, window by window."""

    def __init__(self, link: Link, queue: str, ready: int, *, is_classic: bool) -> None:
        self.acked = 0
        """How many messages were removed for good."""
        self.may_have_undone = False
        """After the look: whether more came back than was held, so that perhaps some acks were lost."""
        self.is_classic = is_classic
        self._link = link
        self._queue = queue
        self._ready = ready
        self.windows: list[Window] = []
        self._unconfirmed: set[int] = set()
        self._failed: set[int] = set()
        self._returned: set[str] = set()

    def __iter__(self) -> Iterator[Window]:
        most = max(WINDOW, -(-self._ready // WINDOWS))
        left = self._ready
        while left > 0:
            window = Window(self, self._link, self._queue, min(left, most))
            self.windows.append(window)
            yield window
            if not window.is_full:
                return
            left -= most

    def publish(self, messages: Sequence[tuple[str, bytes]]) -> list[bool]:
        """Publish content to queues, wait until the broker has stored it, and return for each whether it has.

        Raises ConnectionLost when the broker does not confirm within 30 s.
        """
        link = self._link
        channel = link.open_channel()
        link.handlers[channel] = self._hear
        link.call(channel, METHODS["confirm.select"], False)
        self._unconfirmed, self._failed, self._returned = set(range(1, len(messages) + 1)), set(), set()
        for queue, content in messages:
            link.send(amqp.publish(amqp.publisher(channel, "", queue, True), content, link.frame_max))
        deadline = time.monotonic() + CONFIRM_TIMEOUT_S
        link.pump()
        while self._unconfirmed and channel in link.channels:
            left = deadline - time.monotonic()
            if left <= 0:
                raise link.lose(f"{len(self._unconfirmed)} messages were not confirmed in {CONFIRM_TIMEOUT_S:g} s")
            link.beat()
            link.fill(min(left, 1.0))
            link.pump()
        link.close_channel(channel)
        # Returned messages are confirmed like the others; the broker names only where they could not go.
        lost = self._failed | self._unconfirmed
        return [number not in lost and queue not in self._returned for number, (queue, _) in enumerate(messages, 1)]

    def _hear(self, event: Event) -> None:
        _, method, arguments, _ = event
        if method == METHODS["basic.return"]:
            self._returned.add(arguments[3])
        elif method in (METHODS["basic.ack"], METHODS["basic.nack"]):
            last, multiple = arguments[:2]
            settled = {number for number in self._unconfirmed if number == last or (multiple and number <= last)}
            self._unconfirmed -= settled
            if method == METHODS["basic.nack"]:
                self._failed |= settled


class Window:
    """Some of the messages of a queue, on a channel of their own: ``for tag, content in window``."""

    def __init__(self, look: Look, link: Link, queue: str, size: int) -> None:
        self.held = 0
        """How many messages were taken and not removed."""
        self._look = look
        self._link = link
        self._left = size
        self._channel = link.open_channel()
        self._consumer = link.decoder.watch(self._channel, _TAG)
        self._is_consuming = True
        link.call(self._channel, METHODS["basic.qos"], 0, size, False)
        link.call(self._channel, METHODS["basic.consume"], queue, _TAG, False, False, False, False, {})

    @property
    def is_full(self) -> bool:
        """Whether all came that were expected."""
        return self._left == 0

    def __iter__(self) -> Iterator[tuple[int, bytes]]:
        link, heard = self._link, time.monotonic()
        while self._left:
            if rows := link.decoder.take(self._consumer, self._left):
                heard = time.monotonic()
                self._left -= len(rows)
                self.held += len(rows)
                for tag, _, content in rows:
                    yield tag, content
            elif time.monotonic() - heard > QUIET_S:
                return
            else:
                _pause(link, QUIET_S)

    def ack(self, tags: Sequence[int]) -> None:
        """Remove messages from the queue for good."""
        if not tags:
            return
        self._cancel()  # else the broker would send others for them
        is_all = len(tags) == self.held and not self._left
        acks = [amqp.method(self._channel, METHODS["basic.ack"], tag, is_all) for tag in tags[-1 if is_all else 0:]]
        for start in range(0, len(acks), ACKS):
            if start and not self._look.is_classic:
                _pause(self._link, ACKS_PAUSE_S)
            self._link.send(b"".join(acks[start:start + ACKS]))
        self._look.acked += len(tags)
        self.held -= len(tags)

    def close(self) -> None:
        """Give back the rest."""
        self._link.decoder.unwatch(self._consumer)
        if self._left:
            self._cancel()
        # A basic.nack of them all would do it too, but mixes up more than 32 of a quorum queue.
        self._link.close_channel(self._channel)

    def _cancel(self) -> None:
        if self._is_consuming:
            self._is_consuming = False
            self._link.call(self._channel, METHODS["basic.cancel"], _TAG, False)
