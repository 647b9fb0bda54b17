"""One turn of the wheel: what ended leaves, what is wanted comes, and the children get it.

Duties: 1. collects completions; 2. settles them and fetches in one step of the transport;
3. stages the batch, lets odd messages be decided, acks early what acks early; 4. releases it;
5. hands un-started work back when every child is busy for long.
"""

from __future__ import annotations

import logging
import time

from fastq import points, signals
from fastq._ext.ring import Ring
from fastq.backends.base import ResultStore
from fastq.exceptions import BackendError, ConnectionLost, TransportError
from fastq.transport.base import Transport
from fastq.types import Claim, Deliveries, Endings
from fastq.worker.decide import Decider
from fastq.worker.join import Joiner
from fastq.worker.pace import Pace
from fastq.worker.prefetch import Prefetch
from fastq.worker.settle import Settler
from fastq.worker.tell import tell_received

logger = logging.getLogger("celery.worker.consumer")

HAND_BACK_S = 0.25
"""Un-started work goes back to the broker when no child took any of it for so long."""
LINGER_S = 0.00015
EARLY_WINDOW = 64
"""Tasks that ack before they run are gone if the worker dies: hold few of them."""


class Consumer:
    """Moves deliveries from the transport into the ring, and their endings back."""

    def __init__(self, transport: Transport, ring: Ring, settler: Settler, decider: Decider,
                 prefetch: Prefetch, store: ResultStore | None = None, joiner: Joiner | None = None) -> None:
        self._transport = transport
        self._ring = ring
        self._settler = settler
        self._decider = decider
        self._prefetch = prefetch
        self._store = store
        self._joiner = joiner
        self._joined: list[str | Claim] = []
        """Chords whose bodies were handed to the broker, and of which the store is to be told when it has them."""
        self._pushes = transport.caps.pushes
        self._defers = transport.caps.defers
        self._moved = 0
        """Messages that came or ended in the last turn."""
        self._pace = Pace()
        self._observed = (0, 0.0)
        self._progress = (0, time.monotonic())
        self.dry = False
        """The last fetch found less than it asked for: wait for the bell."""
        self._is_asking = False
        """The transport was last told that more is wanted; a broker that pushes listens only then."""
        self._rung = False
        """The broker has said something that was not listened to yet, and the bell rings until it is."""
        self.is_ahead = False
        """The broker pushed more than there is room for."""
        self.sender: object = self
        """Who receivers are told has received a task, under `hostname`."""
        self.hostname = ""
        self.logs_received = False
        """Whether each task that comes has its line in the log."""
        self.closing = False
        """Nothing more is fetched."""

    def turn(self) -> bool:
        """Do one turn; returns True when something moved."""
        if self._moved and self._pushes:
            # A broker that pushes is listened to on a beat while it has much to say.
            pause_s = self._pace.after(self._moved, self._prefetch.size)
            if pause_s:
                time.sleep(pause_s)
            self._rung = self._rung or pause_s is not None
        collected = self._settler.collect()
        if collected:
            points.reach("collected")
            self._observe()
        if self._joined and self._transport.has_settled:
            self._close_joined()
        credit = 0 if self.closing else self._prefetch.credit(self._ring.in_hand)
        is_told = self._is_asking or not self._pushes
        is_quiet = not self._settler.endings and not self._settler.aged and not self._rung
        if is_quiet and (credit == 0 or (self.dry and is_told)):
            self._moved = collected
            return collected > 0
        self._rung = False
        deliveries = self.settle(credit)
        staged = self._stage(deliveries) if deliveries else 0
        self._moved = max(collected, staged)
        if credit:
            self.dry = sum(len(rows) for _, rows in deliveries) < credit
        # What was decided while staging has an ending already, and somebody may wait for its result.
        return collected > 0 or staged > 0 or bool(self._settler.endings)

    def leave(self, *, is_cut_off: bool) -> bool:
        """Say all that is left to say, and give back what waits for its moment; returns whether that could be said."""
        self._settler.collect()
        endings = self._settler.endings
        self._decider.soon.give_back(endings)
        if is_cut_off and (endings.publish or endings.results):
            logger.error("the broker is away: %d messages that tasks sent and %d results are lost",
                         len(endings.publish), len(endings.results))
            return False
        if endings and not is_cut_off:
            self.settle()
        return True

    def settle(self, credit: int = 0) -> Deliveries:
        """Hand all endings to the broker, and take up to *credit* deliveries."""
        endings = self._settler.take()
        try:
            if self._store is not None and endings.results:
                # Stored before the ack: a result may come twice, but is never missing.
                self._be_sure()
                self._put(self._store, endings)
            if endings.parts and self._joiner is not None:
                self._joiner.count(endings)
                points.reach("counted")
            joined, endings.joined = endings.joined, []
            points.reach("before-settle")
            try:
                deliveries = self._transport.turn(endings, credit)
            except BaseException:
                endings.joined = joined
                raise
            self._is_asking = credit > 0
            if endings.anew:
                self._settler.keep(endings.anew)
            points.reach("settled")
            if joined:
                self._joined += joined
                if self._transport.has_settled:
                    self._close_joined()
            return deliveries
        except BaseException:
            self._settler.give_again(endings)
            raise

    def _close_joined(self) -> None:
        joined, self._joined = self._joined, []
        points.reach("closing")
        if self._joiner is not None:
            self._joiner.close(joined)

    def _be_sure(self) -> None:
        """Find out whether what ended is still ours, before a store is told that knows nothing of leases."""
        if self._transport.is_doubtful:
            self._transport.keep()
            if self._transport.is_doubtful:
                raise TransportError("the broker has not renewed the lease of this worker yet: others may have what it "
                                     "held, so no result is stored")

    @staticmethod
    def _put(store: ResultStore, endings: Endings) -> None:
        try:
            store.put(endings.results)
        except (ConnectionLost, BackendError) as error:
            # It is the store that failed: what the broker gave us is still held, and is settled at another try.
            raise TransportError(f"the result store: {error}") from error
        endings.results = []

    def start(self, deliveries: Deliveries) -> int:
        """Stage and release deliveries that were taken before, and waited; returns how many children may take."""
        return self._stage(deliveries)

    def _stage(self, deliveries: Deliveries) -> int:
        endings = self._settler.endings
        later, now = endings.later if self._defers else None, time.time()
        passed, in_hand = len(endings.later), self._ring.in_hand
        for queue, rows in deliveries:
            before = len(endings.lost)
            if self.logs_received or signals.task_received.receivers:
                tell_received(self.sender, queue, rows, self.hostname, logs=self.logs_received)
            for row in self._ring.stage(queue.encode(), rows, now, later):
                self._decider.decide(queue, row, endings)
            if len(endings.lost) > before:
                logger.info("%d messages of queue %r were held by a worker that vanished; each is counted, and comes "
                            "again", len(endings.lost) - before, queue)
        if later is not None and deliveries:
            passed = len(later) - passed
            if self._prefetch.widen(passed, in_hand, self._ring.in_hand):
                self._settler.unstage()
                return 0
        early = self._ring.early()
        if early:
            few = max(EARLY_WINDOW, 2 * self._prefetch.children)
            self._prefetch.limit(few)
            if sum(last - first + 1 for first, last in early) > few:
                # The first that were seen, in a window made for others: fetch them again, in the smaller one.
                self._settler.unstage()
                return 0
            # It counts what is held, and not what is in hand all the same: the next turn tells how many are wanted.
            self._is_asking = False
            try:
                self._transport.turn(Endings(ack=early), 0)
                points.reach("early-acked")
            except ConnectionLost:
                # The acks may have arrived, so they count as done: what is in the ring is sent again, or runs.
                self._ring.release()
                raise
            except BaseException:
                # The whole batch is still held, also by those who ack late: it goes back with the next step.
                self._settler.unstage()
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
        """Give un-started deliveries back when the children stopped taking any, or at once; returns how many.

        A window that the user chose would be filled again at once: what it holds goes back at the end only. While the
        broker takes no messages what is held is kept.
        """
        if not now and self._transport.is_choked:
            return 0
        has_waiting = self._ring.waiting > 0 or self.is_ahead
        seen, since = self._progress
        mono = time.monotonic()
        is_stuck = has_waiting and self._observed[0] == seen and not self._prefetch.is_fixed
        if not now and (not is_stuck or mono - since < HAND_BACK_S):
            if not is_stuck:
                self._progress = (self._observed[0], mono)
            return 0
        self._progress = (self._observed[0], mono)
        if self.is_ahead:
            if self._transport.keep():
                self.wake()
            self.is_ahead = False
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
        is_asking = self.dry and not self.closing
        if not is_asking and not self._pushes:
            return None
        # A connection wants its heartbeats also while nothing is asked for.
        due = self._transport.arm()
        if due == 0.0:
            self.dry = False
        self.is_ahead = due == 0.0 and not is_asking
        return due if is_asking or due else None

    def wake(self) -> None:
        """Take note that the bell rang: the transport has its turn next, though there be nothing to say or to ask."""
        self.dry, self._rung = False, True
