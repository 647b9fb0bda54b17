"""From what the children report to how the deliveries end.

The ring settles what is acked by itself; here come the rest: dead letters, requeues, and what a
killed or crashed child leaves behind.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterable, Sequence, Set

from fastq import points
from fastq._ext.ring import Ring
from fastq.app.results import Expiry
from fastq.exceptions import TaskRevokedError, WorkerLostError
from fastq.states import FAILURE, SUCCESS
from fastq.types import Endings, Message, Result
from fastq.worker.decide import again
from fastq.worker.effects import pack_verdict, parts_of
from fastq.worker.orphans import Orphans
from fastq.worker.outcome import FATES, FOLLOW_S, OVER, Ending, Outcome, error_of
from fastq.worker.verdict import Verdicts

logger = logging.getLogger("celery.worker.request")

Odd = tuple[int, int, int, int, str, bytes, bool, "str | None"]
"""(tag, deaths, task row, outcome, queue, content, acked early, reason), as the ring describes a slot."""


class Settler:
    """Collects the endings of one turn of the worker's loop."""

    def __init__(self, ring: Ring, rows: Sequence[bytes], verdicts: Verdicts, *,
                 max_deaths: int, expiry: Expiry) -> None:
        self._ring = ring
        self._rows = rows
        self._verdicts = verdicts
        self._max_deaths = max_deaths
        self._expiry = expiry
        self._condemned: dict[int, dict[int, float | str]] = {}
        self.orphans = Orphans(ring, self._rename)
        self.endings = Endings()
        self.aged: set[int] = set()
        """Deliveries that the broker is to deliver anew."""
        self.finished = 0
        self.tells_content = False
        """Whether what is handed back comes with its content, for a transport that keeps none."""

    def collect(self) -> int:
        """Take every completion out of the ring; returns how many there were."""
        count, acks, results, publishes, odd, chords = self._ring.drain()
        if count == 0:
            return 0
        self.finished += count
        endings = self.endings
        acks = self.orphans.end_runs(acks) if self.orphans else acks
        endings.ack += acks
        self.orphans.finished(acks)
        if results:
            at, failed_at = self._expiry.at(SUCCESS), self._expiry.at(FAILURE)
            endings.results += [Result(task_id, state, meta, failed_at if state == FAILURE else at, reply_to)
                                for task_id, state, meta, reply_to in results]
        if chords:
            parts, joined = parts_of(chords)
            endings.parts += parts
            endings.joined += joined
        if publishes:
            endings.publish += map(Message._make, publishes)
        for row in odd:
            self._end(row)
        return count

    def take(self) -> Endings:
        """Return what was collected, and start anew."""
        if self.aged:
            self._renew()
        endings, self.endings = self.endings, Endings()
        return endings

    def give_again(self, endings: Endings) -> None:
        """Keep endings that the broker did not take, for the next turn."""
        self.keep(endings.anew)
        endings.anew.clear()
        newer = self.take()
        for name in ("ack", "back", "lost", "dead", "later", "publish", "results", "parts", "joined"):
            getattr(endings, name).extend(getattr(newer, name))
        endings.rows.update(newer.rows)
        self.endings = endings

    def cut_off(self, unread: int = 0) -> None:
        """The connection is gone, and every delivery with it: what began goes on as an orphan, the rest is forgotten.

        What is to be published and stored stays; so does what was acked early, which goes back to its queue. *unread*
        more deliveries may have been on their way.
        """
        waited: dict[int, tuple[str, int, bytes]] = {}
        _, early = self._ring.take_back(rows=waited)
        self.aged.clear()
        self.orphans.cut(unread)
        self.orphans.spare(content for _, _, content in waited.values())
        # Only now: what has ended unseen is an orphan that ended, not an ack of nothing.
        self.collect()
        kept = self.take()
        self.endings.publish += kept.publish
        self.endings.publish += [again(queue, content) for queue, content in early]
        self.endings.results += kept.results
        self.endings.parts += kept.parts
        self.endings.joined += kept.joined

    def renew(self, tags: Set[int]) -> None:
        """Have the messages of runs delivered anew, with the endings that are taken next; what ends before ends so."""
        self.aged |= tags

    def _renew(self) -> None:
        aged, self.aged = self.aged, set()
        for tag, queue, deaths, content in self._ring.begun():
            if tag in aged and self.orphans.expect(tag, content):
                self.endings.anew.append(tag)
                self.endings.rows[tag] = queue, deaths, content

    def keep(self, tags: Iterable[int]) -> None:
        """Go on with deliveries that were to come anew and do not; nothing was collected since they were taken."""
        for tag in tags:
            self.orphans.keep(tag)

    def condemn(self, child: int, tag: int, why: float | str) -> bool:
        """Remember that *child* is to be killed for what *tag* does; False if it was known already.

        *why* is the hard limit that it is over, or who wants it to end.
        """
        tags = self._condemned.setdefault(child, {})
        is_known = tags.get(tag) == why
        tags[tag] = why
        return not is_known

    def _rename(self, old: int, new: int) -> None:
        for tags in self._condemned.values():
            if old in tags:
                tags[new] = tags.pop(old)

    def bury(self, child: int, cause: str) -> int:
        """End what a dead child ran; returns how many runs were lost."""
        lost = self._ring.bury(child)
        condemned = self._condemned.pop(child, None)
        for row in lost:
            why = None if condemned is None else condemned.get(row[0])
            if row[3]:
                logger.error("What follows from the end of message %d was cut off: %s", row[0], cause)
                self._conclude(row)
            elif isinstance(why, str):
                self._terminate(row, why)
            elif condemned is None or why is not None:
                self._lose(row, cause, why)
            else:
                # It ran beside the one over its limit, or began when that had ended just before the kill.
                self._let_go(row, cause)
        self.collect()
        points.reach("buried")
        return len(lost)

    def _terminate(self, row: Odd, why: str) -> None:
        tag, _, _, _, queue, content, early, _ = row
        self._verdicts.revoke(Outcome.REVOKED, queue, content, TaskRevokedError("terminated"), self.endings,
                              signal.Signals[why])
        if not early and not self.orphans.end(tag, Ending.ACK, why):
            self.endings.ack.append((tag, tag))

    def let_go(self, child: int, why: str) -> None:
        """End what a child ran that was killed on purpose: neither done nor dead, it goes back as it was."""
        for row in self._ring.bury(child):
            if row[3]:
                self._conclude(row)
            else:
                self._let_go(row, why)

    def _let_go(self, row: Odd, why: str) -> None:
        tag, deaths, _, _, queue, content, early, _ = row
        if early:
            # It may have done half of its work, and whoever acks early asks for one run at most.
            self._verdicts.end(Outcome.LOST, queue, content, WorkerLostError(why), self.endings)
        elif self.orphans.end(tag, Ending.LOSE):
            self.orphans.spare([content])
        else:
            self.endings.back.append((tag, tag))
            self.endings.rows[tag] = queue, deaths, content

    def unstage(self) -> None:
        """Give back what is staged and not released."""
        self.endings.back += self._ring.unstage(self.endings.rows if self.tells_content else None)

    def take_back(self) -> int:
        """Give back what was released and not started; returns how many."""
        runs, early = self._ring.take_back(rows=self.endings.rows if self.tells_content else None)
        self.endings.back += runs
        self.endings.publish += [again(queue, content) for queue, content in early]
        return sum(last - first + 1 for first, last in runs) + len(early)

    def conclude(self, *, early: bool = False) -> None:
        """Settle the runs that are over and wait for a child to follow them up, without that; those acked *early* only.

        For a worker whose children are gone, after `take_back`. The others of one that lost its lease are not its own.
        """
        verdicts: list[Odd] = []
        self._ring.take_back(verdicts=verdicts)
        for row in verdicts:
            if row[6] or not early:
                self._conclude(row)

    def _end(self, row: Odd) -> None:
        tag, _, task, outcome, queue, content, early, reason = row
        ending = Ending(self._rows[task][outcome])
        why = reason or FATES[Outcome(outcome)].says
        if not early and self.orphans.end(tag, ending, why):
            return
        if ending is Ending.LOSE:
            self._lose(row, why, float(why) if outcome == Outcome.HARD_LIMIT else None, by_itself=True)
            return
        if ending is Ending.TAIL:
            self.endings.publish.append(again(queue, content))
        elif ending is Ending.DEAD and not early:
            self._dead(row, why)
            return
        if not early:
            self.endings.ack.append((tag, tag))

    def _lose(self, row: Odd, cause: str, limit_s: float | None = None, *, by_itself: bool = False) -> None:
        tag, deaths, task, _, queue, content, early, _ = row
        outcome, why = (Outcome.LOST, cause) if limit_s is None else (Outcome.HARD_LIMIT, str(limit_s))
        if limit_s is not None:
            cause = f"hard time limit of {limit_s} s exceeded"
        ending = Ending(self._rows[task][outcome])
        if ending is not Ending.LOSE or early:
            self._judge(row, outcome, why)
        elif self.orphans.end(tag, ending, cause):
            return
        elif deaths + 1 < self._max_deaths:
            logger.warning("Task of message %d goes back to queue %r: %s (death %d of %d)",
                           tag, queue, cause, deaths + 1, self._max_deaths)
            self.endings.lost.append(tag)
            self.endings.rows[tag] = queue, deaths, content
        else:
            what = f"was lost {deaths + 1} times" if by_itself else f"killed {deaths + 1} children"
            self._judge(row, Outcome.POISONED, f"poison: it {what}, the last: {cause}")

    def _judge(self, row: Odd, outcome: Outcome, why: str) -> None:
        """Let a child do what follows from a run that is over; where there is no room for it, go without."""
        tag, deaths, task, _, queue, content, early, _ = row
        if self._ring.stage_verdict(queue.encode(), tag, deaths, content, outcome, pack_verdict(why), early, FOLLOW_S):
            self._conclude((tag, deaths, task, outcome, queue, content, early, why))
        else:
            self._ring.release()

    def _conclude(self, row: Odd) -> None:
        tag, _, task, number, queue, content, early, why = row
        # A child that died while it followed a run up may have made another outcome of it, and not said all of it.
        outcome = Outcome(number) if number in OVER and why else Outcome.LOST
        why = why or "its child died, and so did the one that followed it up"
        self._verdicts.end(outcome, queue, content, error_of(outcome, why), self.endings)
        ending = Ending(self._rows[task][number])
        if early or self.orphans.end(tag, ending, why):
            return
        if ending is Ending.DEAD:
            self._dead(row, why)
        else:
            self.endings.ack.append((tag, tag))

    def _dead(self, row: Odd, why: str) -> None:
        tag, deaths, _, _, queue, content, _, _ = row
        logger.error("Message %d of queue %r goes to the dead letters: %s", tag, queue, why)
        self.endings.dead.append((tag, why))
        self.endings.rows[tag] = queue, deaths, content
