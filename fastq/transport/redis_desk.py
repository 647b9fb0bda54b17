"""The worker's side of Redis: one life, with a lease, and what it has in hand.

1. `turn` hands over what ended and asks for what is wanted, without waiting for the answer (redis_turns.py).
2. When the connection breaks, another is made (redis_reach.py), and the unanswered turns are sent again: nothing that
   is held is void.
3. `arm` listens for work where there was none (redis_ears.py).
4. What is not taken for long, or was lost, goes back.
Only a lease that is over ends a life: LeaseLost.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from fastq._ext import kombu
from fastq._ext.resp import Bulks
from fastq.exceptions import BrokerFull, ConnectionLost, LeaseLost, TransportError
from fastq.transport.redis_ears import Ears, Poller
from fastq.transport.redis_error import Unready
from fastq.transport.redis_held import Held
from fastq.transport.redis_lanes import LANE_BITS, Lanes
from fastq.transport.redis_line import Ask, Errand, Line
from fastq.transport.redis_link import Link
from fastq.transport.redis_reach import CONNECT_S, Reach
from fastq.transport.redis_script import Script
from fastq.transport.redis_turn import Outbox, Packer, Turn
from fastq.transport.redis_turns import Turns
from fastq.transport.redis_watch import PEEK
from fastq.types import Deliveries, Endings, Rows

logger = logging.getLogger("fastq.transport.redis")

SERVE = Script.named("serve")
PIECE = 256
"""Deliveries that one turn asks for while the lists are full: a quarter of a full window, so that as much is run and
taken in as the server looks for."""
DEEP = 32
"""Lists that gave so many, and all that was asked for, have more."""
DOUBT_S = 15.0
"""A worker that wants deliveries and got none for so long looks itself whether there are any."""
LOOK_S = 1.0
"""A worker that wants nothing looks so often whether something falls due, for those that do: Celery's cannot."""
STUCK_S = 0.25
"""What nobody took for so long goes back, so that another worker gets it."""


