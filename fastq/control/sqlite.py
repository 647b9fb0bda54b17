"""Remote control over the embedded broker: two more tables in its file, and its doorbell."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastq.control.mailbox import REQUEST_S, Revoked
from fastq.transport.bell import MESSAGES, Sleeper, interest_of
from fastq.transport.memory import MemoryFile
from fastq.transport.sqlite_file import FileOptions, SqliteFile
from fastq.transport.url import parse_url

# AUTOINCREMENT, so that no id is used twice: a reader goes on behind the last one that it saw.
_TABLES = (
    "CREATE TABLE IF NOT EXISTS letter (id INTEGER PRIMARY KEY AUTOINCREMENT, box TEXT NOT NULL,"
    " until REAL NOT NULL, content BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS revoked (header TEXT NOT NULL, value TEXT NOT NULL, until REAL NOT NULL,"
    " PRIMARY KEY (header, value)) WITHOUT ROWID",
)


def open_urls(urls: Sequence[str], options: Mapping[str, Any], name: str) -> SqliteMailbox:
    """Open the mailbox in the broker at *urls*, of which there is one. Raises ConfigError, TransportError."""
    address = parse_url(urls[0])
    if address.scheme == "memory":
        return SqliteMailbox(MemoryFile.named(address.target), name)
    # The transport has checked them all.
    found = {key: value for key, value in {**options, **address.options}.items() if key in FileOptions._fields}
    return SqliteMailbox(SqliteFile.open(os.path.realpath(address.target), FileOptions.read(found)), name)


class SqliteMailbox:
    """A `Mailbox` in the broker's own file."""

    def __init__(self, file: SqliteFile, name: str) -> None:
        self._file = file
        self._name = name
        self._box = ""
        self._seen = 0
        self._sleeper: Sleeper | None = None
        self._is_closed = False
        with file.transaction() as conn:
            for table in _TABLES:
                conn.execute(table)

    def listen(self, node: str) -> None:
        """Hear what is sent from now on; all workers read the same rows."""
        self._hear(self._name)

    def expect(self, address: str) -> None:
        """Hear the answers to *address*."""
        self._hear(address)

    def _hear(self, box: str) -> None:
        self._box = box
        (self._seen,), = self._file.read("SELECT coalesce(max(id), 0) FROM letter")
        self._sleeper = self._file.sleeper()
        self._sleeper.doze(MESSAGES, interest_of([box]))

    def fileno(self) -> int:
        """The descriptor of a place to wait in."""
        assert self._sleeper is not None, "listen or expect first"
        return self._sleeper.fd

    def receive(self, timeout_s: float = 0.0) -> list[bytes]:
        """Return what has come since the last time."""
        assert self._sleeper is not None, "listen or expect first"
        if timeout_s:
            select.select([self._sleeper.fd], [], [], timeout_s)
        self._sleeper.rouse()
        self._sleeper.doze(MESSAGES, interest_of([self._box]))
        # Only now: a letter committed before the line above is seen here, one committed after it rings.
        rows = self._file.read("SELECT id, content FROM letter WHERE box = ? AND id > ? AND until > ? ORDER BY id",
                               (self._box, self._seen, time.time()))
        if rows:
            self._seen = rows[-1][0]
        return [content for _, content in rows]

    def request(self, content: bytes) -> None:
        """Store a letter for all workers."""
        self._send(self._name, content)

    def answer(self, exchange: str, address: str, content: bytes) -> None:
        """Store a letter for whoever asked."""
        self._send(address, content)

    def _send(self, box: str, content: bytes) -> None:
        now = time.time()
        with self._file.transaction() as conn:
            conn.execute("DELETE FROM letter WHERE until <= ?", (now,))
            conn.execute("INSERT INTO letter (box, until, content) VALUES (?, ?, ?)", (box, now + REQUEST_S, content))
        self._file.ring(MESSAGES, interest_of([box]))

    # -- what is revoked -----------------------------------------------------------------------

    def revoke(self, revoked: Sequence[Revoked]) -> None:
        """Store rows that expire."""
        with self._file.transaction() as conn:
            conn.execute("DELETE FROM revoked WHERE until <= ?", (time.time(),))
            conn.executemany("INSERT OR REPLACE INTO revoked (value, header, until) VALUES (?, ?, ?)", revoked)

    def revoked(self) -> list[Revoked]:
        """Read the rows."""
        rows = self._file.read("SELECT value, header, until FROM revoked WHERE until > ?", (time.time(),))
        return [Revoked(*row) for row in rows]

    def abandon(self) -> None:
        """As `close`: a file answers, or says that it does not."""
        self.close()

    def close(self) -> None:
        """Let go of the place to wait in, and of the file."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._sleeper is not None:
            self._file.give_back(self._sleeper)
        self._file.release()
