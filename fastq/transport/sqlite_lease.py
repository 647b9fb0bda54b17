"""Who works on the file: workers, their leases, and the end of those that died or fell silent.

A worker is dead when the kernel has dropped its lock (see `bell`), which is known at once, or when its lease is over,
for it may be stopped or hang. Leases are in milliseconds of the machine's monotonic clock, which all its processes
share: setting the clock, or a laptop that slept, ends no lease. A restart of the machine resets that clock, but
also drops every lock.
"""

from __future__ import annotations

import os
import sqlite3
import time

from fastq.transport import sqlite_claim
from fastq.transport.bell import ANY, Bell
from fastq.transport.sqlite_lane import Arrivals


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000


def enter(conn: sqlite3.Connection, bell: Bell, name: str, lease_ms: int) -> int:
    """Make the row of a new worker, and hold its lock; returns its id."""
    worker = conn.execute("INSERT INTO worker (name, pid, lease_until) VALUES (?, ?, ?)",
                          (name, os.getpid(), _now_ms() + lease_ms)).lastrowid
    assert worker is not None
    bell.hold_worker(worker)
    return worker


def renew(conn: sqlite3.Connection, worker: int, lease_ms: int) -> bool | None:
    """Renew a lease; returns whether it had run out, None when the worker was given up."""
    now = _now_ms()
    row = conn.execute("SELECT lease_until FROM worker WHERE id = ?", (worker,)).fetchone()
    if row is None:
        return None
    conn.execute("UPDATE worker SET lease_until = ? WHERE id = ?", (now + lease_ms, worker))
    return bool(row[0] < now)


def reap(conn: sqlite3.Connection, bell: Bell, arrivals: Arrivals, limit: int, worker: int | None,
         late: bool = False) -> int:
    """Bring back what every dead worker but *worker* held; returns how many messages.

    Who was *late* itself does not judge others by the clock: they may all have been stopped together.
    """
    now, count = _now_ms(), 0
    for other, lease_until in conn.execute("SELECT id, lease_until FROM worker").fetchall():
        if other != worker and (bell.is_dead(other) or (lease_until < now and not late)):
            count += sqlite_claim.bring_back(conn, other, limit)
    if count:
        arrivals.interest = ANY
    return count
