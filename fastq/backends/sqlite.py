"""Results in a SQLite file, by default the one that the embedded broker uses; then both share one connection.

Who waits is rung by whoever stores, from any process, at the commit; nobody polls.
"""

from __future__ import annotations

import os
import select
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from fastq.exceptions import BackendError, TransportError
from fastq.states import READY_STATES
from fastq.transport import sqlite_chord, sqlite_result
from fastq.transport.bell import RESULTS, Sleeper, interest_of
from fastq.transport.sqlite_file import FileOptions, SqliteFile
from fastq.transport.url import merge_options, parse_url
from fastq.types import Chord, Claim, Complete, Opening, Part, Result

NAP_S = 5.0
"""The longest sleep: should a ring ever be lost, a result is seen this much later."""
_MANY = 500
"""Ids in one query; SQLite's oldest limit is 999 values."""


def open_url(url: str, options: Mapping[str, object]) -> SqliteStore:
    """Open the store at a ``sqlite://`` address. Raises ConfigError, BackendError."""
    address = parse_url(url)
    parsed = FileOptions.read(merge_options(url, address.options, options, FileOptions._fields))
    with _as_backend_error():
        return SqliteStore(SqliteFile.open(os.path.realpath(address.target), parsed))


@contextmanager
def _as_backend_error() -> Iterator[None]:
    try:
        yield
    except TransportError as error:
        raise BackendError(str(error)) from error