class Desk:
    """One life, which has its lease already (redis_lease.py); *number* is that of the first tag it may give.

    Deliveries that it hands out have *tag_bits* in their tags besides; what it is told of them has not.
    """

    def __init__(self, link: Link, lanes: Lanes, packer: Packer, connect: Callable[[float, int], Link], poller: Poller,
                 *, wait_s: float, death_limit: int, number: int = 0, tag_bits: int = 0,
                 reconnects: bool = True) -> None:
        self.lanes = lanes
        self.held = Held()
        self.ears = Ears(lanes, wait_s, lambda protocol: connect(CONNECT_S, protocol), poller, self._came)
        self._packer = packer
        self._tag_bits = tag_bits
        self._suspect_from = max(1, death_limit - 1)
        self._poller = poller
        self._outbox = Outbox()
        self._turns = Turns(lanes, number, self._done, self._refused)
        self._gathered: deque[tuple[str, int, Rows]] = deque()
        self.gathered = 0
        """Deliveries that have come and were not taken."""
        self._taken_at = time.monotonic()
        self._window = self._credit = 0
        self._is_dry = False
        """The lists were empty when they were last asked, and nothing was heard since."""
        self._is_deep = False
        """The lists had as much as was asked for."""
        self._is_flowing = False
        """The last fetch brought several: a turn that has something to say asks again, though the lists were empty."""
        self._suspect: int | None = None
        self._lost: dict[int, int] = {}
        """What was lost, with the deaths it has now; its envelope is to be marked before it goes back."""
        self._is_marking = False
        self._known = set(lanes.queues)
        self._serves_others = False
        """Than when its life began: each new connection says so again, as one may break before it is heard."""
        self._due_at: float | None = None
        self._looked_at = 0.0
        """When the server last told what falls due."""
        self._trouble: TransportError | None = None
        self._over: LeaseLost | None = None
        self.leased_until = 0.0
        """Until then, by the monotonic clock, nobody else can have ended this life."""
        self.on_link: Callable[[Line], object] = _nothing
        """Told of each connection after the first, before anything is said on it."""
        self._reach = Reach(connect, poller, self._begin_again, self._forget, reconnects=reconnects)
        self._reach.use(link)

    @property
    def line(self) -> Line | None:
        """The connection; None while there is none."""
        return self._reach.line

    @property
    def next_number(self) -> int:
        """The number of the next tag."""
        return self._turns.next_number

    # -- the worker's turn -----------------------------------------------------------------------------------------

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        """Take over *endings*, and hand out up to *credit* of what has come. Raises NotHeld, ValueError, LeaseLost."""
        if credit <= 0 and self._settles(endings):
            return []
        # Acks without a wish: while there is much, the next of it may come along, as far as the window goes.
        if credit > 0 or self.gathered or not (endings.ack and self._is_deep):
            self._credit = credit
        self._accept(endings)
        self.tend()
        if credit > 0:
            self._window = len(self.held) + credit
        taken = self._take(credit)
        self.send()
        return taken

    def _settles(self, endings: Endings) -> bool:
        """Whether *endings* are no more than the ack of what a wait got and no turn has told of: then that is said.

        Most tasks come alone, and are acked before they run: a turn for that would be half of what they cost.
        """
        lone = self._outbox.lone
        if lone is None or self._over is not None or self._lost or not endings.is_one_ack:
            return False
        queue, tag = lone[0], self.lanes.tag_of(*lone)
        if endings.ack[0] != (tag, tag):
            return False
        # What is acked goes on in the worker, and takes the place that it had.
        again = self._wants and self._room > 1 and self._is_dry and not self.ears.has_news and not self._turns.asked
        if not self.ears.settle(queue, again=again):
            return False
        self._let_go(tag, tag)
        self._outbox, self._credit = Outbox(), 0
        endings.ack.clear()
        return True

    def _accept(self, endings: Endings) -> None:
        if not endings:
            return
        lost = [(tag, tag) for tag in endings.lost]
        dead = [(tag, tag) for tag, _ in endings.dead]
        later = [(tag, tag) for tag, _ in endings.later]
        for runs in (endings.ack, endings.back, lost, dead, later):
            self.held.check(runs)
        said = self._packer.endings(endings)
        if endings.publish:
            self._make_known({message.queue for message in endings.publish if not message.exchange})
        for first, last in (*endings.ack, *endings.back, *lost, *dead, *later):
            self._let_go(first, last)
        self._outbox.extend(said)
        self._lost.update((tag, endings.rows[tag][1] + 1) for tag in endings.lost)
        if endings.back:
            self._put_aside()
        for over in (endings.ack, endings.back, endings.lost, endings.dead, endings.later, endings.publish,
                     endings.results, endings.rows):
            over.clear()

    def _make_known(self, queues: set[str]) -> None:
        """Note queues that something was sent to, so that all who look find them."""
        fresh = queues - self._known
        if fresh and self.line is not None:
            self._known |= fresh
            self.line.tell("SADD", self.lanes.queues_key, *fresh)

    def _let_go(self, first: int, last: int) -> None:
        self.held.remove(first, last)
        if self._suspect is not None and first <= self._suspect <= last:
            self._suspect, self._is_dry = None, False

    def _take(self, credit: int) -> Deliveries:
        taken: Deliveries = []
        while credit > 0 and self._gathered:
            queue, first, rows = self._gathered.popleft()
            if len(rows) > credit:
                self._gathered.appendleft((queue, first + credit, rows[credit:]))
                rows = rows[:credit]
            self.held.add(first, first + len(rows) - 1)
            self.gathered -= len(rows)
            credit -= len(rows)
            taken.append((queue, rows))
            self._taken_at = time.monotonic()
        return taken

    @property
    def has_settled(self) -> bool:
        """Whether the server has done all that was said."""
        return not self._turns and not self._outbox.is_urgent

    @property
    def is_quiet(self) -> bool:
        """Whether nothing has come, and nothing is expected unless somebody sends it."""
        return (self._is_dry or not self.lanes.served) and not self.gathered

    @property
    def _wants(self) -> bool:
        """Whether the worker waits for deliveries."""
        return self._credit > 0 and self._room > 0 and bool(self.lanes.served)

    @property
    def _room(self) -> int:
        return self._window - len(self.held) - self.gathered - self._turns.asked

    # -- to the server ---------------------------------------------------------------------------------------------

    def send(self) -> None:
        """Send a turn, if there is something to say or to ask, and the server is not behind."""
        line = self.line
        if line is None or not self._turns.may_send:
            return
        if self.ears.has_news:
            self.ears.has_news, self._is_dry = False, False
        self._outbox.unknown.update(self.ears.unknown())
        self._send_turn(line)
        if self._lost and not self._is_marking:
            self._is_marking = True
            line.start(self._mark_lost())

    @property
    def _piece(self) -> int:
        """How many deliveries the next turn asks for."""
        # What was lost is next in line, so nothing is asked for before it is back there.
        if not self._wants or self._lost or (self._is_dry and not (self._is_flowing and self._outbox.is_urgent)):
            return 0
        return min(PIECE, self._room) if self._is_deep else self._room

    def _send_turn(self, line: Line) -> None:
        credit = self._piece
        if credit > 0 or self._outbox.is_urgent or (self._lost and self._outbox.adopted):
            said, self._outbox = self._outbox, Outbox()
            may_try = self._suspect is None and not self._turns.tries_suspect
            self._turns.send(line, said, credit, may_try=may_try)

    def _done(self, turn: Turn, reply: Any) -> None:
        """Take in the answer to a turn."""
        self._reach.worked()
        now, due, more, complaints, *given = reply
        for complaint in complaints:
            logger.error("Redis: %s; see the dead letters", complaint.decode("utf-8", "replace"))
        count = 0
        for at in range(0, len(given), 3):
            count += len(given[at + 2])
            if self.lanes.is_trial(given[at] << LANE_BITS):
                self._suspect = given[at] << LANE_BITS | given[at + 1]
        self.gathered += count
        if turn.credit:
            self._is_dry = count < turn.credit and not more
            self._is_deep = count == turn.credit >= DEEP
            self._is_flowing = count > 1
        elif turn.makes_work:
            self._is_dry = False
        if due != -2:
            self.ears.forget_due()
            self._looked_at = time.monotonic()
            self._due_at = None if due < 0 else self._looked_at + (due - now) / 1000
        # The server goes on while this is decoded.
        self.send()
        for at in range(0, len(given), 3):
            self._gather(*given[at:at + 3])

    def _refused(self, code: str, error: TransportError) -> None:
        """Take in that the server did not do a turn."""
        if code in ("LEASELOST", "GAP"):
            self.lose("the server has lost some of its data" if code == "GAP" else "")
            return
        if not isinstance(error, (ConnectionLost, Unready, BrokerFull)):
            self._trouble = error
        self._reach.cut(error)

    def _gather(self, lane: int, number: int, envelopes: list[bytes] | Bulks) -> None:
        """Take in what came, which is counted already."""
        first = lane << LANE_BITS | number
        rows, bad = kombu.gather(envelopes, self._tag_bits | first)
        for at, reason in bad:
            self._condemn(first + at, f"malformed: {reason}")
        queue = self.lanes.queue_of(first)
        if not bad:
            self._gathered.append((queue, first, rows))
        else:
            self._gathered.extend((queue, row[0] ^ self._tag_bits, [row]) for row in rows)
        self.gathered -= len(bad)

    def _condemn(self, tag: int, reason: str) -> None:
        logger.error("Message %d of queue %r goes to the dead letters: %s", tag, self.lanes.queue_of(tag), reason)
        self._outbox.dead.append(self._packer.dead(tag, reason))

    def _came(self, queue: int, envelope: bytes) -> None:
        """Take in what a wait got; the next turn records it."""
        number = self._turns.next_number
        self._turns.next_number += 1
        self._outbox.adopted.append((queue, number))
        self.gathered += 1
        self._gather(self.lanes.first_of(queue), number, [envelope])

    # -- connections -----------------------------------------------------------------------------------------------

    def serve(self, queues: Sequence[str]) -> None:
        """Serve exactly *queues* from now on; what is in hand of others stays there."""
        self.lanes.serve(queues)
        self._make_known(set(queues))
        self._serves_others, self._is_dry = True, False
        self.ears.adjust()
        if self.line is not None:
            self.line.start(self._make_served())

    def _make_served(self) -> Errand:
        lanes = self.lanes
        keys = (lanes.lives, lanes.life_key, *lanes.movers, *lanes.movers_left)
        try:
            # With its text: the turns behind it rely on it.
            yield Ask(("EVAL", SERVE.lean, len(keys), *keys, lanes.life, len(lanes.movers), len(lanes.queues),
                       *lanes.all))
        except TransportError as error:
            if "LEASELOST" in str(error):
                self.lose("")
                return
            raise

    def _begin_again(self, line: Line) -> None:
        self.on_link(line)
        if self._serves_others:
            line.start(self._make_served())
        self._turns.send_again(line)

    def _forget(self) -> None:
        """The connection is gone, and with it what was asked besides turns."""
        self._is_marking = False
        self.ears.close()

    def tend(self, timeout_s: float = 0.0) -> None:
        """Take in what has come, and connect again when that is due, unless that is not wanted: ConnectionLost then.

        Raises LeaseLost, and TransportError for what the server refuses to do.
        """
        self._reach.tend(timeout_s)
        if self._over is not None:
            raise self._over
        if self._trouble is not None:
            trouble, self._trouble = self._trouble, None
            raise trouble

    def wait_for(self, is_done: Callable[[], bool], timeout_s: float) -> None:
        """Take in what comes until *is_done*, at most *timeout_s*. Raises LeaseLost."""
        deadline = time.monotonic() + timeout_s
        while not is_done() and (left := deadline - time.monotonic()) > 0:
            if self._reach.line is None:
                return
            self.tend(left)

    @property
    def is_over(self) -> bool:
        """Whether this life is known to be over."""
        return self._over is not None

    def lose(self, why: str) -> None:
        """This life is over: `tend` says so."""
        if not why and time.monotonic() < self.leased_until:
            why = "the server does not know this worker, whose lease goes on: it has lost its data"
        self._over = LeaseLost(f"Redis: {why or 'this worker was silent for longer than its lease'}, and others may "
                               "hold its deliveries; attach again")

    # -- going to sleep --------------------------------------------------------------------------------------------

    def arm(self) -> float | None:
        """Listen for work; 0.0 when there is some, else the seconds until something falls due, or None."""
        self.tend()
        line = self.line
        if line is None:
            return self._reach.retry_in_s
        if self.gathered:
            return 0.0
        self.send()
        if not self._wants:
            if not self._turns.asked:
                self.ears.quiet(line)
            return line.patience_s if self._turns else self._look_ahead(line)
        if not self._is_dry or self._turns.asked:
            # An answer rings. A wait beside a fetch takes what may come before what that brings, and be heard after it.
            return line.patience_s if self._turns else 0.0
        self.ears.listen(may_try=self._suspect is None)
        return self._due_in()

    def _look_ahead(self, line: Line) -> float:
        """Have what falls due moved, though nothing is wanted; returns the seconds until there is something to do."""
        look_at = self._looked_at + LOOK_S
        left = (look_at if self._due_at is None else min(look_at, self._due_at)) - time.monotonic()
        if left > 0:
            return left
        said, self._outbox = self._outbox, Outbox()
        self._turns.send(line, said, 0, may_try=False, looks=True)
        return line.patience_s

    def _due_in(self) -> float | None:
        dues = [due for due in (self._due_at, self.ears.due_at) if due is not None]
        if not dues:
            return None
        left = min(dues) - time.monotonic()
        if left <= 0:
            self._is_dry, self._due_at = False, None
            self.ears.forget_due()
        return max(0.0, left)

    def look_again(self) -> Errand:
        """Doubt that nothing is there: what was not told of since long is asked for, and listened to anew."""
        if not self._is_idle:
            return
        lists = self.lanes.lists()
        _, ready, _ = yield Ask.of(PEEK, [*lists, *self.lanes.futures_served()], [len(lists)])
        if ready and self._is_idle:
            logger.warning("%d messages are ready, and nothing told of them; listening anew", ready)
            self.ears.close()
            self.ears.has_news = True

    @property
    def _is_idle(self) -> bool:
        return self._wants and self._is_dry and not self._turns and time.monotonic() - self._taken_at > DOUBT_S

    # -- giving back -----------------------------------------------------------------------------------------------

    def give_back_stuck(self) -> None:
        """Give back what has come and nobody took for long."""
        if self.gathered and time.monotonic() - self._taken_at >= STUCK_S:
            self._put_aside()
            self.send()

    def _put_aside(self) -> None:
        """Put back what nobody took, and want nothing until the worker asks again."""
        self._window = 0
        for _, first, rows in self._gathered:
            last = first + len(rows) - 1
            self._outbox.back.append((first, last))
            if self._suspect is not None and first <= self._suspect <= last:
                self._suspect = None
        self._gathered.clear()
        self.gathered = 0

    def _mark_lost(self) -> Errand:
        tags = list(self._lost)
        envelopes = yield Ask(("HMGET", self.lanes.held_key, *tags))
        for tag, envelope in zip(tags, envelopes, strict=True):
            deaths = self._lost.pop(tag)
            if envelope is None:
                logger.error("Message %d was lost, and the server does not hold it", tag)
                continue
            key = self.lanes.of(tag)
            if deaths >= self._suspect_from:
                key = self.lanes.trial_of(tag)
            self._outbox.lost.append((tag, key, kombu.mark(envelope, deaths)))
        self._is_marking = False

    # -- the end ---------------------------------------------------------------------------------------------------

    def flush(self, timeout_s: float) -> bool:
        """Say all that is to be said; returns whether it was answered within *timeout_s*. Raises LeaseLost."""
        self._window = 0        # nothing more is asked for
        deadline = time.monotonic() + timeout_s
        while True:
            self.tend()
            self.send()
            line = self._reach.line
            is_done = not (self._turns or self._lost or self._outbox.is_urgent or self.ears.is_unsure) and (
                line is None or not line.is_busy)
            left = deadline - time.monotonic()
            if is_done or left <= 0:
                return is_done
            self._poller.ready(min(left, 0.05 if line is None else left))

    @property
    def unsaid(self) -> str:
        """What nobody has taken over yet, for a message."""
        return f"{self._outbox}; {len(self._turns)} turns are unanswered"

    def close(self) -> None:
        """Let go of the connections."""
        self.ears.close()
        self._reach.close()


def _nothing(line: Line) -> None:
    return None
