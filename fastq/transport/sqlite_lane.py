"""How messages enter the embedded broker: lanes, new messages, future ones and those that fall due.

Every function but the cache runs inside the caller's write transaction.
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from fastq.exceptions import TransportError
from fastq.transport.bell import interest_of
from fastq.transport.sqlite_schema import FUTURE_BITS, LAST_LANE, lane_range
from fastq.types import Message

HIGHEST_PRIORITY = 9
_LAST_MS = (1 << 63 - FUTURE_BITS) - 1

# head stands for every id ever handed out, max(id) for those still there: one more is an id that nobody ever had.
# VALUES, not SELECT ... FROM lane: a SELECT that reads the table it fills goes through a temporary one (6 us more).
INSERT_ONE = (
    "INSERT INTO message (id, content) VALUES (1 + max((SELECT head FROM lane WHERE id = ?),"
    " ifnull((SELECT max(id) FROM message WHERE id BETWEEN ? AND ?), 0)), ?)"
)
NEXT = "SELECT 1 + max(head, ifnull((SELECT max(id) FROM message WHERE id BETWEEN ? AND ?), 0)) FROM lane WHERE id = ?"
MOVE = (
    "INSERT INTO message (id, content) SELECT ? + row_number() OVER (ORDER BY id), content"
    " FROM future WHERE id <= ? AND lane = ?"
)


class Lane(NamedTuple):
    """One queue at one priority; its messages have the ids above ``first``, up to ``last``."""

    id: int
    first: int
    last: int
    interest: int


class Lanes(dict[tuple[str, int], Lane]):
    """The lanes known to exist in the file; rows of committed transactions only, and lanes are never dropped."""

    def make(self, conn: sqlite3.Connection, queue: str, priority: int) -> Lane:
        """Find or make the row of a lane; remember it only once the transaction is committed."""
        if not queue or not 0 <= priority <= HIGHEST_PRIORITY:
            raise ValueError(f"queue {queue!r}, priority {priority!r}: a queue has a name, and a priority from 0 to 9")
        query = "SELECT id FROM lane WHERE queue = ? AND priority = ?"
        row = conn.execute(query, (queue, priority)).fetchone()
        if row is None:
            conn.execute("INSERT INTO lane (id, queue, priority, head) SELECT n, ?, ?, n << 46"
                         " FROM (SELECT ifnull(max(id), 0) + 1 AS n FROM lane)", (queue, priority))
            row = conn.execute(query, (queue, priority)).fetchone()
            if row[0] > LAST_LANE:
                raise TransportError(f"queue {queue!r}: the file has {LAST_LANE} queues, which is all it can hold")
        return Lane(row[0], *lane_range(row[0]), interest_of([queue]))


class Arrivals:
    """What one transaction put into the broker, for the bell and the cache, after the commit."""

    def __init__(self, conn: sqlite3.Connection, lanes: Lanes) -> None:
        self.interest = 0
        self.made: dict[tuple[str, int], Lane] = {}
        self._conn = conn
        self._lanes = lanes

    def lane(self, queue: str, priority: int) -> Lane:
        """The lane of a queue and priority, made if need be."""
        key = queue, priority
        lane = self._lanes.get(key) or self.made.get(key)
        if lane is None:
            lane = self.made[key] = self._lanes.make(self._conn, queue, priority)
        return lane

    def add(self, messages: Iterable[Message], now: float) -> None:
        """Store messages: those of one lane in the order given."""
        ready: dict[tuple[str, int], list[bytes]] = {}
        future: dict[int, list[tuple[int, bytes]]] = {}
        interest = 0
        for queue, content, priority, run_at, _ in messages:
            if run_at is None or run_at <= now:
                ready.setdefault((queue, priority), []).append(content)
            else:
                lane = self.lane(queue, priority)
                interest |= lane.interest
                future.setdefault(_due_ms(run_at), []).append((lane.id, content))
        for key, contents in ready.items():
            self.append(self.lane(*key), [(0, content) for content in contents])
        if future and self._add_future(future):
            self.interest |= interest

    def append(self, lane: Lane, rows: Sequence[tuple[int, bytes]]) -> None:
        """Store (deaths, content) rows at the end of a lane."""
        following, = self._conn.execute(NEXT, (lane.first, lane.last, lane.id)).fetchone()
        self._conn.executemany("INSERT INTO message (id, deaths, content) VALUES (?, ?, ?)",
                               ((following + n, deaths, content) for n, (deaths, content) in enumerate(rows)))
        self.interest |= lane.interest

    def _add_future(self, by_ms: dict[int, list[tuple[int, bytes]]]) -> bool:
        """Store future messages; returns whether one is now the earliest: sleepers must set their alarm anew."""
        earliest, = self._conn.execute("SELECT min(id) FROM future").fetchone()
        for due_ms in sorted(by_ms):
            rows, at_ms = by_ms[due_ms], due_ms
            while rows:
                # A millisecond has room for two million messages; the rest is due a millisecond later.
                low, high = at_ms << FUTURE_BITS, (at_ms + 1 << FUTURE_BITS) - 1
                top, = self._conn.execute("SELECT max(id) FROM future WHERE id BETWEEN ? AND ?", (low, high)).fetchone()
                free = low if top is None else top + 1
                part, rows = rows[:high + 1 - free], rows[high + 1 - free:]
                self._conn.executemany("INSERT INTO future (id, lane, content) VALUES (?, ?, ?)",
                                       ((free + n, lane, content) for n, (lane, content) in enumerate(part)))
                at_ms += 1
        return earliest is None or min(by_ms) << FUTURE_BITS < earliest

    def move_due(self, now: float, limit: int = 1000) -> None:
        """Make up to *limit* due messages ready, in the order in which they fell due."""
        conn = self._conn
        due = conn.execute("SELECT id, lane FROM future WHERE id < ? ORDER BY id LIMIT ?",
                           (int(now * 1000) + 1 << FUTURE_BITS, limit)).fetchall()
        if not due:
            return
        last = due[-1][0]
        for lane in {lane for _, lane in due}:
            following, = conn.execute(NEXT, (*lane_range(lane), lane)).fetchone()
            conn.execute(MOVE, (following - 1, last, lane))
            queue, = conn.execute("SELECT queue FROM lane WHERE id = ?", (lane,)).fetchone()
            self.interest |= interest_of([queue])
        conn.execute("DELETE FROM future WHERE id <= ?", (last,))


def _due_ms(run_at: float) -> int:
    if not run_at * 1000 < _LAST_MS:
        raise ValueError(f"run_at {run_at!r} lies beyond the year 2109")
    return math.ceil(run_at * 1000)
