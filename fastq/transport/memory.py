"""A broker in the memory of one process: the embedded broker over a database without a file.

The same code, so the same semantics; for tests and demonstrations. Transports and stores opened on one
``memory://name`` share it, from any thread; it is gone when the last of them is closed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from fastq.exceptions import TransportError
from fastq.transport.bell import Bell
from fastq.transport.sqlite import SqliteTransport, TransportOptions
from fastq.transport.sqlite_file import FileOptions, SqliteFile
from fastq.transport.url import merge_options, parse_url


class MemoryFile(SqliteFile):
    """A `SqliteFile` without a file."""

    @classmethod
    def named(cls, name: str) -> SqliteFile:
        """Open or share the broker called *name*."""
        return cls.open(f"memory://{name}", FileOptions())

    def _open_once(self) -> sqlite3.Connection:
        if self.forks:
            raise TransportError(f"{self.path}: lives in the process that opened it, and a forked child has no part in"
                                 " it; use sqlite:///tasks.db to reach other processes")
        conn = sqlite3.connect(":memory:", timeout=0, isolation_level=None, check_same_thread=False)
        self._prepare(conn)
        return conn

    def _make_bell(self) -> Bell:
        return Bell()

    def is_replaced(self) -> bool:
        """Never: it has no name outside this process."""
        return False

    def before_fork(self) -> None:
        """Nothing to do: without a file there are no locks, and closing would lose everything."""


def open_url(url: str, options: Mapping[str, object]) -> SqliteTransport:
    """Open the broker at a ``memory://`` address. Raises ConfigError."""
    address = parse_url(url)
    found = merge_options(url, address.options, options, TransportOptions._fields)
    return SqliteTransport(MemoryFile.named(address.target), TransportOptions.read(found))
