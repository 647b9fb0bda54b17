"""The rows of chords and groups in the embedded file. Their tables are made when the first chord or group comes.

A chord is one row, each member that has ended another. Who completes a chord is written down in the transaction that
counts the last member, and by its name: when it is told again, because its worker died before the body was on its way,
the chord is given to it again, and to nobody else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from fastq.types import Chord, Complete, Part

TABLES = (
    "CREATE TABLE IF NOT EXISTS chord (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, size INTEGER,"
    " more INTEGER NOT NULL DEFAULT 0, counted INTEGER NOT NULL DEFAULT 0, last TEXT, is_done INTEGER NOT NULL"
    " DEFAULT 0, plan BLOB NOT NULL DEFAULT x'', expires_at REAL)",
    "CREATE INDEX IF NOT EXISTS chord_expiry ON chord (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS part (chord INTEGER NOT NULL, place INTEGER NOT NULL, task_id TEXT NOT NULL,"
    " member BLOB NOT NULL, PRIMARY KEY (chord, place, task_id)) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS rest (id TEXT NOT NULL, number INTEGER NOT NULL, raw BLOB NOT NULL, expires_at REAL,"
    " PRIMARY KEY (id, number)) WITHOUT ROWID",
    "CREATE INDEX IF NOT EXISTS rest_expiry ON rest (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE TABLE IF NOT EXISTS saved_group (id TEXT PRIMARY KEY, raw BLOB NOT NULL, expires_at REAL)",
)
NOWHERE = 1 << 62
"""The place of a member that has none: behind all others."""
DAY_S = 86_400.0
TAKEN = "taken:"
DONE_S = 300.0
"""So long a chord that is done is remembered: a member that is run twice must not begin it anew."""


def prepare(conn: sqlite3.Connection) -> None:
    """Make the tables, inside the caller's transaction."""
    for table in TABLES:
        conn.execute(table)


def open_chord(conn: sqlite3.Connection, group_id: str, size: int, plan: bytes, expires_at: float | None, *,
               renew: bool) -> None:
    """Note the size of a chord, and its plan if it comes with one."""
    if renew:
        _drop(conn, conn.execute("SELECT number FROM chord WHERE id = ? AND (is_done OR last LIKE ?)",
                                 (group_id, f"{TAKEN}%")).fetchall())
    conn.execute(
        "INSERT INTO chord (id, size, plan, expires_at) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " size = excluded.size, plan = iif(excluded.plan = x'', plan, excluded.plan), expires_at = excluded.expires_at"
        " WHERE NOT is_done", (group_id, size, plan, expires_at))


def add(conn: sqlite3.Connection, group_id: str, count: int) -> None:
    """Note that a chord has *count* members more."""
    conn.execute("INSERT INTO chord (id, more) VALUES (?, ?)"
                 " ON CONFLICT (id) DO UPDATE SET more = more + excluded.more", (group_id, count))


def count(conn: sqlite3.Connection, group_id: str, parts: Sequence[Part], expires_at: float | None) -> Complete | None:
    """Note that *parts* of one chord have ended; return what is to be completed, if it is."""
    plan = next((part.plan for part in parts if part.plan), b"")
    number, size, more, counted, last, is_done, plan = conn.execute(
        "INSERT INTO chord (id, plan, expires_at) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
        " plan = iif(plan = x'', excluded.plan, plan), expires_at = iif(is_done, expires_at, excluded.expires_at)"
        " RETURNING number, size, more, counted, last, is_done, plan", (group_id, plan, expires_at)).fetchone()
    if is_done:
        return None
    counted += conn.executemany(
        "INSERT OR IGNORE INTO part (chord, place, task_id, member) VALUES (?, ?, ?, ?)",
        [(number, _place(part), part.task_id, part.member) for part in parts]).rowcount
    conn.execute("UPDATE chord SET counted = ? WHERE number = ?", (counted, number))
    if size is None or counted < size + more:
        return None
    found = next((part for part in parts if last in (None, part.task_id)), None)
    if found is None:
        return None     # somebody else completes it
    if last is None:
        found = parts[-1]
        conn.execute("UPDATE chord SET last = ? WHERE number = ?", (found.task_id, number))
    task_ids = [row[0] for row in conn.execute("SELECT task_id FROM part WHERE chord = ? ORDER BY place", (number,))]
    return Complete(group_id, task_ids, found, plan)