class SqliteStore:
    """A `ResultStore` in a SQLite file. Safe to use from many threads, and after a fork.

    Example::

        store = fastq.backends.open("sqlite:///tasks.db")
        store.put([Result("0190...", "SUCCESS", b"{...}", expires_at=time.time() + 3600)])
        store.get(["0190..."])
    """

    joins = True
    polls_chords = False

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._closed = False
        self._has_chords: sqlite3.Connection | None = None
        """The connection on which the tables of chords were seen: another one may lead to another file."""

    def put(self, results: Sequence[Result]) -> None:
        """Store documents in one transaction, and wake those who wait for them. Raises BackendError."""
        with _as_backend_error():
            with self._file.transaction() as conn:
                sqlite_result.put(conn, results, time.time())
            self._file.ring_results(result.task_id for result in results)

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        """The documents that exist and have not expired. Raises BackendError."""
        return {task_id: meta for task_id, _, meta in self._rows(task_ids)}

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, bytes]:
        """Block until one of *task_ids* has a document in a ready state; None waits for ever.

        Returns those that are ready; an empty dict when *timeout* seconds have passed. Raises BackendError.
        """
        found = self._ready(task_ids)
        if found or not task_ids or (timeout is not None and timeout <= 0):
            return found
        deadline = None if timeout is None else time.monotonic() + timeout
        with _as_backend_error():
            self._file.retain()  # another thread may close the store meanwhile
            try:
                sleeper = self._file.sleeper()
                try:
                    return self._sleep_until_ready(sleeper, task_ids, deadline)
                finally:
                    self._file.give_back(sleeper)
            finally:
                self._file.release()

    def _sleep_until_ready(self, sleeper: Sleeper, task_ids: Sequence[str], deadline: float | None) -> dict[str, bytes]:
        interest = interest_of(task_ids)
        poll = select.poll()
        poll.register(sleeper.fd, select.POLLIN)
        while True:
            sleeper.doze(RESULTS, interest)
            # Only now: what was committed before the line above is seen here, what is committed after it rings.
            found = self._ready(task_ids)
            left = NAP_S if deadline is None else min(NAP_S, deadline - time.monotonic())
            if found or left <= 0:
                return found
            poll.poll(left * 1000)
            sleeper.rouse()

    def _ready(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        return {task_id: meta for task_id, state, meta in self._rows(task_ids) if state in READY_STATES}

    def _rows(self, task_ids: Sequence[str]) -> Iterator[tuple[str, str, bytes]]:
        now = time.time()
        for start in range(0, len(task_ids), _MANY):
            part = task_ids[start:start + _MANY]
            with _as_backend_error():
                rows = self._file.read(sqlite_result.select(len(part)), (*part, now))
            yield from rows

    def forget(self, task_ids: Iterable[str]) -> None:
        """Drop documents; unknown ids are fine. Raises BackendError."""
        with _as_backend_error(), self._file.transaction() as conn:
            conn.executemany("DELETE FROM result WHERE task_id = ?", [(task_id,) for task_id in task_ids])

    def prune(self, limit: int = 1000) -> int:
        """Drop up to *limit* expired documents; returns how many. Raises BackendError."""
        with _as_backend_error(), self._file.transaction() as conn:
            now = time.time()
            return sqlite_result.prune(conn, now, limit) + sqlite_chord.prune(conn, now, limit)

    # -- chords and groups ---------------------------------------------------------------------

    def chord_open(self, group_id: str, size: int, *, group: bytes | None = None, plan: bytes = b"",
                   expires_at: float | None = None, renew: bool = False) -> None:
        """Say of how many members a chord is; see `Chords.chord_open`."""
        self.chord_open_all([Opening(group_id, size, group, plan)], expires_at=expires_at, renew=renew)

    def chord_open_all(self, opens: Sequence[Opening], *, expires_at: float | None = None, renew: bool = False) -> None:
        """`chord_open` for many, in one transaction."""
        with self._chords() as conn:
            for group_id, size, group, plan in opens:
                sqlite_chord.open_chord(conn, group_id, size, plan, expires_at, renew=renew)
                if group is not None:
                    sqlite_chord.put_group(conn, group_id, group, expires_at)

    def chord_add(self, group_id: str, count: int = 1) -> None:
        """Say that a chord has *count* members more."""
        with self._chords() as conn:
            sqlite_chord.add(conn, group_id, count)

    def chord_count(self, parts: Sequence[Part], expires_at: float | None = None) -> list[Complete]:
        """Note that members of chords have ended; returns the chords to complete. One transaction."""
        groups: dict[str, list[Part]] = {}
        for part in parts:
            groups.setdefault(part.group_id, []).append(part)
        with self._chords() as conn:
            found = [sqlite_chord.count(conn, group_id, own, expires_at) for group_id, own in groups.items()]
        return [complete for complete in found if complete is not None]

    def chord_get(self, group_id: str, taker: str = "") -> Chord:
        """What is known of a chord, which *taker* takes."""
        with self._chords() as conn:
            return sqlite_chord.get(conn, group_id, taker, time.time())

    def chord_hold(self, claims: Sequence[Claim], expires_at: float | None = None) -> None:
        """Do nothing: here a claim never runs out."""

    def chord_close(self, group_ids: Sequence[str]) -> None:
        """Note that the bodies of chords were sent, and drop the rest."""
        with self._chords() as conn:
            sqlite_chord.close(conn, group_ids, time.time())

    def rest_put(self, ref: str, blocks: Sequence[bytes], expires_at: float | None) -> None:
        """Keep the rest of a chain, in blocks; see `Chords.rest_put`."""
        with self._chords() as conn:
            sqlite_chord.put_rest(conn, ref, blocks, expires_at)

    def rest_get(self, ref: str, number: int, expires_at: float | None) -> bytes | None:
        """One block of the rest of a chain."""
        with self._chords() as conn:
            return sqlite_chord.get_rest(conn, ref, number, expires_at, time.time())

    def group_put(self, group_id: str, raw: bytes, expires_at: float | None) -> None:
        """Keep the members of a group."""
        with self._chords() as conn:
            sqlite_chord.put_group(conn, group_id, raw, expires_at)

    def group_get(self, group_id: str) -> bytes | None:
        """The members of a group that were kept."""
        with self._chords() as conn:
            return sqlite_chord.get_group(conn, group_id, time.time())

    def group_forget(self, group_id: str) -> None:
        """Drop the members of a group."""
        with self._chords() as conn:
            conn.execute("DELETE FROM saved_group WHERE id = ?", (group_id,))

    @contextmanager
    def _chords(self) -> Iterator[sqlite3.Connection]:
        """A transaction in which the tables of chords are there. Raises BackendError."""
        with _as_backend_error(), self._file.transaction() as conn:
            if conn is not self._has_chords:
                sqlite_chord.prepare(conn)
            yield conn
        self._has_chords = conn

    def close(self) -> None:
        """Let go of the file. Safe to call twice."""
        if not self._closed:
            self._closed = True
            self._file.release()
