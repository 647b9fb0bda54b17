"""How messages leave the embedded broker: claims, acknowledgements, hand-backs, deaths, dead workers.

Every function runs inside the caller's write transaction and keeps what `sqlite_schema` promises: a message at or
below its lane's head lies in exactly one run, of `held` or of `returned`; one above it is ready.

A death is counted for every message that a dead worker held, for nobody knows which of them killed it. So that an
innocent one is not condemned by its neighbour, a message that is one death short of the limit goes to `trial`, of
which a worker gets one at a time: the death that condemns a message was never shared with another that it condemned.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import groupby

from fastq.exceptions import NotHeld
from fastq.transport.sqlite_lane import Arrivals
from fastq.transport.sqlite_schema import lane_range
from fastq.types import Deliveries

SELECT = "SELECT id, deaths, content FROM message WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?"
_PLACES = (
    "EXISTS (SELECT 1 FROM message WHERE id > lane.head AND id < lane.id + 1 << 46),"
    " EXISTS (SELECT 1 FROM returned WHERE first > lane.id << 46 AND first < lane.id + 1 << 46),"
    " EXISTS (SELECT 1 FROM trial WHERE id > lane.id << 46 AND id < lane.id + 1 << 46 AND worker IS NULL)"
)


def lanes_query(queues: Sequence[str]) -> str:
    """The query for the lanes of *queues*, best first, and where each has messages."""
    marks = ", ".join("?" * len(queues))
    return f"SELECT id, queue, priority, head, {_PLACES} FROM lane WHERE queue IN ({marks}) ORDER BY priority DESC, id"


def not_held(tag: int) -> NotHeld:
    """The error for a delivery that ended twice, or was given to others."""
    return NotHeld(f"delivery {tag} is not held by this worker; nothing was changed")


class Runs:
    """What this worker was given since it attached and may still hold, in its own memory: runs of tags, in order.

    A superset: runs that have ended stay until the next `sweep`. Neighbours are joined, so it stays short.
    """

    __slots__ = ("_first", "_last")

    def __init__(self, runs: Iterable[tuple[int, int]] = ()) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self.add(runs)

    def __len__(self) -> int:
        return len(self._first)

    def add(self, runs: Iterable[tuple[int, int]]) -> None:
        """Note that runs were claimed; what was handed back and comes again lies in runs that are here already."""
        for first, last in runs:
            begin, end = bisect_left(self._last, first - 1), bisect_right(self._first, last + 1)
            if begin < end:
                first, last = min(first, self._first[begin]), max(last, self._last[end - 1])
            self._first[begin:end] = [first]
            self._last[begin:end] = [last]

    def check(self, first: int, last: int) -> None:
        """Raise NotHeld if a tag from *first* to *last* was not claimed."""
        while first <= last:
            at = bisect_right(self._first, first) - 1
            if at < 0 or self._last[at] < first:
                raise not_held(first)
            first = self._last[at] + 1


class Claim:
    """Takes up to a credit of messages for one worker: higher priorities first, queues of one priority in turn."""

    def __init__(self, conn: sqlite3.Connection, worker: int, trial: int | None) -> None:
        self.trial = trial
        self.runs: list[tuple[int, int]] = []
        self._conn = conn
        self._worker = worker

    def take(self, query: str, queues: Sequence[str], credit: int, turn: int) -> Deliveries:
        """Take messages from the lanes that *query* finds; *turn* says whose turn it is to be first."""
        found = self._conn.execute(query, queues).fetchall()
        ready = [_Source(*row) for row in found if row[4] or row[5] or (row[6] and self.trial is None)]
        taken: Deliveries = []
        for _, group in groupby(ready, key=lambda source: source.priority):
            sources = list(group)
            at = turn % len(sources)
            sources = sources[at:] + sources[:at]
            while credit and sources:
                hungry = []
                for n, source in enumerate(sources):
                    share = -(-credit // (len(sources) - n))
                    rows = self._take(source, share) if share else []
                    credit -= len(rows)
                    if rows:
                        taken.append((source.queue, rows))
                    if len(rows) == share:
                        hungry.append(source)
                sources = hungry
        return taken

    def _take(self, source: _Source, n: int) -> list[tuple[int, int, bytes]]:
        rows: list[tuple[int, int, bytes]] = []
        low, high = lane_range(source.lane)
        if source.has_trial and self.trial is None:
            rows += self._take_trial(low, high)
        if source.has_returned and len(rows) < n:
            rows += self._take_returned(low, high, n - len(rows))
        if source.has_fresh and len(rows) < n:
            rows += self._take_fresh(source, high, n - len(rows))
        return rows

    def _take_trial(self, low: int, high: int) -> list[tuple[int, int, bytes]]:
        rows = self._conn.execute("SELECT id, deaths, content FROM trial WHERE id BETWEEN ? AND ? AND worker IS NULL"
                                  " ORDER BY id LIMIT 1", (low, high)).fetchall()
        if rows:
            self.trial = rows[0][0]
            self._conn.execute("UPDATE trial SET worker = ? WHERE id = ?", (self._worker, self.trial))
            self.runs.append((rows[0][0], rows[0][0]))
        return rows

    def _take_returned(self, low: int, high: int, n: int) -> list[tuple[int, int, bytes]]:
        execute = self._conn.execute
        rows: list[tuple[int, int, bytes]] = []
        while len(rows) < n:
            run = execute("SELECT first, last FROM returned WHERE first BETWEEN ? AND ? ORDER BY first LIMIT 1",
                          (low, high)).fetchone()
            if run is None:
                break
            first, last = run
            found = execute(SELECT, (first, last, n - len(rows))).fetchall()
            execute("DELETE FROM returned WHERE first = ?", (first,))
            if found:
                rows += found
                self._hold(first, found[-1][0])
                if len(rows) == n and found[-1][0] < last:
                    execute("INSERT INTO returned VALUES (?, ?)", (found[-1][0] + 1, last))
        return rows

    def _take_fresh(self, source: _Source, high: int, n: int) -> list[tuple[int, int, bytes]]:
        rows = self._conn.execute(SELECT, (source.head + 1, high, n)).fetchall()
        if rows:
            source.head = rows[-1][0]
            self._hold(rows[0][0], source.head)
            self._conn.execute("UPDATE lane SET head = ? WHERE id = ?", (source.head, source.lane))
        return rows

    def _hold(self, first: int, last: int) -> None:
        self._conn.execute("INSERT INTO held VALUES (?, ?, ?)", (first, last, self._worker))
        self.runs.append((first, last))


class _Source:
    __slots__ = ("has_fresh", "has_returned", "has_trial", "head", "lane", "priority", "queue")

    def __init__(self, lane: int, queue: str, priority: int, head: int, fresh: int, returned: int, trial: int) -> None:
        self.lane, self.queue, self.priority, self.head = lane, queue, priority, head
        self.has_fresh, self.has_returned, self.has_trial = fresh, returned, trial


def acknowledge(conn: sqlite3.Connection, runs: Iterable[tuple[int, int]]) -> None:
    """Drop the messages of *runs*; the rows of `held` are swept later, by `sweep`."""
    conn.executemany("DELETE FROM message WHERE id BETWEEN ? AND ?", runs)


def sweep(conn: sqlite3.Connection, worker: int) -> list[tuple[int, int]]:
    """Drop the worker's runs in which no message is left; returns those that remain, and the message on trial."""
    conn.execute("DELETE FROM held WHERE worker = ? AND NOT EXISTS"
                 " (SELECT 1 FROM message WHERE id BETWEEN held.first AND held.last)", (worker,))
    return conn.execute("SELECT first, last FROM held WHERE worker = ? UNION ALL SELECT id, id FROM trial"
                        " WHERE worker = ? ORDER BY 1", (worker, worker)).fetchall()


