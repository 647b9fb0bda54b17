"""One turn of the wheel: what ended leaves, what is wanted comes, and the children get it.

Duties: 1. collects completions; 2. settles them and fetches in one step of the transport;
3. stages the batch, lets odd messages be decided, acks early what acks early; 4. releases it;
5. hands un-started work back when every child is busy for long.
"""

from __future__ import annotations

import logging
import time

from fastq import points
from fastq._ext.ring import Ring
from fastq.backends.base import ResultStore
from fastq.transport.base import Transport
from fastq.types import Deliveries, Endings
from fastq.worker.decide import Decider
from fastq.worker.prefetch import Prefetch
from fastq.worker.settle import Settler

logger = logging.getLogger("celery.worker.consumer")

HAND_BACK_S = 0.25
"""Un-started work goes back to the broker when no child took any of it for so long."""
LINGER_S = 0.00015
EARLY_WINDOW = 64
"""Tasks that ack before they run are gone if the worker dies: hold few of them."""


class Consumer:
    """Moves deliveries from the transport into the ring, and their endings back."""

    def __init__(self, transport: Transport, ring: Ring, settler: Settler, decider: Decider,
                 prefetch: Prefetch, store: ResultStore | None = None) -> None:
        self._transport = transport
        self._ring = ring
        self._settler = settler
        self._decider = decider
        self._prefetch = prefetch
        self._store = store
        self._observed = (0, 0.0)
        self._progress = (0, time.monotonic())
        self.dry = False
        """The last fetch found less than it asked for: wait for the bell."""
        self.closing = False
        """Nothing more is fetched."""

    def turn(self) -> bool:
        """Do one turn; returns True when something moved."""
        collected = self._settler.collect()
        if collected:
            points.reach("collected")
            self._observe()
        credit = 0 if self.closing else self._prefetch.credit(self._ring.in_hand)
        if not self._settler.endings and (self.dry or credit == 0):
            return collected > 0
        deliveries = self.settle(credit)
        staged = self._stage(deliveries)
        if credit:
            self.dry = sum(len(rows) for _, rows in deliveries) < credit
        # What was decided while staging has an ending already, and somebody may wait for its result.
        return collected > 0 or staged > 0 or bool(self._settler.endings)

    def settle(self, credit: int = 0) -> Deliveries:
        """Hand all endings to the broker, and take up to *credit* deliveries."""
        endings = self._settler.take()
        try:
            if self._store is not None and endings.results:
                # Stored before the ack: a result may come twice, but is never missing.
                self._store.put(endings.results)
                endings.results = []
            points.reach("before-settle")
            deliveries = self._transport.turn(endings, credit)
            points.reach("settled")
            return deliveries
        except BaseException:
            self._settler.give_again(endings)
            raise

    def _stage(self, deliveries: Deliveries) -> int:
        for queue, rows in deliveries:
            for row in self._ring.stage(queue.encode(), rows):
                self._decider.decide(queue, row, self._settler.endings)
        early = self._ring.early()
        if early:
            few = max(EARLY_WINDOW, 2 * self._prefetch.children)
            self._prefetch.limit(few)
            if sum(last - first + 1 for first, last in early) > few:
                # The first that were seen, in a window made for others: fetch them again, in the smaller one.
                self._settler.endings.back += self._ring.unstage()
                return 0
            try:
                self._transport.turn(Endings(ack=early), 0)
                points.reach("early-acked")
            except BaseException:
                # The whole batch is still held, also by those who ack late: it goes back with the next step.
                self._settler.endings.back += self._ring.unstage()
                raise
        points.reach("staged")
        released = self._ring.release()
        points.reach("released")
        return released

    def _observe(self) -> None:
        runs, busy_s = self._ring.load_of()
        self._prefetch.observe(runs - self._observed[0], busy_s - self._observed[1])
        self._observed = (runs, busy_s)

    def hand_back(self, *, now: bool = False) -> int:
        """Give un-started deliveries back when the children stopped taking any, or at once; returns how many."""
        waiting = self._ring.waiting
        seen, since = self._progress
        mono = time.monotonic()
        if not now and (waiting == 0 or self._observed[0] != seen or mono - since < HAND_BACK_S):
            if waiting == 0 or self._observed[0] != seen:
                self._progress = (self._observed[0], mono)
            return 0
        self._prefetch.narrow()
        return self._settler.take_back()

    def linger(self) -> bool:
        """Look a moment longer for the end of the few short tasks that run; returns whether one came.

        To sleep and be woken takes longer than they do. Nothing is looked for under load, nor in an idle worker.
        """
        if not self._prefetch.is_quick or not 0 < self._ring.in_hand <= self._prefetch.children:
            return False
        until = time.perf_counter() + LINGER_S
        while time.perf_counter() < until:
            if self._settler.collect():
                self._observe()
                return True
        return False

    def arm(self) -> float | None:
        """Seconds that may be slept as far as the broker is concerned; None: until the bell."""
        if self.closing or not self.dry:
            return None
        due = self._transport.arm()
        if due == 0.0:
            self.dry = False
        return due

    def wake(self) -> None:
        """Take note that the bell rang."""
        self.dry = False
