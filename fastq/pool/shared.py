"""The memory and the side files that a supervisor shares with its children.

One anonymous mapping holds the ring; what does not fit a slot travels through a file in a private
folder. Both are made before the first fork.
"""

from __future__ import annotations

import fcntl
import glob
import mmap
import os
import shutil
import tempfile
from itertools import count

PREFIX = "fastq-spill-"
SLOTS = 1024
SLOT_BYTES = 2048


class Spill:
    """Files for what is too large for a slot. The folder is private, and goes with its maker.

    The maker holds a lock on it, which the kernel drops when the maker is killed: the next one that is
    made removes what the dead left.
    """

    def __init__(self) -> None:
        _sweep()
        self.folder, self._lock = _locked_folder()
        self._owner = os.getpid()
        self._numbers = count()

    @classmethod
    def of(cls, folder: str) -> Spill:
        """Use the folder that another process made and looks after."""
        spill = cls.__new__(cls)
        spill.folder, spill._lock, spill._owner, spill._numbers = folder, -1, 0, count()
        return spill

    def put(self, data: bytes) -> bytes:
        """Write *data* to a new file and return its path."""
        path = os.path.join(self.folder, f"{os.getpid()}-{next(self._numbers)}")
        with open(path, "xb") as file:
            file.write(data)
        return os.fsencode(path)

    @staticmethod
    def drop(path: bytes) -> None:
        """Remove a file that `put` made."""
        os.unlink(path)

    def close(self) -> None:
        """Remove the folder; only the process that made it does."""
        if os.getpid() == self._owner and self._lock >= 0:
            shutil.rmtree(self.folder, ignore_errors=True)
            os.close(self._lock)
            self._lock = -1


def _locked_folder() -> tuple[str, int]:
    while True:
        folder = tempfile.mkdtemp(prefix=PREFIX)
        lock = _lock(folder)
        # A sweeper may have come between the two lines above; then there is another name.
        if lock >= 0 and os.path.isdir(folder):
            return folder, lock


def _lock(folder: str) -> int:
    """Return a descriptor that holds the lock of *folder*, -1 when another process does, or it is gone."""
    try:
        fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def _sweep() -> None:
    for folder in glob.glob(os.path.join(glob.escape(tempfile.gettempdir()), PREFIX + "*")):
        if (lock := _lock(folder)) >= 0:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(lock)


def shared_block(size: int) -> mmap.mmap:
    """Return *size* bytes of memory that children inherit."""
    return mmap.mmap(-1, size)


def named_block(size: int) -> tuple[mmap.mmap, int]:
    """Return *size* bytes of memory, and the descriptor by which a process that is not forked maps them too."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("fastq-ring")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.truncate(fd, size)
    return mmap.mmap(fd, size), fd


def bell() -> tuple[int, int]:
    """Return (read, write) descriptors, non-blocking, that wake a child which waits in an event loop.

    A pipe, for it takes the eight bytes of a supervisor as well as the one that a signal writes.
    """
    read, write = os.pipe()
    os.set_blocking(read, False)
    os.set_blocking(write, False)
    return read, write


def wake_pair() -> tuple[int, int]:
    """Return (read, write) descriptors, non-blocking, by which children wake the supervisor."""
    if hasattr(os, "eventfd"):
        fd: int = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        return fd, fd
    return bell()