def release(conn: sqlite3.Connection, worker: int, first: int, last: int) -> None:
    """Cut the ids *first* to *last* out of the worker's runs; afterwards they lie in none."""
    at = first
    while at <= last:
        run = conn.execute("SELECT first, last FROM held WHERE first <= ? AND last >= ? AND worker = ?"
                           " ORDER BY first DESC LIMIT 1", (at, at, worker)).fetchone()
        if run is None:
            raise not_held(at)
        low, high = run
        conn.execute("DELETE FROM held WHERE first = ?", (low,))
        if low < at:
            conn.execute("INSERT INTO held VALUES (?, ?, ?)", (low, at - 1, worker))
        if high > last:
            conn.execute("INSERT INTO held VALUES (?, ?, ?)", (last + 1, high, worker))
        at = high + 1


def give_back(conn: sqlite3.Connection, worker: int, first: int, last: int) -> None:
    """Make the messages *first* to *last* ready again, in their old places."""
    release(conn, worker, first, last)
    conn.execute("INSERT INTO returned VALUES (?, ?)", (first, last))


def count_death(conn: sqlite3.Connection, worker: int, tag: int, limit: int) -> None:
    """Make one message ready again with one more death; one short of *limit* it is to be tried alone."""
    release(conn, worker, tag, tag)
    _return_with_death(conn, tag, tag, limit)


