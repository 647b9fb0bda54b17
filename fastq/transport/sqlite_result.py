"""The result rows of the embedded file, for the transport (which stores them with the acks) and the store over it."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from fastq.types import Result

# A SUCCESS stays until it expires: a second run of a task, or a late failure of a lost one, does not overwrite it.
PUT = (
    "INSERT INTO result (task_id, state, meta, expires_at) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (task_id) DO UPDATE SET state = excluded.state, meta = excluded.meta,"
    " expires_at = excluded.expires_at WHERE result.state != 'SUCCESS' OR result.expires_at <= ?"
)
PRUNE = (
    "DELETE FROM result WHERE task_id IN"
    " (SELECT task_id FROM result WHERE expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?)"
)


def put(conn: sqlite3.Connection, results: Sequence[Result], now: float) -> None:
    """Store documents inside the caller's transaction, and drop up to twice as many that have expired.

    So the table shrinks whenever it could grow, at any rate, and nobody ever meets a mountain of old rows.
    """
    prune(conn, now, 2 * len(results))
    conn.executemany(PUT, [(*result[:4], now) for result in results])


def prune(conn: sqlite3.Connection, now: float, limit: int) -> int:
    """Drop up to *limit* expired documents; returns how many."""
    return conn.execute(PRUNE, (now, limit)).rowcount


def select(count: int) -> str:
    """The query for *count* ids, and after them the time by which a document must not have expired."""
    marks = ", ".join("?" * count)
    return (f"SELECT task_id, state, meta FROM result WHERE task_id IN ({marks})"
            " AND ifnull(expires_at, 1e308) > ?")
