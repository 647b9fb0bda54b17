"""Consuming over AMQP: one connection, one channel, one consumer per queue, each with a window of its own.

The broker pushes up to a window of deliveries. The window of a running consumer cannot be changed, so a new one
takes the place of the old. What is acknowledged only when something else was confirmed waits at a gate.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence

from fastq._ext import amqp
from fastq.amqp.link import Link
from fastq.exceptions import ConnectionLost, NotHeld
from fastq.types import Deliveries

FEW = 32
"""Below this a window is kept to the letter."""
SHRINK_S = 1.0
"""A window shrinks when it has been too large for so long: what is under way meanwhile comes back."""
STILL_S = 0.1
"""What the broker has not sent for so long is not under way."""
GATE_S = 0.1
"""What cannot be acknowledged for so long, as the broker blocks publishers, must not keep others from coming."""
MOST = 65535
"""The largest window that AMQP can say."""

_QOS, _CONSUME, _CANCEL, _GET = (amqp.METHODS[f"basic.{name}"] for name in ("qos", "consume", "cancel", "get"))
_CONSUME_OK, _CLOSE = amqp.METHODS["basic.consume-ok"], amqp.METHODS["channel.close"]
PRECONDITION_FAILED = 406
_GOT = frozenset(amqp.METHODS[f"basic.{name}"] for name in ("get-ok", "get-empty"))

Runs = list[tuple[int, int]]


class Lane:
    """The consumers of one queue: together they have the window that is wanted, and their deliveries gather as one."""

    def __init__(self, queue: str, home: str = "") -> None:
        self.queue = queue
        self.home = home or queue
        """Whose messages they are."""
        self.number = -1
        """Where the decoder gathers the deliveries."""
        self.wanted = self.window = 0
        """Deliveries that the broker should be allowed to push, and those that it may."""
        self.large_at = 0.0
        """When the window was last about as large as it should be."""
        self.taps: dict[str, int] = {}
        """The window of each consumer, by its tag."""
        self.asked: set[str] = set()
        """Tags that the broker has not confirmed. Until it does, RabbitMQ fails at a basic.cancel."""
        self.is_chosen = True
        """Whether the queue is consumed; if it was before, what came of it is still taken."""

    def too_many(self) -> list[str]:
        """Return the consumers to cancel, so that no more than what is wanted is left."""
        left, gone = self.window, list[str]()
        for tag in reversed(self.taps):
            if left <= self.wanted:
                break
            left -= self.taps[tag]
            gone.append(tag)
        return gone


class Consumer:
    """Takes deliveries from *queues* over *link*, and settles them. Tags start above *base*.

    *on_get* hears the answer to each `get`, which may be that the broker closes the channel.
    """

    def __init__(self, link: Link, queues: Sequence[str], base: int, *, arguments: Callable[[str], dict[str, object]],
                 on_get: Callable[[amqp.Event], None]) -> None:
        self.link = link
        self._base = base
        self._arguments = arguments
        self._on_get = on_get
        self._is_getting = False
        self._channel = link.open_channel()
        link.handlers[self._channel] = self._on_event
        self.held = amqp.Held(self._channel, base)
        self._lanes = [Lane(queue) for queue in queues]
        self._stand_ins: dict[str, Lane] = {}
        """Of queues from which this consumer alone gets what it put there, beside all windows; see `follow`."""
        self._stood: list[int] = []
        """Tags of deliveries from there."""
        self._first = 0
        self._made = 0
        self._gates: deque[tuple[int, Runs, float]] = deque()
        """(number of a message, what may be acknowledged when it is confirmed, since when that waits)."""
        self._room = 0
        """By how much the windows are larger for what waits at gates."""
        self._came_at = self.taken_at = 0.0
        """When bytes came, and when deliveries were last taken."""
        self._at_gates = 0
        self._out: list[bytes] = []

    @property
    def queues(self) -> list[str]:
        """The names of the queues."""
        return [lane.queue for lane in self._lanes if lane.is_chosen]

    def choose(self, queues: Sequence[str]) -> None:
        """Consume exactly *queues* from now on; the next `resize` opens the windows of those that are new."""
        known = {lane.queue for lane in self._lanes}
        self._lanes += [Lane(queue) for queue in queues if queue not in known]
        for lane in self._lanes:
            lane.is_chosen = lane.queue in queues
            if not lane.is_chosen:
                lane.wanted = 0
                self._apply(lane)

    # -- windows -------------------------------------------------------------------------------

    def resize(self, wanted: int) -> None:
        """Have about *wanted* deliveries in hand, of any queue. Few are exact: a long task may hold each of them."""
        now = time.monotonic()
        self._room = self._stuck(now)
        share = min(MOST, max(1, wanted + self._room))
        for lane in self._lanes:
            if not lane.is_chosen:
                continue
            window = lane.window
            if share > window:
                # A few large steps, not many small ones.
                lane.wanted = share if share < FEW else min(MOST, max(share, window * 3 // 2))
            elif share > window // 2 and (share >= FEW or share >= window):
                lane.large_at = now
            elif now - lane.large_at >= SHRINK_S and self.is_still:
                lane.wanted = share
            if lane.wanted != window:
                self._apply(lane)

    def _stuck(self, now: float) -> int:
        """Deliveries that ended some time ago and cannot be acknowledged: the broker still counts them."""
        return self._at_gates if self._gates and now - self._gates[0][2] >= GATE_S else 0

    @property
    def cramped_in(self) -> float | None:
        """Seconds until `resize` should make room for what waits at gates; None when nothing does, or it did."""
        if self._at_gates <= self._room:
            return None
        return max(0.0, self._gates[0][2] + GATE_S - time.monotonic())

    @property
    def is_still(self) -> bool:
        """Whether nothing is under way: the broker has pushed all that it may, or has had nothing for a while."""
        window = sum(lane.window for lane in self._lanes)
        return len(self.held) + self.gathered >= window or time.monotonic() - self._came_at >= STILL_S

    def follow(self, queue: str, home: str) -> None:
        """Take all that comes in *queue*, as if it came from queue *home*; once more does nothing."""
        if queue not in self._stand_ins:
            lane = self._stand_ins[queue] = Lane(queue, home)
            self._consume(lane, MOST)

    def pause(self) -> None:
        """Ask for nothing more, until the next `resize`."""
        for lane in self._lanes:
            lane.wanted = 0
            self._apply(lane)

    def finish(self) -> None:
        """Ask for nothing more, and take in all that is under way. Raises ConnectionLost."""
        self.pause()
        # A consumer that was just made cannot be cancelled before the broker has confirmed it.
        while self._out or any(lane.asked for lane in self._lanes) or self._is_getting:
            self.send()
            # The answer comes after everything that was sent before.
            self.link.call(self._channel, _QOS, 0, 1, False)

    def close(self) -> None:
        """Close the channel: when this returns, the broker has read every ack. Raises ConnectionLost."""
        self.link.close_channel(self._channel)

    def _apply(self, lane: Lane) -> None:
        """Bring the window of a queue to what is wanted.

        It grows by one more consumer: what is under way to a consumer that is cancelled comes back, marked as if
        its holder had vanished.
        """
        if lane.wanted == lane.window or lane.asked:
            return
        lane.large_at = time.monotonic()
        for tag in lane.too_many():
            lane.window -= lane.taps.pop(tag)
            self._out.append(amqp.method(self._channel, _CANCEL, tag, False))
        if lane.wanted > lane.window:
            self._consume(lane, lane.wanted - lane.window)

    def _consume(self, lane: Lane, window: int) -> None:
        self._made += 1
        tag = f"fastq.{self._made}"
        lane.number = self.link.decoder.watch(self._channel, tag, self._base, lane.number)
        lane.taps[tag] = window
        lane.window += window
        lane.asked.add(tag)
        self._out.append(amqp.method(self._channel, _QOS, 0, window, False))
        self._out.append(amqp.method(self._channel, _CONSUME, lane.queue, tag, False, False, False, False,
                                     self._arguments(lane.queue)))

    def _on_event(self, event: amqp.Event) -> None:
        _, method, args, _ = event
        if method in _GOT or (method == _CLOSE and args[2] << 16 | args[3] == _GET):
            self._is_getting = False
            self._on_get(event)
        if method == _CONSUME_OK:
            for lane in self._lanes:
                if args[0] in lane.asked:
                    lane.asked.discard(args[0])
                    self._apply(lane)
        elif method == _CANCEL:
            self._cancelled(args[0])
        elif method == _CLOSE:
            raise ConnectionLost(f"RabbitMQ at {self.link.where} {_why_closed(args[0], args[1])}")

    def _cancelled(self, tag: str) -> None:
        for lane in (*self._lanes, *self._stand_ins.values()):
            if tag in lane.taps:
                # Whoever attaches again declares it again.
                raise ConnectionLost(f"queue {lane.queue!r} was deleted on RabbitMQ at {self.link.where}")

    # -- deliveries ----------------------------------------------------------------------------

    def read(self, timeout_s: float = 0.0) -> int:
        """Take in what the broker has sent; returns how many bytes. Raises ConnectionLost."""
        count = self.link.fill(timeout_s)
        if count:
            self._came_at = time.monotonic()
            self.link.pump()
        return count

    @property
    def gathered(self) -> int:
        """Deliveries that have come and were not taken."""
        return self.link.decoder.gathered()

    def take(self, credit: int) -> Deliveries:
        """Take up to *credit* deliveries, of all queues in turn."""
        found: Deliveries = []
        if len(self._lanes) == 1:
            self._take_from(self._lanes[0], credit, found)
            return found
        left = min(credit, self.gathered)
        if left <= 0:
            return found
        lanes = self._lanes[self._first:] + self._lanes[:self._first]
        self._first = (self._first + 1) % len(lanes)
        for at, lane in enumerate(lanes):
            share = -(-left // (len(lanes) - at))
            left -= self._take_from(lane, share, found)
        if left:        # what some did not need, others may have
            for lane in lanes:
                left -= self._take_from(lane, left, found)
        return found

    @property
    def has_stand_ins(self) -> bool:
        """Whether there is something for `take_stand_ins`."""
        return any(self.link.decoder.gathered(lane.number) for lane in self._stand_ins.values())

    def take_stand_ins(self) -> Deliveries:
        """Take all that came from queues that are followed: they stand in for what is in hand, so they need no room."""
        found: Deliveries = []
        for lane in self._stand_ins.values():
            if self._take_from(lane, MOST, found):
                self._stood += [row[0] for row in found[-1][1]]
        return found

    def _take_from(self, lane: Lane, most: int, found: Deliveries) -> int:
        if most <= 0 or lane.number < 0 or not self.link.decoder.gathered(lane.number):
            return 0
        rows = self.link.decoder.take(lane.number, most)
        self.held.add_rows(rows)
        found.append((lane.home, rows))
        self.taken_at = time.monotonic()
        return len(rows)

    def get(self, queue: str) -> None:
        """Ask for one message of *queue*, whatever the windows are; one at a time."""
        self._is_getting = True
        self._out.append(amqp.method(self._channel, _GET, queue, False))

    def hold(self, tag: int) -> None:
        """Take the delivery that `get` brought."""
        self.held.add(tag)
        self.taken_at = time.monotonic()

    @property
    def in_hand(self) -> int:
        """Deliveries that were taken by windows and have not ended."""
        if self._stood:
            self._stood = [tag for tag in self._stood if self.holds(tag)]
        return len(self.held) - self._at_gates - len(self._stood)

    @property
    def unread(self) -> int:
        """How many deliveries the windows allow beside those that were taken."""
        return max(0, sum(lane.window for lane in self._lanes) - self.in_hand - self._at_gates)

    def holds(self, tag: int) -> bool:
        """Whether a delivery was taken and has not ended."""
        return self.held.holds(tag, tag)

    # -- endings -------------------------------------------------------------------------------

    @property
    def is_gated(self) -> bool:
        """Whether something that ended waits for a confirm."""
        return self._at_gates > 0

    def check(self, *many: Runs) -> None:
        """Raise NotHeld when a tag is not held."""
        holds = self.held.holds
        for runs in many:
            for first, last in runs:
                if not holds(first, last):
                    raise NotHeld(f"deliveries {first} to {last} are not held here; the broker has them, or they ended")

    def ack(self, runs: list[tuple[int, int]], gate: int = 0) -> None:
        """Acknowledge *runs*, once all that was published up to number *gate* is confirmed.

        Together rather than one by one: of a quorum queue's acks RabbitMQ keeps some back when too many are under way,
        and drops those with the channel.
        """
        if gate and runs:
            self._gates.append((gate, runs, time.monotonic()))
            self._at_gates += sum(last - first + 1 for first, last in runs)
        elif runs:
            self._out.append(self.held.ack(runs))

    def requeue(self, runs: Runs) -> None:
        """Have the broker put deliveries back itself, which marks them as delivered before."""
        if runs:
            self._out.append(self.held.reject(runs, True))

    def reject(self, runs: Runs) -> None:
        """Have the broker drop deliveries, or dead-letter them where their queue says so."""
        if runs:
            self._out.append(self.held.reject(runs, False))

    def open_gates(self, settled: int) -> Runs:
        """Return what waited for messages up to number *settled*, to be acknowledged now."""
        ready: Runs = []
        while self._gates and self._gates[0][0] <= settled:
            runs = self._gates.popleft()[1]
            self._at_gates -= sum(last - first + 1 for first, last in runs)
            ready += runs
        return ready

    def send(self) -> None:
        """Send what was decided. Raises ConnectionLost."""
        if self._out:
            self.link.send(b"".join(self._out))
            self._out = []


def _why_closed(code: int, text: str) -> str:
    if code == PRECONDITION_FAILED and "delivery acknowledgement" in text:
        return ("gave what this worker holds to others, as a task of it was not acknowledged within consumer_timeout: "
                "set that higher than the longest task takes, in rabbitmq.conf, or from RabbitMQ 3.12 on for a queue, "
                f"by its argument x-consumer-timeout or a policy ({text})")
    return f"closed the channel for consuming: {code} {text}"
