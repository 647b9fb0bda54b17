"""Messages that the compiled scan could not just pass on: each gets a decision here, and an ending.

Runs in the supervisor, so no user code runs here: bodies stay closed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from fastq._ext import envelope
from fastq._ext.ring import Ring
from fastq.exceptions import InvalidTaskError, NotRegistered, TaskRevokedError, WireError
from fastq.types import UNCOUNTED, Endings, Message
from fastq.wire.message import upgrade
from fastq.worker.effects import pack_verdict
from fastq.worker.orphans import Orphans
from fastq.worker.outcome import FOLLOW_S, Ending, Odd, Outcome
from fastq.worker.rate import Rates
from fastq.worker.revocation import Revocations
from fastq.worker.soon import Soon
from fastq.worker.verdict import Verdicts

logger = logging.getLogger("celery.worker.consumer")

Row = tuple[int, int, int, bytes]
"""(why, tag, deaths, content), as `Ring.stage` returns it."""


def parse_time(text: str) -> float:
    """Return Unix seconds of an ISO 8601 text; a time without offset is UTC.

    Raises ValueError.
    """
    moment = datetime.fromisoformat(text[:-1] + "+00:00" if text.endswith(("Z", "z")) else text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


class Decider:
    """Decides about one odd message at a time, into an `Endings`."""

    def __init__(self, ring: Ring, verdicts: Verdicts, max_deaths: int, orphans: Orphans, revocations: Revocations,
                 rates: Rates) -> None:
        self._ring = ring
        self._revocations = revocations
        self._rates = rates
        self._verdicts = verdicts
        self._max_deaths = max_deaths
        self._orphans = orphans
        self.soon = Soon()
        self._table: dict[Odd, Callable[[str, int, int, bytes, Endings], None]] = {
            Odd.MALFORMED: self._malformed,
            Odd.NO_TASK: self._no_task,
            Odd.UNKNOWN_TASK: self._unknown_task,
            Odd.DEATHS: self._too_many_deaths,
            Odd.BAD_HEADER: self._bad_header,
            Odd.ETA: self._timed,
            Odd.EXPIRES: self._timed,
            Odd.REVOKED: self._timed,
            Odd.RATE: self._timed,
            Odd.FULL: self._full,
            Odd.UNCOUNTED: self._uncounted,
        }

    def decide(self, queue: str, row: Row, endings: Endings) -> None:
        """Give the message an ending, or stage it after all."""
        why, tag, deaths, content = row
        self._table[Odd(why)](queue, tag, deaths, content, endings)

    def _dead(self, queue: str, tag: int, deaths: int, content: bytes, reason: str, endings: Endings) -> None:
        logger.error("Message %d of queue %r goes to the dead letters: %s", tag, queue, reason)
        endings.dead.append((tag, reason))
        endings.rows[tag] = queue, deaths & ~UNCOUNTED, content

    def _malformed(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        try:
            envelope.unpack(content)
        except WireError as error:
            self._dead(queue, tag, deaths, content, f"malformed: {error}", endings)
        else:
            self._dead(queue, tag, deaths, content, "malformed: the envelope cannot be scanned", endings)

    def _no_task(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        try:
            upgraded = upgrade(content)
        except (WireError, InvalidTaskError) as error:
            self._dead(queue, tag, deaths, content,
                       f"not a task message: the headers 'task' and 'id' are missing, and as a message of protocol 1 it"
                       f" is none either: {error}", endings)
            self._verdicts.refuse(Outcome.NO_TASK, content, queue, error, endings)
            return
        for row in self._ring.stage(queue.encode(), [(tag, deaths, upgraded)]):
            self.decide(queue, row, endings)

    def _unknown_task(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        name = envelope.unpack(content)[1]["task"]
        known = self._verdicts.nearest_task(name)
        hint = f"; did you mean {known!r}?" if known else ""
        self._verdicts.refuse(Outcome.UNKNOWN, content, queue, NotRegistered(name), endings)
        self._dead(queue, tag, deaths, content,
                   f"unknown task {name!r}: no module that this worker imports registers it{hint}", endings)

    def _too_many_deaths(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        # A child does what follows; the task itself is not run again.
        if self._ring.stage_verdict(queue.encode(), tag, deaths, content, Outcome.POISONED,
                                    pack_verdict(f"poison: it killed {deaths} workers or children"), False, FOLLOW_S):
            self._full(queue, tag, deaths, content, endings)

    def _bad_header(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        reason = bad_header(envelope.unpack(content)[1])
        self._verdicts.refuse(Outcome.BAD_HEADER, content, queue, InvalidTaskError(reason), endings)
        self._dead(queue, tag, deaths, content, f"bad header: {reason}", endings)

    def _timed(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        if deaths >= self._max_deaths:
            self._too_many_deaths(queue, tag, deaths, content, endings)
            return
        properties, headers, _ = envelope.unpack(content)
        try:
            eta = parse_time(headers["eta"]) if headers.get("eta") else 0.0
            expires = parse_time(headers["expires"]) if headers.get("expires") else 0.0
        except ValueError:
            self._bad_header(queue, tag, deaths, content, endings)
            return
        now = time.time()
        if self._revocations.holds(headers):
            self._verdicts.revoke(Outcome.REVOKED, queue, content, TaskRevokedError("revoked"), endings)
            endings.ack.append((tag, tag))
            return
        if expires and expires <= now:
            self._verdicts.revoke(Outcome.EXPIRED, queue, content, TaskRevokedError("expired"), endings)
            endings.ack.append((tag, tag))
            return
        if eta <= now:
            eta = self._rates.moment(headers, now)
        if eta > now and not self.soon.hold(eta, now, queue, tag, deaths, content):
            # It waits in the broker, not here; one step replaces the message by its future self. Where that comes out
            # early, one that found no room here has to come out later than now.
            run_at = eta if eta - now > self.soon.grain_s else eta + self.soon.grain_s
            endings.publish.append(Message(queue, content, int(properties.get("priority") or 0), run_at))
            endings.ack.append((tag, tag))
        elif eta > now:
            return
        elif self._ring.stage_one(queue.encode(), tag, deaths, content, expires):
            self._full(queue, tag, deaths, content, endings)

    def _full(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        endings.back.append((tag, tag))
        endings.rows[tag] = queue, deaths, content

    def _uncounted(self, queue: str, tag: int, deaths: int, content: bytes, endings: Endings) -> None:
        """Decide about a message whose last holder vanished: this worker before a cut, or another one by its death."""
        deaths &= ~UNCOUNTED
        if self._orphans.adopt(tag, content):
            logger.info("Message %d of queue %r still runs here: not started again", tag, queue)
            return
        if self._orphans.is_spared(content):
            # Before the next question: of two of one identity, one may have ended, and this one has not.
            self._timed(queue, tag, deaths, content, endings)
            return
        ended = self._orphans.ending_of(tag, content)
        if ended is not None:
            self._end_as(ended, queue, tag, deaths, content, endings)
        elif deaths == 0 and self._orphans.was_unread():
            self._timed(queue, tag, deaths, content, endings)
        elif deaths + 1 >= self._max_deaths:
            self._too_many_deaths(queue, tag, deaths + 1, content, endings)
        else:
            # It comes again with the death counted: run before that, it could kill one worker after the other unseen.
            logger.debug("Message %d of queue %r was held by a worker that vanished (death %d of %d)",
                         tag, queue, deaths + 1, self._max_deaths)
            endings.lost.append(tag)
            endings.rows[tag] = queue, deaths, content

    def _end_as(self, ended: tuple[Ending, str], queue: str, tag: int, deaths: int, content: bytes,
                endings: Endings) -> None:
        ending, reason = ended
        logger.info("Message %d of queue %r has ended here already: not started again", tag, queue)
        if ending is Ending.DEAD:
            self._dead(queue, tag, deaths, content, reason, endings)
            return
        if ending is Ending.TAIL:
            endings.publish.append(again(queue, content))
        endings.ack.append((tag, tag))


def again(queue: str, content: bytes) -> Message:
    """Return the message that puts *content* at the end of its queue, at its own priority."""
    properties, _, _ = envelope.unpack(content)
    return Message(queue, content, int(properties.get("priority") or 0))


def bad_header(headers: dict[str, Any]) -> str:
    """Return which header of a task message makes no sense, and what it should be."""
    limits = headers.get("timelimit")
    if limits is not None and not (isinstance(limits, (list, tuple)) and len(limits) == 2
                                   and all(isinstance(limit, (int, float, type(None))) for limit in limits)):
        return f"timelimit is {limits!r}, not [hard, soft] in seconds"
    for name in ("eta", "expires"):
        value = headers.get(name)
        if value is not None:
            try:
                parse_time(value)
            except (TypeError, ValueError, AttributeError):
                return f"{name} is {value!r}, not an ISO 8601 time"
    for name in ("retries", "x-fastq-deaths"):
        value = headers.get(name)
        if value is not None and not (isinstance(value, int) and 0 <= value < 2**31):
            return f"{name} is {value!r}, not a small whole number"
    return "one of root_id, parent_id, group, compression, ignore_result is of a wrong type"
