"""One SQLite file in one process: its connection, its write lock, its doorbell, and what a fork does to them.

Transports and stores of one file share one `SqliteFile`, and so one connection: threads of a process then queue at a
lock of this process, which is handed over in microseconds, and not at SQLite's, which must be polled.
"""

from __future__ import annotations

import os
import random
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from time import monotonic, sleep
from typing import Any, ClassVar, NamedTuple, TypeVar

from fastq._ext.bell import forks
from fastq.exceptions import BrokerGone, ConfigError, TransportError
from fastq.transport import sqlite_schema
from fastq.transport.bell import RESULTS, Bell, FileBell, Sleeper, interest_of
from fastq.transport.sqlite_error import is_busy, meaning
from fastq.transport.url import choice, number

T = TypeVar("T")

LEAST_SQLITE = (3, 35, 0)
CHECKPOINT_PAGES = 4000
"""A checkpoint each 16 MB of log: SQLite's 4 MB made draining 10 % slower."""
_FIRST_NAP_S, _LONGEST_NAP_S = 30e-6, 1e-3


class FileOptions(NamedTuple):
    """``timeout``: seconds to wait for other writers. ``synchronous``: normal (a power cut may undo the last
    commits, a crash of a program does not) or full (an fsync for every commit)."""

    timeout: float = 5.0
    synchronous: str = "normal"

    @classmethod
    def read(cls, options: Mapping[str, object]) -> FileOptions:
        """Read the options of an address. Raises ConfigError."""
        return cls(number("timeout", options.get("timeout", 5.0), 0.0),
                   choice("synchronous", options.get("synchronous", "normal"), ("normal", "full")))

    def join(self, other: FileOptions) -> FileOptions:
        """What suits both who share a connection: the more patient, the safer."""
        return FileOptions(max(self.timeout, other.timeout), min(self.synchronous, other.synchronous))


