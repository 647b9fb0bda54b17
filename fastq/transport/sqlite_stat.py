"""Figures, purge and dead letters of the embedded broker; each step inside a transaction of the caller."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from fastq.transport.sqlite_schema import lane_range
from fastq.types import DeadLetter, QueueStat

STEP = 5000
"""Messages dropped in one transaction: about 5 ms, for which other writers wait."""

# Above the head the ids have no gaps, so those that are ready are counted by subtraction, and a long queue as
# fast as a short one; only what was handed out, or lies ahead, or died, is counted row by row.
_STATS = """
SELECT queue,
    sum(max(0, ifnull((SELECT max(id) FROM message
         WHERE id BETWEEN lane.id << 46 AND (lane.id + 1 << 46) - 1), 0) - head)),
    sum((SELECT count(*) FROM returned JOIN message ON message.id BETWEEN first AND last
         WHERE first BETWEEN lane.id << 46 AND (lane.id + 1 << 46) - 1)),
    sum((SELECT count(*) FROM held JOIN message ON message.id BETWEEN first AND last
         WHERE first BETWEEN lane.id << 46 AND (lane.id + 1 << 46) - 1)),
    sum((SELECT count(*) FROM trial WHERE worker IS NULL AND id >> 46 = lane.id)),
    sum((SELECT count(*) FROM trial WHERE worker IS NOT NULL AND id >> 46 = lane.id)),
    sum(ifnull(ahead.n, 0)), sum(ifnull(gone.n, 0))
FROM lane
LEFT JOIN (SELECT lane, count(*) AS n FROM future GROUP BY lane) AS ahead ON ahead.lane = lane.id
LEFT JOIN (SELECT lane, count(*) AS n FROM dead GROUP BY lane) AS gone ON gone.lane = lane.id
GROUP BY queue ORDER BY queue
"""


def queues(conn: sqlite3.Connection) -> dict[str, QueueStat]:
    """The figures of every queue."""
    return {queue: QueueStat(fresh + returned + tried, held + on_trial, future, dead)
            for queue, fresh, returned, held, tried, on_trial, future, dead in conn.execute(_STATS)}


def purge_ready(conn: sqlite3.Connection, queue: str) -> int:
    """Drop up to about `STEP` ready messages of *queue*; 0 when none is left."""
    execute = conn.execute
    for lane, head in execute("SELECT id, head FROM lane WHERE queue = ?", (queue,)).fetchall():
        low, high = lane_range(lane)
        fresh = execute("DELETE FROM message WHERE id > ? AND id <= ?", (head, min(head + STEP, high))).rowcount
        if fresh:
            execute("UPDATE lane SET head = ? WHERE id = ?", (head + fresh, lane))
            return fresh
        runs = execute("SELECT first, last FROM returned WHERE first BETWEEN ? AND ? LIMIT ?",
                       (low, high, STEP)).fetchall()
        returned = sum(execute("DELETE FROM message WHERE id BETWEEN ? AND ?", run).rowcount for run in runs)
        conn.executemany("DELETE FROM returned WHERE first = ?", ((first,) for first, _ in runs))
        tried = execute("DELETE FROM trial WHERE id BETWEEN ? AND ? AND worker IS NULL", (low, high)).rowcount
        if returned + tried:
            return returned + tried
    return 0


def purge_future(conn: sqlite3.Connection, queue: str, after: int) -> tuple[int, int | None]:
    """Drop those of *queue* among the `STEP` future messages after id *after*; returns how many, and where to go on."""
    window = conn.execute("SELECT future.id, queue = ? FROM future JOIN lane ON lane.id = lane WHERE future.id > ?"
                          " ORDER BY future.id LIMIT ?", (queue, after, STEP)).fetchall()
    doomed = [(ident,) for ident, is_of_queue in window if is_of_queue]
    conn.executemany("DELETE FROM future WHERE id = ?", doomed)
    return len(doomed), window[-1][0] if window else None


def dead_letters(conn: sqlite3.Connection, queue: str | None, limit: int) -> list[DeadLetter]:
    """The newest dead messages, of one queue or of all."""
    rows = conn.execute("SELECT dead.id, queue, reason, died_at, deaths, content FROM dead JOIN lane ON lane.id = lane"
                        " WHERE queue = ifnull(?, queue) ORDER BY dead.id DESC LIMIT ?", (queue, limit))
    return [DeadLetter(*row) for row in rows]


def drop_dead(conn: sqlite3.Connection, ids: Sequence[int]) -> int:
    """Drop dead messages for good; returns how many."""
    return sum(conn.execute("DELETE FROM dead WHERE id = ?", (dead,)).rowcount for dead in ids)
