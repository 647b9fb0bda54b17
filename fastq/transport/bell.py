"""The doorbell of an embedded broker: whoever commits wakes whoever sleeps, so that nobody polls.

Beside the file ``tasks.db`` lies a folder ``tasks.db-bell`` with a fixed set of names, reused and never removed:

    board     shared memory: who sleeps, and for what (ext/bell)
    locks     bytes locked in the kernel: 0..511 the owner of a cell, 2**32 + id a live worker
    0..511    one FIFO for each cell; one byte in it wakes the owner's epoll

The kernel drops a lock when its process ends, however it ends, and across containers: that is how the dead are
told from the silent. POSIX locks, not OFD ones: those would live on in the children of a killed worker.

A bell is used under the lock of its `SqliteFile`, but for its board, which needs none.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
from collections.abc import Iterable
from zlib import crc32

from fastq._ext.bell import CELLS, SIZE, Board
from fastq.exceptions import TransportError

MESSAGES, RESULTS = 0, 1
ANY = (1 << 64) - 1
_WORKERS = 1 << 32
_CLOEXEC_RW = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


def interest_of(names: Iterable[str]) -> int:
    """Hash names (queues, or task ids) to the 64 bits by which sleepers are told apart."""
    mask = 0
    for name in names:
        mask |= 1 << (crc32(name.encode("utf-8", "surrogatepass")) & 63)
    return mask


class Sleeper:
    """A cell on the board and the descriptor that wakes its owner: one thread's place to wait in."""

    def __init__(self, board: Board, cell: int, fd: int) -> None:
        self.fd = fd
        self.cell = cell
        self.board = board
        self._kind: int | None = None
        for kind in (MESSAGES, RESULTS):
            board.rouse(kind, cell)
        self._drain()

    def doze(self, kind: int, interest: int) -> None:
        """Be rung for *interest* from now on. Look at the database after this, and only then sleep on `fd`."""
        self._kind = kind
        self.board.doze(kind, self.cell, interest)

    def rouse(self) -> None:
        """Be rung no more, and forget all rings that came."""
        if self._kind is not None:
            self.board.rouse(self._kind, self.cell)
            # Also when the board says nothing: the byte of a ring that was seen there before it would wake us for ever.
            self._drain()
            self._kind = None

    def _drain(self) -> None:
        try:
            while len(os.read(self.fd, 4096)) == 4096:
                pass
        except BlockingIOError:
            pass  # empty: whoever rang has not sent the byte yet, and it will wake us once for nothing