class SqliteFile:
    """Take it with `open`, give it back with `release`; the last one out of the process closes the file."""

    _opened: ClassVar[dict[str, SqliteFile]] = {}
    _registry: ClassVar[threading.RLock] = threading.RLock()

    @classmethod
    def open(cls, path: str, options: FileOptions) -> SqliteFile:
        """Open or share the file at *path*, made if it is not there. Raises TransportError."""
        if sqlite3.sqlite_version_info < LEAST_SQLITE:
            raise ConfigError(f"SQLite {sqlite3.sqlite_version} is too old for the embedded broker, which needs"
                              f" {'.'.join(map(str, LEAST_SQLITE))}; take a newer Python build, or another broker")
        with cls._registry:
            file = cls._opened.get(path)
            if file is None or file.is_replaced():
                file = cls(path, options)
                with file.lock:
                    file.connection()
                cls._opened[path] = file
            elif options != file.options:
                file._adopt(options)
            file._users += 1
        return file

    def __init__(self, path: str, options: FileOptions) -> None:
        self.path = path
        self.options = options
        self.lock = threading.RLock()
        self.forks = 0
        """Rises in a forked child: what was won before, workers and places to wait in, is the parent's."""
        self._users = 0
        self._born = 0
        self._inode: tuple[int, int] | None = None
        self._look_at = 0.0
        self._closed = False
        self._conn: sqlite3.Connection | None = None
        self._bell: Bell | None = None

    def _adopt(self, options: FileOptions) -> None:
        with self.lock:
            self.options = self.options.join(options)
            self.connection().execute(f"PRAGMA synchronous = {self.options.synchronous}")

    def retain(self) -> None:
        """Say that there is one more user. Raises TransportError when the last has left."""
        with self._registry:
            if self._closed:
                raise TransportError(f"{self.path}: was closed in this process; open it again")
            self._users += 1

    def release(self) -> None:
        """Say that one user is done."""
        with self._registry, self.lock:
            self._users -= 1
            if self._users:
                return
            if self._opened.get(self.path) is self:
                del self._opened[self.path]
            self.disconnect()
            self._closed = True
            if self._bell is not None:
                self._bell.close()
                self._bell = None

    # -- connection -------------------------------------------------------------------------------------------

    def connection(self) -> sqlite3.Connection:
        """The connection of this process; the caller holds `lock`."""
        if self._conn is None or self._born != forks():
            self._connect()
        if monotonic() > self._look_at:
            self._look()
        assert self._conn is not None
        return self._conn

    def _look(self) -> None:
        """Once a second: what is written to a file that was removed would be lost without a word."""
        if self.is_replaced():
            raise BrokerGone(f"{self.path}: the file was removed or replaced while it was in use;"
                                 " restart this program, and leave broker files in place while they are used")
        self._look_at = monotonic() + 1.0

    def _connect(self) -> None:
        if self._closed:
            raise TransportError(f"{self.path}: was closed in this process; open it again")
        if self._conn is not None:
            self.forget()  # forked by C code that runs none of Python's hooks
        patience = Patience(self)
        while True:
            try:
                self._conn = self._open_once()
            except sqlite3.Error as error:
                patience.wait(error)
            else:
                self._born = forks()
                return

    def _open_once(self) -> sqlite3.Connection:
        conn = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            if conn.execute("PRAGMA journal_mode").fetchone() != ("wal",):
                sqlite_schema.is_ready(self.path, conn)  # before the mode of another program's file is changed
                mode, = conn.execute("PRAGMA journal_mode = wal").fetchone()
                if mode != "wal":
                    raise TransportError(f"{self.path}: SQLite cannot keep a write-ahead log there (mode {mode!r});"
                                         " put the file on a local, writable file system")
            conn.execute(f"PRAGMA synchronous = {self.options.synchronous}")
            conn.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
            self._prepare(conn)
            if self._inode is None:
                found = os.stat(self.path)
                self._inode = found.st_dev, found.st_ino
        except BaseException:
            conn.close()
            raise
        return conn

    def _prepare(self, conn: sqlite3.Connection) -> None:
        if not sqlite_schema.is_ready(self.path, conn):
            conn.execute("BEGIN IMMEDIATE")
            if not sqlite_schema.is_ready(self.path, conn):
                sqlite_schema.create(conn)
            conn.execute("COMMIT")

    def disconnect(self) -> None:
        """Close the connection; the next call opens another."""
        if self._conn is not None and self._born == forks():
            self._conn.close()
        self._conn = None

    def is_replaced(self) -> bool:
        """Tell whether the path now names another file than the one that is open, or none."""
        try:
            found = os.stat(self.path)
        except FileNotFoundError:
            return True
        return self._inode != (found.st_dev, found.st_ino)

    # -- statements -------------------------------------------------------------------------------------------

    def read(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        """Run one statement in a transaction of its own, and fetch all that it gives."""
        with self.lock:
            patience = None
            while True:
                try:
                    return self.connection().execute(sql, values).fetchall()
                except sqlite3.Error as error:
                    patience = patience or Patience(self)
                    patience.wait(error)

    def write(self, sql: str, values: Sequence[Any], kind: int, interest: int) -> None:
        """Run one statement in a transaction of its own and ring for it; it is committed when this returns."""
        with self.lock:
            patience = None
            while True:
                try:
                    conn = self._conn
                    if conn is None or self._born != forks() or monotonic() > self._look_at:
                        conn = self.connection()
                    conn.execute(sql, values)
                    break
                except sqlite3.Error as error:
                    patience = patience or Patience(self)
                    patience.wait(error)
        # Written out here and above: on the path of every single publish a call is 1 % of the whole.
        bell = self._bell or self._hang_bell()
        cells = bell.board.ring(kind, interest)
        if cells is not None:
            self._send(bell, cells)

    def query(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run *work*, which only reads, on one snapshot of the file."""
        with self.lock:
            self.read("BEGIN")
            try:
                return work(self.connection())
            except sqlite3.Error as error:
                raise meaning(error, self.path, self.options.timeout) from error
            finally:
                self.read("COMMIT")

    def transaction(self) -> Transaction:
        """A transaction that holds the write lock from its start: ``with file.transaction() as conn``.

        It is committed at the end of the block; nothing is changed when the block, or the commit, raises.
        """
        return Transaction(self)

    # -- doorbell ---------------------------------------------------------------------------------------------

    def bell(self) -> Bell:
        """The doorbell of this process; the caller holds `lock`."""
        self.connection()
        if self._bell is None:
            self._bell = self._make_bell()
        return self._bell

    def _make_bell(self) -> Bell:
        return FileBell(self.path)

    def renew_bell(self) -> bool:
        """Turn to a new bell if somebody removed the old one; returns whether."""
        with self.lock:
            if not self.bell().is_gone():
                return False
            # Not closed: other threads of this process may sleep at it, and will wake by themselves.
            self._bell = None
            return True

    def sleeper(self) -> Sleeper:
        """Take a place to wait in."""
        with self.lock:
            return self.bell().sleeper()

    def give_back(self, sleeper: Sleeper) -> None:
        """Give a place to wait in back."""
        with self.lock:
            self.bell().give_back(sleeper)

    def ring(self, kind: int, interest: int) -> None:
        """Wake those who sleep for one of *interest*; after the commit."""
        bell = self._bell or self._hang_bell()
        cells = bell.board.ring(kind, interest)
        if cells is not None:
            self._send(bell, cells)

    def _hang_bell(self) -> Bell:
        with self.lock:
            return self.bell()

    def _send(self, bell: Bell, cells: list[int]) -> None:
        with self.lock:
            for cell in cells:
                bell.send(cell)

    def ring_results(self, task_ids: Iterable[str]) -> None:
        """Wake those who wait for one of *task_ids*; after the commit."""
        if not (self._bell or self._hang_bell()).board.quiet(RESULTS):
            self.ring(RESULTS, interest_of(task_ids))

    # -- forks ------------------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Let no connection live across a fork.

        SQLite books its kernel locks per process. A child that inherits the books believes that it holds the
        parent's locks, and opens the file again without any: a third process may then take away the log.
        """
        self.disconnect()

    def forget(self) -> None:
        """In a forked child: let go of all that is the parent's."""
        if self._conn is not None:
            if self._conn.in_transaction:
                _parents.append(self._conn)  # kept for ever: a rollback here would undo the parent's work
            else:
                self._conn.close()  # frees the inherited books; the kernel keeps the parent's locks with the parent
            self._conn = None
        self.lock = threading.RLock()
        self.forks += 1
        if self._bell is not None:
            self._bell.close()
            self._bell = None


class Patience:
    """How one call waits for another process's write: naps that grow, with chance in them, until the deadline.

    Not SQLite's busy handler, which sleeps 1, 2, 5, 10 ... 100 ms for a lock that is held for 10 us to 5 ms.
    """

    __slots__ = ("_deadline", "_file", "_nap_s")

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._deadline = monotonic() + file.options.timeout
        self._nap_s = _FIRST_NAP_S

    def wait(self, error: sqlite3.Error) -> None:
        """Sleep a little if *error* says that a writer is in the way and there is time, else raise what it means."""
        if not is_busy(error) or monotonic() >= self._deadline:
            raise meaning(error, self._file.path, self._file.options.timeout) from error
        self._nap_s = min(_LONGEST_NAP_S, self._nap_s * 1.5)
        sleep(random.uniform(0.0, self._nap_s))


class Transaction:
    """See `SqliteFile.transaction`."""

    __slots__ = ("_conn", "_file", "_lock")

    def __init__(self, file: SqliteFile) -> None:
        self._file = file
        self._conn: sqlite3.Connection | None = None

    def __enter__(self) -> sqlite3.Connection:
        file, self._lock = self._file, self._file.lock
        self._lock.acquire()
        try:
            self._conn = file.connection()
            patience = None
            while True:
                try:
                    self._conn.execute("BEGIN IMMEDIATE")
                    return self._conn
                except sqlite3.Error as error:
                    patience = patience or Patience(file)
                    patience.wait(error)
        except BaseException:
            self._undo()
            raise

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None:
            assert self._conn is not None
            try:
                self._conn.execute("COMMIT")
            except BaseException as failed:
                error = failed
                if not isinstance(error, sqlite3.Error):
                    self._undo()
                    raise
            else:
                self._lock.release()
                return
        self._undo()
        if isinstance(error, sqlite3.Error):
            raise meaning(error, self._file.path, self._file.options.timeout) from error

    def _undo(self) -> None:
        try:
            if self._conn is not None and self._conn.in_transaction:
                self._conn.execute("ROLLBACK")
        finally:
            self._lock.release()


_parents: list[sqlite3.Connection] = []


def _before_fork() -> None:
    SqliteFile._registry.acquire()
    for file in SqliteFile._opened.values():
        file.lock.acquire()
        file.before_fork()


def _after_fork_in_parent() -> None:
    for file in SqliteFile._opened.values():
        file.lock.release()
    SqliteFile._registry.release()


def _after_fork_in_child() -> None:
    SqliteFile._registry = threading.RLock()
    for file in SqliteFile._opened.values():
        file.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent,
                        after_in_child=_after_fork_in_child)
