"""The yardstick: what SQLite alone needs, through the standard library, for the same bytes.

Same file mode (WAL, synchronous=NORMAL) and same content size as a fastq message; no task, no worker, no id.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable

CONTENT = b"x" * int(os.environ["BENCH_CONTENT_BYTES"])
CLAIM = 500
LEASE_S = 30.0

db = sqlite3.connect(os.path.join(os.environ["BENCH_FOLDER"], "bare.db"), isolation_level=None)
db.execute("PRAGMA journal_mode=WAL")
db.execute("PRAGMA synchronous=NORMAL")
db.execute("CREATE TABLE IF NOT EXISTS message (id INTEGER PRIMARY KEY, content BLOB NOT NULL)")


def call() -> None:
    db.execute("INSERT INTO message (content) VALUES (?)", (CONTENT,))


def call_many(n: int) -> None:
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO message (content) VALUES (?)", ((CONTENT,) for _ in range(n)))
    db.execute("COMMIT")


def drain(n: int, timed: Callable[[Callable[[], None]], dict[str, float]]) -> dict[str, float]:
    """Claim 500 with a lease, delete them in the transaction that claims the next 500."""
    db.execute("CREATE TABLE job (id INTEGER PRIMARY KEY, leased_until REAL, content BLOB NOT NULL)")
    db.execute("CREATE INDEX job_ready ON job (id) WHERE leased_until IS NULL")
    db.execute("BEGIN IMMEDIATE")
    db.executemany("INSERT INTO job (content) VALUES (?)", ((CONTENT,) for _ in range(n)))
    db.execute("COMMIT")
    return timed(claim_until_empty)


def claim_until_empty() -> None:
    done: tuple[int, int] | None = None
    while True:
        db.execute("BEGIN IMMEDIATE")
        if done:
            db.execute("DELETE FROM job WHERE id BETWEEN ? AND ?", done)
        rows = db.execute(
            "SELECT id, content FROM job WHERE leased_until IS NULL ORDER BY id LIMIT ?", (CLAIM,)
        ).fetchall()
        if rows:
            done = (rows[0][0], rows[-1][0])
            db.execute(
                "UPDATE job SET leased_until = ? WHERE leased_until IS NULL AND id BETWEEN ? AND ?",
                (time.time() + LEASE_S, *done),
            )
        db.execute("COMMIT")
        if not rows:
            return


def core(n: int, timed: Callable[[Callable[[], None]], dict[str, float]]) -> dict[str, float]:
    """The least that any Python queue does for a message in memory: decode its JSON body, call the function."""
    body = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'

    def noop() -> None:
        pass

    def work() -> None:
        for _ in range(n):
            args, kwargs, _embed = json.loads(body)
            noop(*args, **kwargs)

    return timed(work)
