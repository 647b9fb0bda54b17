"""The embedded broker: queues in one SQLite file, for many producers and workers on one machine.

1. Publish: one message, or many in few transactions; ring those who sleep.
2. Work: `turn` settles what ended and claims the next in one transaction, which first checks that this worker was
   not given up meanwhile: what a zombie says about messages that others now hold is never done.
3. Sleep: `arm`, then wait on `fileno`; nobody polls.
4. Keep: renew the lease, bring back what dead workers held.
5. Look: figures, purge, dead letters.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, NoReturn

from fastq.exceptions import LeaseLost, TransportError
from fastq.transport import sqlite_chord, sqlite_claim, sqlite_lease, sqlite_result, sqlite_stat
from fastq.transport.base import Caps
from fastq.transport.bell import MESSAGES, Sleeper, interest_of
from fastq.transport.sqlite_claim import Runs
from fastq.transport.sqlite_file import FileOptions, SqliteFile
from fastq.transport.sqlite_lane import INSERT_ONE, Arrivals, Lanes
from fastq.transport.sqlite_schema import FUTURE_BITS
from fastq.transport.url import merge_options, number, parse_url
from fastq.types import DeadLetter, Deliveries, Endings, Message, QueueStat

BATCH, BATCH_BYTES = 2000, 4 << 20
"""Messages published in one transaction: about 5 ms, for which other writers wait."""
NAP_S = 5.0
"""The longest sleep: should a ring ever be lost, work is found this much later."""
PRUNED = 1000
"""Expired results dropped by one `keep`, so that they never gather and never hold up the others."""
_SWEEP_AT = 16

_FENCE = "SELECT (SELECT min(id) FROM future) FROM worker WHERE id = ?"


def _batches(messages: Iterable[Message]) -> Iterator[list[Message]]:
    batch: list[Message] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += len(message.content)
        if len(batch) == BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def open_url(url: str, options: Mapping[str, object]) -> SqliteTransport:
    """Open the broker at a ``sqlite://`` address."""
    address = parse_url(url)
    found = merge_options(url, address.options, options, FileOptions._fields + TransportOptions._fields)
    own = TransportOptions.read(found)
    return SqliteTransport(SqliteFile.open(os.path.realpath(address.target), FileOptions.read(found)), own)


class TransportOptions(NamedTuple):
    """``death_limit``: how many deaths the worker lets a message cause; one short of it, it is tried alone."""

    death_limit: int = 3

    @classmethod
    def read(cls, options: Mapping[str, object]) -> TransportOptions:
        """Read the options of an address. Raises ConfigError."""
        return cls(int(number("death_limit", options.get("death_limit", 3), 1)))