def _return_with_death(conn: sqlite3.Connection, first: int, last: int, limit: int) -> int:
    span = first, last
    count = conn.execute("UPDATE message SET deaths = deaths + 1 WHERE id BETWEEN ? AND ?", span).rowcount
    alone = max(1, limit - 1)
    conn.execute("INSERT INTO trial SELECT id, deaths, content, NULL FROM message WHERE id BETWEEN ? AND ?"
                 " AND deaths >= ?", (*span, alone))
    moved = conn.execute("DELETE FROM message WHERE id BETWEEN ? AND ? AND deaths >= ?", (*span, alone)).rowcount
    if moved < count:
        conn.execute("INSERT INTO returned VALUES (?, ?)", span)
    return count


def bring_back(conn: sqlite3.Connection, worker: int, limit: int | None) -> int:
    """Return all that *worker* holds and forget the worker; counts a death for each unless *limit* is None."""
    runs = conn.execute("SELECT first, last FROM held WHERE worker = ?", (worker,)).fetchall()
    conn.execute("DELETE FROM held WHERE worker = ?", (worker,))
    count = 0
    for first, last in runs:
        if limit is not None:
            count += _return_with_death(conn, first, last, limit)
            continue
        left, = conn.execute("SELECT count(*) FROM message WHERE id BETWEEN ? AND ?", (first, last)).fetchone()
        if left:
            conn.execute("INSERT INTO returned VALUES (?, ?)", (first, last))
            count += left
    count += conn.execute("UPDATE trial SET worker = NULL, deaths = deaths + ? WHERE worker = ?",
                          (limit is not None, worker)).rowcount
    conn.execute("DELETE FROM worker WHERE id = ?", (worker,))
    return count


def bury(conn: sqlite3.Connection, table: str, tag: int, reason: str, now: float) -> None:
    """Move one message from `message` or `trial` to the dead."""
    conn.execute(f"INSERT INTO dead (lane, reason, died_at, deaths, content)"
                 f" SELECT id >> 46, ?, ?, deaths, content FROM {table} WHERE id = ?", (reason, now, tag))
    conn.execute(f"DELETE FROM {table} WHERE id = ?", (tag,))


def replay(conn: sqlite3.Connection, arrivals: Arrivals, ids: Sequence[int]) -> int:
    """Put dead messages at the end of their lanes, with no deaths; returns how many."""
    count = 0
    for dead in ids:
        row = conn.execute("SELECT queue, priority, content FROM dead JOIN lane ON lane.id = dead.lane"
                           " WHERE dead.id = ?", (dead,)).fetchone()
        if row is not None:
            arrivals.append(arrivals.lane(row[0], row[1]), [(0, row[2])])
            count += conn.execute("DELETE FROM dead WHERE id = ?", (dead,)).rowcount
    return count