def get(conn: sqlite3.Connection, group_id: str, taker: str, now: float) -> Chord:
    """Return what is known of a chord, which *taker* takes if it has a name, and nobody has it."""
    row = conn.execute("SELECT number, is_done, last FROM chord WHERE id = ?", (group_id,)).fetchone()
    number, is_done, last = row or (None, 0, None)
    if taker and row and not is_done:
        if last is not None and last.startswith(TAKEN):
            is_done = last != TAKEN + taker
        else:
            # It stands in for the last member, which is not needed any more: the taker's message is in its queue.
            conn.execute("UPDATE chord SET last = ? WHERE number = ?", (TAKEN + taker, number))
    members = [row[0] for row in conn.execute("SELECT member FROM part WHERE chord = ? ORDER BY place", (number,))]
    return Chord(bool(is_done), members, get_group(conn, group_id, now))


def close(conn: sqlite3.Connection, group_ids: Sequence[str], now: float) -> None:
    """Note that chords are done."""
    for group_id in group_ids:
        row = conn.execute("UPDATE chord SET is_done = 1, plan = x'', expires_at = ? WHERE id = ? RETURNING number",
                           (now + DONE_S, group_id)).fetchone()
        if row is not None:
            conn.execute("DELETE FROM part WHERE chord = ?", row)
        conn.execute("UPDATE rest SET expires_at = ? WHERE id = ?", (now + DONE_S, group_id))


def put_rest(conn: sqlite3.Connection, ref: str, blocks: Sequence[bytes], expires_at: float | None) -> None:
    """Keep the blocks of the rest of a chain."""
    conn.executemany("INSERT OR REPLACE INTO rest (id, number, raw, expires_at) VALUES (?, ?, ?, ?)",
                     [(ref, number, raw, expires_at) for number, raw in enumerate(blocks, 1)])


def get_rest(conn: sqlite3.Connection, ref: str, number: int, expires_at: float | None, now: float) -> bytes | None:
    """Return one block, if it is there; it and those behind it are kept anew."""
    row = conn.execute("SELECT raw FROM rest WHERE id = ? AND number = ? AND ifnull(expires_at, 1e308) > ?",
                       (ref, number, now)).fetchone()
    if row is not None and expires_at is not None:
        # Once a day: a chain may have thousands of blocks.
        conn.execute("UPDATE rest SET expires_at = ? WHERE id = ? AND number >= ? AND expires_at < ?",
                     (expires_at, ref, number, expires_at - DAY_S))
    return None if row is None else row[0]


def put_group(conn: sqlite3.Connection, group_id: str, raw: bytes, expires_at: float | None) -> None:
    """Keep the members of a group."""
    conn.execute("INSERT OR REPLACE INTO saved_group (id, raw, expires_at) VALUES (?, ?, ?)",
                 (group_id, raw, expires_at))


def get_group(conn: sqlite3.Connection, group_id: str, now: float) -> bytes | None:
    """Return the members of a group."""
    row = conn.execute("SELECT raw FROM saved_group WHERE id = ? AND ifnull(expires_at, 1e308) > ?",
                       (group_id, now)).fetchone()
    return None if row is None else row[0]


def prune(conn: sqlite3.Connection, now: float, limit: int) -> int:
    """Drop up to *limit* chords, as many groups and blocks of chains that have expired; returns how many."""
    if conn.execute("SELECT 1 FROM sqlite_master WHERE name = 'saved_group'").fetchone() is None:
        return 0
    prepare(conn)   # it may have been made before some of them were known
    late = conn.execute("SELECT number FROM chord WHERE expires_at <= ? ORDER BY expires_at LIMIT ?",
                        (now, limit)).fetchall()
    _drop(conn, late)
    groups = conn.execute("DELETE FROM saved_group WHERE id IN (SELECT id FROM saved_group WHERE expires_at <= ?"
                          " LIMIT ?)", (now, limit)).rowcount
    rests = conn.execute("DELETE FROM rest WHERE (id, number) IN (SELECT id, number FROM rest WHERE expires_at <= ?"
                         " LIMIT ?)", (now, limit)).rowcount
    return len(late) + groups + rests


def _drop(conn: sqlite3.Connection, numbers: Sequence[tuple[int]]) -> None:
    conn.executemany("DELETE FROM part WHERE chord = ?", numbers)
    conn.executemany("DELETE FROM chord WHERE number = ?", numbers)


def _place(part: Part) -> int:
    return NOWHERE if part.place is None else part.place