class SqliteTransport:
    """A `Transport` over one SQLite file; several in one process share its connection.

    Example::

        transport = fastq.transport.open("sqlite:///tasks.db")
        transport.attach("worker@host", ["celery"])
        [(queue, rows)] = transport.turn(Endings(), credit=1)
        transport.turn(Endings(ack=[(rows[0][0], rows[0][0])]), credit=1)
    """

    caps = Caps(stores_results=True, lean_headers=True, is_atomic=True, has_leases=True)
    is_choked = False
    has_settled = True

    def __init__(self, file: SqliteFile, options: TransportOptions) -> None:
        self._file = file
        self._death_limit = options.death_limit
        self._closed = False
        self._lanes = Lanes()
        self._worker: int | None = None
        self._forks = file.forks
        self._queues: tuple[str, ...] = ()
        self._lanes_query = ""
        self._interest = self._put_back = 0
        """Who has to be rung for the queues that are consumed, and for those of what goes back."""
        self._lease_ms = 0
        self._leased_until = 0.0
        """By the monotonic clock."""
        self._sleeper: Sleeper | None = None
        self._trial: int | None = None
        self._turns = 0
        self._held = Runs()
        self._sweep_at = _SWEEP_AT

    # -- publish ----------------------------------------------------------------------------------------------

    def publish_one(self, queue: str, content: bytes, priority: int = 0, run_at: float | None = None,
                    exchange: str = "") -> None:
        """Store one message; it is committed when this returns. There are no exchanges. Raises TransportError."""
        lane = self._lanes.get((queue, priority))
        if lane is None or run_at is not None:
            self.publish((Message(queue, content, priority, run_at),))
            return
        self._file.write(INSERT_ONE, (lane.id, lane.first, lane.last, content), MESSAGES, lane.interest)

    def publish(self, messages: Iterable[Message], timeout_s: float | None = None) -> int:
        """Store many messages, `BATCH` in one transaction; returns how many. Raises TransportError.

        How long to wait for other writers is an option of the address, and so *timeout_s* is not looked at.
        """
        count = 0
        # The iterable is user code: it is read before the transaction, never inside it.
        for batch in _batches(messages):
            with self._file.transaction() as conn:
                arrivals = Arrivals(conn, self._lanes)
                arrivals.add(batch, time.time())
            self._arrived(arrivals)
            count += len(batch)
        return count

    def _arrived(self, arrivals: Arrivals) -> None:
        self._lanes.update(arrivals.made)
        if arrivals.interest:
            self._file.ring(MESSAGES, arrivals.interest)

    # -- work -------------------------------------------------------------------------------------------------

    def attach(self, worker: str, queues: Sequence[str], lease_s: float = 30.0) -> None:
        """Become a consumer of *queues*, and bring back what dead workers held.

        ``lease_s`` is how long this worker may be silent (see `keep`) before others take its deliveries.
        """
        self._detach()
        self._choose(queues)
        self._put_back = self._interest
        self._lease_ms = int(lease_s * 1000)
        self._leased_until = time.monotonic() + lease_s
        with self._file.transaction() as conn:
            arrivals = Arrivals(conn, self._lanes)
            sqlite_lease.reap(conn, self._file.bell(), arrivals, self._death_limit, None)
            ident = sqlite_lease.enter(conn, self._file.bell(), worker, self._lease_ms)
        self._worker, self._forks = ident, self._file.forks
        self._trial, self._held, self._sweep_at = None, Runs(), _SWEEP_AT
        self._sleeper = self._file.sleeper()
        self._arrived(arrivals)

    def consume(self, queues: Sequence[str]) -> None:
        """Consume exactly *queues* from now on; what is held of others stays held."""
        self._attached()
        self._choose(queues)
        self._put_back |= self._interest

    def _choose(self, queues: Sequence[str]) -> None:
        self._queues = tuple(dict.fromkeys(queues))
        self._interest = interest_of(self._queues)
        self._lanes_query = sqlite_claim.lanes_query(self._queues)

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        """Settle *endings* and take up to *credit* messages in one transaction.

        Raises LeaseLost when this worker was given up; then nothing was settled, and `attach` begins anew.
        """
        worker, sleeper = self._attached()
        sleeper.rouse()
        trial, now = self._trial, time.time()
        with self._file.transaction() as conn:
            row = conn.execute(_FENCE, (worker,)).fetchone()
            if row is None:
                self._lose()
            arrivals = Arrivals(conn, self._lanes)
            if endings:
                trial = self._settle(conn, worker, endings, arrivals, now)
            taken: Deliveries = []
            runs: list[tuple[int, int]] = []
            swept: list[tuple[int, int]] | None = None
            if credit > 0:
                if row[0] is not None and row[0] >> FUTURE_BITS <= now * 1000:
                    arrivals.move_due(now)
                claim = sqlite_claim.Claim(conn, worker, trial)
                taken = claim.take(self._lanes_query, self._queues, credit, self._turns)
                trial, runs = claim.trial, claim.runs
                # Sweeping costs a look at every run held: it is done when they have doubled since the last time.
                if len(self._held) + len(runs) >= self._sweep_at:
                    swept = sqlite_claim.sweep(conn, worker)
        self._trial = trial
        self._turns += 1
        if swept is not None:
            self._held = Runs(swept)
            self._sweep_at = 2 * len(swept) + _SWEEP_AT
        else:
            self._held.add(runs)
        self._arrived(arrivals)
        if endings.results:
            self._file.ring_results(result.task_id for result in endings.results)
        return taken

    def _settle(self, conn: sqlite3.Connection, worker: int, endings: Endings, arrivals: Arrivals,
                now: float) -> int | None:
        """Do what *endings* says; returns the message on trial that this worker still holds."""
        trial = self._trial
        for first, last in endings.ack:
            # A task begun before the lease was lost may end after `attach`: what it says must touch nobody else.
            self._held.check(first, last)
            if trial is not None and first <= trial <= last:
                conn.execute("DELETE FROM trial WHERE id = ?", (trial,))
                trial = None
        sqlite_claim.acknowledge(conn, endings.ack)
        for first, last in endings.back:
            if trial is not None and first <= trial <= last:
                conn.execute("UPDATE trial SET worker = NULL WHERE id = ?", (trial,))
                if first < trial:
                    sqlite_claim.give_back(conn, worker, first, trial - 1)
                first, trial = trial + 1, None
            if first <= last:
                sqlite_claim.give_back(conn, worker, first, last)
        for tag in endings.lost:
            if tag == trial:
                conn.execute("UPDATE trial SET worker = NULL, deaths = deaths + 1 WHERE id = ?", (tag,))
                trial = None
            else:
                sqlite_claim.count_death(conn, worker, tag, self._death_limit)
        for tag, reason in endings.dead:
            self._held.check(tag, tag)
            sqlite_claim.bury(conn, "trial" if tag == trial else "message", tag, reason, now)
            trial = None if tag == trial else trial
        if endings.back or endings.lost:
            arrivals.interest |= self._put_back
        if endings.publish:
            arrivals.add(endings.publish, now)
        if endings.results:
            sqlite_result.put(conn, endings.results, now)
        return trial

    def _attached(self) -> tuple[int, Sleeper]:
        if self._worker is None or self._sleeper is None or self._forks != self._file.forks:
            raise TransportError(f"{self._file.path}: attach first: this transport is no consumer in this process")
        return self._worker, self._sleeper

    def _lose(self, why: str = "") -> NoReturn:
        worker, self._worker = self._worker, None
        if worker is not None:
            self._file.bell().drop_worker(worker)
        why = why or f"this worker was silent for longer than its lease of {self._lease_ms / 1000:g} s"
        raise LeaseLost(f"{self._file.path}: {why}, and others may hold its deliveries; attach again")

    # -- sleep ------------------------------------------------------------------------------------------------

    @property
    def is_doubtful(self) -> bool:
        """Whether the lease was not renewed for so long that it may be over."""
        return self._worker is not None and time.monotonic() >= self._leased_until

    def fileno(self) -> int:
        """The descriptor that becomes readable when there may be work."""
        return self._attached()[1].fd

    def arm(self) -> float | None:
        """Ask to be rung; returns 0.0 if there is work already, else the seconds to sleep at most on `fileno`."""
        _, sleeper = self._attached()
        sleeper.rouse()
        sleeper.doze(MESSAGES, self._interest)
        # Only now: a message committed before the line above is seen here, one committed after it rings.
        lanes = self._file.read(self._lanes_query, self._queues)
        (earliest,), = self._file.read("SELECT min(id) FROM future")
        wait = NAP_S if earliest is None else min(NAP_S, (earliest >> FUTURE_BITS) / 1000 - time.time())
        if wait <= 0 or any(row[4] or row[5] or (row[6] and self._trial is None) for row in lanes):
            sleeper.rouse()
            return 0.0
        return wait

    def keep(self) -> int:
        """Renew the lease, bring back what dead workers held, drop some expired results; every third of a lease.

        Returns how many messages came back. Raises LeaseLost like `turn`.
        """
        worker, _ = self._attached()
        if self._file.renew_bell():
            # Newcomers do not see our lock in the new folder: give all back before they count it as a death.
            self._detach()
            self._lose("somebody removed the doorbell folder beside the file")
        leased_until = time.monotonic() + self._lease_ms / 1000
        with self._file.transaction() as conn:
            arrivals = Arrivals(conn, self._lanes)
            late = sqlite_lease.renew(conn, worker, self._lease_ms)
            if late is None:
                self._lose()
            count = sqlite_lease.reap(conn, self._file.bell(), arrivals, self._death_limit, worker, late)
            sqlite_result.prune(conn, time.time(), PRUNED)
            sqlite_chord.prune(conn, time.time(), PRUNED)
        self._leased_until = leased_until
        self._arrived(arrivals)
        return count

    # -- look -------------------------------------------------------------------------------------------------

    def queues(self) -> dict[str, QueueStat]:
        """Every queue that was ever published to, with its figures."""
        return self._file.query(sqlite_stat.queues)

    def purge(self, queue: str) -> int:
        """Drop every ready and future message of *queue*, in small transactions; returns how many."""
        count, step = 0, -1
        while step:
            with self._file.transaction() as conn:
                step = sqlite_stat.purge_ready(conn, queue)
            count += max(step, 0)
        after: int | None = 0
        while after is not None:
            with self._file.transaction() as conn:
                step, after = sqlite_stat.purge_future(conn, queue, after)
            count += step
        return count

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The newest messages that were given up."""
        return self._file.query(lambda conn: sqlite_stat.dead_letters(conn, queue, limit))

    def resolve_dead(self, ids: Sequence[int], *, replay: bool) -> int:
        """Put dead messages at the end of their queues, their deaths forgotten, or drop them; returns how many."""
        with self._file.transaction() as conn:
            arrivals = Arrivals(conn, self._lanes)
            count = sqlite_claim.replay(conn, arrivals, ids) if replay else sqlite_stat.drop_dead(conn, ids)
        self._arrived(arrivals)
        return count

    def close(self) -> None:
        """Give back what this worker holds and let go of the file. Safe to call twice."""
        if self._closed:
            return
        self._closed = True
        try:
            self._detach()
        finally:
            self._file.release()

    def _detach(self) -> None:
        if self._forks != self._file.forks:
            # A forked child: the worker, its cell and its deliveries are the parent's.
            self._worker = self._sleeper = None
        worker, self._worker = self._worker, None
        sleeper, self._sleeper = self._sleeper, None
        if sleeper is not None:
            self._file.give_back(sleeper)
        if worker is not None:
            with self._file.transaction() as conn:
                count = sqlite_claim.bring_back(conn, worker, None)
                self._file.bell().drop_worker(worker)
            if count:
                self._file.ring(MESSAGES, self._put_back)
