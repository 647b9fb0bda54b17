"""The tables of the embedded broker and store, and the check that a file holds them. Knows no transport.

Ids are composed, so that one b-tree in the order of its key serves several queues without an index:

    message.id   lane << 46 | serial       a lane is one (queue, priority); its ids are one range
    future.id    due_ms << 21 | serial     the earliest is the first

Every message is in one place at a time:

    future --due--> message above lane.head           ready
                    message in a run of `held`        in a worker's hand
                    message in a run of `returned`    ready again, before the rest
                    trial                             ready or held, one at a time for each worker
                    dead                              given up
"""

from __future__ import annotations

import sqlite3

from fastq.exceptions import TransportError

VERSION = 1
APPLICATION = 0x66617371
"""``PRAGMA application_id``: marks the file as fastq's."""

LANE_BITS = 46
LAST_LANE = (1 << 63 - LANE_BITS) - 1
FUTURE_BITS = 21

# lane.head: every id up to it has been handed out at least once; it never goes back, so no id is used twice.
# held: one row for a whole claim, not one for each message: two writes a batch in place of a thousand.
# worker: AUTOINCREMENT, so that the id of one that was given up never fits another.
TABLES = """
CREATE TABLE lane (id INTEGER PRIMARY KEY, queue TEXT NOT NULL, priority INTEGER NOT NULL, head INTEGER NOT NULL,
    UNIQUE (queue, priority));
CREATE TABLE message (id INTEGER PRIMARY KEY, deaths INTEGER NOT NULL DEFAULT 0, content BLOB NOT NULL);
CREATE TABLE held (first INTEGER PRIMARY KEY, last INTEGER NOT NULL, worker INTEGER NOT NULL);
CREATE TABLE returned (first INTEGER PRIMARY KEY, last INTEGER NOT NULL);
CREATE TABLE trial (id INTEGER PRIMARY KEY, deaths INTEGER NOT NULL, content BLOB NOT NULL, worker INTEGER);
CREATE TABLE future (id INTEGER PRIMARY KEY, lane INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE dead (id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, reason TEXT NOT NULL,
    died_at REAL NOT NULL, deaths INTEGER NOT NULL, content BLOB NOT NULL);
CREATE TABLE worker (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, pid INTEGER NOT NULL,
    lease_until INTEGER NOT NULL);
CREATE TABLE result (task_id TEXT PRIMARY KEY, state TEXT NOT NULL, meta BLOB NOT NULL, expires_at REAL)
    WITHOUT ROWID;
CREATE INDEX result_expiry ON result (expires_at) WHERE expires_at IS NOT NULL
"""


def lane_range(lane: int) -> tuple[int, int]:
    """The ids that lie in a lane: above the first, up to the last."""
    return lane << LANE_BITS, (lane + 1 << LANE_BITS) - 1


def is_ready(path: str, conn: sqlite3.Connection) -> bool:
    """Tell whether the tables are there. Raises TransportError when the file is somebody else's, or newer."""
    version, application, tables = conn.execute(
        "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM pragma_application_id),"
        " (SELECT count(*) FROM sqlite_master)").fetchone()
    if application == APPLICATION and version == VERSION:
        return True
    if application == APPLICATION and version > VERSION:
        raise TransportError(f"{path}: made by a newer fastq (format {version}, this one writes {VERSION});"
                             " upgrade fastq here, or use another file")
    if tables or application not in (0, APPLICATION):
        raise TransportError(f"{path}: holds the tables of another program; give fastq a file of its own")
    return False


def create(conn: sqlite3.Connection) -> None:
    """Make the tables; the caller holds the write lock and commits."""
    # Not executescript, which commits first.
    for table in TABLES.split(";"):
        conn.execute(table)
    conn.execute(f"PRAGMA application_id = {APPLICATION}")
    conn.execute(f"PRAGMA user_version = {VERSION}")