class Bell:
    """The bell of a broker that lives in this process alone; `FileBell` is the one for many processes."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, SIZE)
        self._begin()

    def _begin(self) -> None:
        self.board = Board(self._memory)
        self._writers: dict[int, int] = {}
        self._cells: set[int] = set()
        self._idle: list[Sleeper] = []
        self._workers: set[int] = set()

    # -- cells ------------------------------------------------------------------------------------------------

    def sleeper(self) -> Sleeper:
        """Take a place to wait in. Raises TransportError when all are taken by live owners."""
        if self._idle:
            return self._idle.pop()
        for cell in range(CELLS):
            if cell not in self._cells and self._lock(cell):
                try:
                    fd = self._open_reader(cell)
                except BaseException:
                    self._unlock(cell)
                    raise
                self._cells.add(cell)
                return Sleeper(self.board, cell, fd)
        raise TransportError(f"all {CELLS} places to wait in are taken; wait in fewer threads or processes at a time")

    def give_back(self, sleeper: Sleeper) -> None:
        """Let the next one in this process have the place: opening one costs ten times as much."""
        sleeper.rouse()
        if sleeper.board is self.board:
            self._idle.append(sleeper)
        else:
            os.close(sleeper.fd)  # of a bell that was removed

    def send(self, cell: int) -> None:
        """Send the byte that wakes the owner of *cell*, whom ``board.ring`` named."""
        try:
            fd = self._writers.get(cell)
            if fd is None:
                fd = self._writers[cell] = self._open_writer(cell)
            os.write(fd, b"\1")
        except BlockingIOError:
            pass  # the pipe is full: the sleeper has more than enough to wake for
        except OSError as error:
            # Nobody has the FIFO open: the sleeper was killed, and its flag was all that was left of it.
            if error.errno not in (errno.ENXIO, errno.EPIPE, errno.ENOENT):
                raise
            if cell in self._writers:
                os.close(self._writers.pop(cell))

    def _lock(self, byte: int) -> bool:
        return True

    def _unlock(self, byte: int) -> None:
        pass

    def _open_reader(self, cell: int) -> int:
        reader, self._writers[cell] = os.pipe()
        os.set_blocking(reader, False)
        os.set_blocking(self._writers[cell], False)
        return reader

    def _open_writer(self, cell: int) -> int:
        raise FileNotFoundError(errno.ENOENT, "no such cell in this process", str(cell))

    # -- workers ----------------------------------------------------------------------------------------------

    def hold_worker(self, worker: int) -> None:
        """Mark *worker* as alive for as long as this process lives; call it inside the write transaction."""
        self._lock(_WORKERS + worker)
        self._workers.add(worker)

    def drop_worker(self, worker: int) -> None:
        """Take the mark of *worker* away."""
        if worker in self._workers:
            self._workers.discard(worker)
            self._unlock(_WORKERS + worker)

    def is_dead(self, worker: int) -> bool:
        """Tell whether the process of *worker* is gone; call it inside the write transaction, one asker at a time."""
        if worker in self._workers or not self._lock(_WORKERS + worker):
            return False
        self._unlock(_WORKERS + worker)
        return True

    def is_gone(self) -> bool:
        """Tell whether somebody removed the bell from under us, so that the others hear another one."""
        return False

    def close(self) -> None:
        """Let go of all locks, descriptors and memory; in a forked child this takes nothing from the parent."""
        for fd in (*self._writers.values(), *(sleeper.fd for sleeper in self._idle)):
            os.close(fd)
        self._writers.clear()
        self._idle.clear()
        self.board.release()
        self._memory.close()


class FileBell(Bell):
    """The bell beside a file: this process's end of it."""

    def __init__(self, path: str) -> None:
        self.folder = path + "-bell"
        try:
            os.makedirs(self.folder, mode=0o700, exist_ok=True)
            # A POSIX lock goes when any descriptor of its file is closed: this one stays open, and is the only one.
            self._locks = os.open(os.path.join(self.folder, "locks"), _CLOEXEC_RW, 0o600)
            try:
                self._memory = self._map(os.path.join(self.folder, "board"))
                self._begin()
            except BaseException:
                os.close(self._locks)
                raise
        except (OSError, ValueError) as error:
            raise TransportError(f"{self.folder}: the doorbell of the broker file cannot be used ({error});"
                                 " make the folder writable, or remove it while nothing runs") from error

    @staticmethod
    def _map(path: str) -> mmap.mmap:
        fd = os.open(path, _CLOEXEC_RW, 0o600)
        try:
            if os.fstat(fd).st_size < SIZE:
                # Not a truncate alone: a hole that the full disk cannot fill would kill us with SIGBUS, later.
                os.pwrite(fd, bytes(SIZE - os.fstat(fd).st_size), os.fstat(fd).st_size)
            return mmap.mmap(fd, SIZE)
        finally:
            os.close(fd)

    def _lock(self, byte: int) -> bool:
        try:
            fcntl.lockf(self._locks, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                raise
            return False
        return True

    def _unlock(self, byte: int) -> None:
        fcntl.lockf(self._locks, fcntl.LOCK_UN, 1, byte)

    def _open_reader(self, cell: int) -> int:
        path = os.path.join(self.folder, str(cell))
        try:
            if not os.path.lexists(path):
                os.mkfifo(path, 0o600)
            if not stat.S_ISFIFO(os.lstat(path).st_mode):
                raise FileExistsError(errno.EEXIST, "something else stands in its place")
            # For writing too: else every close of the last writer would wake us.
            return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise TransportError(f"{path}: cannot be used as a FIFO ({error}); keep the broker file on a local"
                                 " file system, and its folder to itself") from error

    def _open_writer(self, cell: int) -> int:
        path = os.path.join(self.folder, str(cell))
        return os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)

    def is_gone(self) -> bool:
        """Tell whether somebody removed the folder, so that newcomers ring another bell and see none of our locks."""
        try:
            now = os.stat(os.path.join(self.folder, "locks"))
        except FileNotFoundError:
            return True
        ours = os.fstat(self._locks)
        return (now.st_dev, now.st_ino) != (ours.st_dev, ours.st_ino)

    def close(self) -> None:
        """Let go of all locks, descriptors and memory; in a forked child this takes nothing from the parent."""
        super().close()
        os.close(self._locks)
