"""Suspects, messages that were in the hand of one who died: they wait at the broker, in a queue of their own.

1. `home` tells where a message belongs; `sift` takes those that belong elsewhere out of what came.
2. `ask` gets the next one when a worker has room for it. What waits in a worker is in hand, and would share the blame
   for the next death. So there are no more suspects in hand than children to run them.
3. One that is one death short of its limit is on trial: no other suspect is taken beside it. Of two in one hand, each
   would be condemned by a death that the other caused. Others have deaths left.
4. Nobody polls: a worker knows of those that it put there itself, the broker says with each whether there are more,
   and now and then a worker looks for those of others.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable

from fastq._ext import amqp, envelope
from fastq._ext.amqp import Rows
from fastq.exceptions import FrameError
from fastq.transport.amqp_consume import Consumer
from fastq.transport.amqp_side import NOT_FOUND, Refusal, SideChannel, passive_queue
from fastq.transport.amqp_trial_queue import trial_queue
from fastq.types import UNCOUNTED, Deliveries

Row = tuple[int, int, bytes]

LOOK_S = 5.0
"""How often to look into a trial queue that is known to exist, for what others put there: at no cost."""
SEARCH_S = 300.0
"""How often to ask for one that did not exist: RabbitMQ writes a line into its log each time."""
PATIENCE_S = 0.25
"""The broker may take so long to answer before others get the room that was kept for a suspect."""

_GET_OK, _CLOSE = amqp.METHODS["basic.get-ok"], amqp.METHODS["channel.close"]


class Trials:
    """Which queues may have suspects, and those in hand.

    *limit* is how many deaths a message may cause, *most* how many suspects to have in hand. *has_one* tells whether a
    queue has a trial queue.
    """

    def __init__(self, limit: int, most: int, has_one: Callable[[str], bool]) -> None:
        self._limit = limit
        self._most = most
        self._has_one = has_one
        self._barred: set[str] = set()
        """Queues whose trial queue this user may not read."""
        self._under_way: deque[tuple[int, str]] = deque()
        """(number of a message, queue): what was published and is not confirmed; it outlives a connection."""
        self.begin((), 0)

    def begin(self, queues: Iterable[str], base: int) -> None:
        """Consume *queues* anew, with tags above *base*: nothing is in hand."""
        self._base = base
        self._ready: dict[str, None] = {}
        """Queues that may have one, in turn."""
        self._known: set[str] = set()
        """Queues whose trial queue exists."""
        self.choose(queues)
        self._had_deaths = False
        """Whether anybody vanished since the last search."""
        self._asked: str | None = None
        self._found: tuple[str, Row] | None = None
        """What came and was not taken."""
        self._tags: list[int] = []
        """Suspects in hand."""
        self._is_trial = False
        """Whether the last of them is on trial."""
        self._had_turn = False
        self._asked_at = self._looked_at = self._searched_at = time.monotonic()

    def choose(self, queues: Iterable[str]) -> None:
        """Consume exactly *queues* from now on; what is in hand stays there."""
        self._queues = [queue for queue in queues if self._has_one(queue)]
        self._known.intersection_update(self._queues)
        self._ready = {queue: None for queue in self._ready if queue in self._queues}

    # -- where they are ------------------------------------------------------------------------

    def home(self, queue: str, deaths: int) -> str:
        """Return where on the broker a message of *queue* that caused so many *deaths* belongs."""
        return trial_queue(queue) if self._is_suspect(queue, deaths) else queue

    def _is_suspect(self, queue: str, deaths: int) -> bool:
        return 0 < deaths & ~UNCOUNTED < self._limit and queue not in self._barred and self._has_one(queue)

    def sent(self, queue: str, deaths: int, number: int) -> None:
        """Take note that a message of so many *deaths* was sent home, as message *number*."""
        if self._is_suspect(queue, deaths):
            self._under_way.append((number, queue))

    def saw_death(self) -> None:
        """Take note that somebody vanished: what he tried, or put aside, may be left to us."""
        self._had_deaths = True

    def arrived(self, settled: int) -> None:
        """Take note that all up to number *settled* is stored."""
        while self._under_way and self._under_way[0][0] <= settled:
            self._see(self._under_way.popleft()[1])

    def _see(self, queue: str) -> None:
        if queue in self._queues and self._has_one(queue):
            self._known.add(queue)
            self._ready[queue] = None

    def search(self, side: SideChannel) -> None:
        """Find the trial queues that others made. Raises ConnectionLost."""
        self._searched_at, self._had_deaths = time.monotonic(), False
        unknown = [queue for queue in self._queues if queue not in self._known | self._barred]
        for queue, answer in zip(unknown, side.run([passive_queue(trial_queue(one)) for one in unknown]), strict=True):
            if not isinstance(answer, Refusal):
                self._known.add(queue)
                if answer[1]:
                    self._ready[queue] = None

    def look(self, side: SideChannel) -> None:
        """Look, when it is time to, for what others put there. Raises ConnectionLost."""
        now = time.monotonic()
        if now - self._looked_at >= LOOK_S:
            self._looked_at = now
            if now - self._searched_at >= SEARCH_S or self._had_deaths:
                self.search(side)
            self._ready.update(dict.fromkeys(self._known))

    @property
    def is_sending(self) -> bool:
        """Whether a message was sent home that `arrived` did not tell of."""
        return bool(self._under_way)

    # -- in hand -------------------------------------------------------------------------------

    @property
    def is_idle(self) -> bool:
        """Whether there is no suspect, neither here nor to be asked for."""
        return not self._ready and not self._tags and self._asked is None and self._found is None

    def sift(self, deliveries: Deliveries) -> tuple[Deliveries, Deliveries]:
        """Return of *deliveries* what may run, and what belongs into a trial queue."""
        others: Deliveries = []
        suspects: Deliveries = []
        for queue, rows in deliveries:
            if isinstance(rows, Rows) and rows.marked:
                apart = [row for row in rows if self._is_suspect(queue, row[1])]
                if apart:
                    suspects.append((queue, apart))
                    rest = [row for row in rows if not self._is_suspect(queue, row[1])]
                    others += [(queue, rest)] if rest else []
                    continue
            others.append((queue, rows))
        self._had_turn = self._had_turn and not others
        return others, suspects

    def ask(self, consumer: Consumer, credit: int) -> None:
        """Ask for the next one, for which there is room, when there may be one and it is its turn."""
        if self._asked or self._found or not self._may_ask(consumer):
            return
        if credit == 1 and self._had_turn and consumer.gathered:
            return      # the others want to run too
        self._asked = next(iter(self._ready))
        del self._ready[self._asked]
        self._asked_at = time.monotonic()
        consumer.get(trial_queue(self._asked))

    def hear(self, event: amqp.Event) -> None:
        """Take in what the broker answered."""
        queue, self._asked = self._asked, None
        _, method, args, content = event
        assert queue is not None
        if method == _GET_OK:
            assert content is not None
            tag, is_redelivered, _, _, left = args
            self._found = queue, (self._base + tag, _deaths_of(content) | (UNCOUNTED if is_redelivered else 0), content)
            if left and queue in self._queues:
                self._ready[queue] = None
        elif method == _CLOSE and args[0] != NOT_FOUND:
            # It would be refused for ever, and each time what is held would be void.
            self._barred.add(queue)

    def take(self, consumer: Consumer) -> Deliveries:
        """Take what came."""
        if self._found is None:
            return []
        (queue, row), self._found = self._found, None
        consumer.hold(row[0])
        self._tags.append(row[0])
        self._is_trial = row[1] & ~UNCOUNTED == self._limit - 1
        self._had_turn = True
        return [(queue, [row])]

    def in_hand(self, consumer: Consumer) -> int:
        """How many suspects are in hand."""
        last = self._tags[-1:]
        self._tags = [tag for tag in self._tags if consumer.holds(tag)]
        self._is_trial = self._is_trial and last == self._tags[-1:]
        return len(self._tags)

    def _may_ask(self, consumer: Consumer) -> bool:
        return bool(self._ready) and self.in_hand(consumer) < self._most and not self._is_trial

    @property
    def expected(self) -> int:
        """How many have come, or may come soon: there has to be room for them."""
        is_late = self._asked is not None and time.monotonic() - self._asked_at >= PATIENCE_S
        return int(self._found is not None or (self._asked is not None and not is_late))

    @property
    def has_come(self) -> bool:
        """Whether there is one to take."""
        return self._found is not None

    def due_in(self, consumer: Consumer) -> float | None:
        """Seconds until `ask`, or a turn after it, has something to do for a worker that has room; None: nothing."""
        if self._found is not None:
            return 0.0
        if self._asked is not None:
            left_s = self._asked_at + PATIENCE_S - time.monotonic()
            return left_s if left_s > 0 else None
        return 0.0 if self._may_ask(consumer) else None


def _deaths_of(content: bytes) -> int:
    try:
        deaths: int = envelope.scan(content)["deaths"]
    except FrameError:
        return 0        # whoever runs it will say so
    return deaths
