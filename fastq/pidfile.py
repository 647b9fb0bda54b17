"""The file that tells which process a worker is, and that there is only one."""

from __future__ import annotations

import atexit
import errno
import fcntl
import logging
import os
from pathlib import Path

from fastq.exceptions import ConfigError

logger = logging.getLogger(__name__)


class Pidfile:
    """A file with this process's number, which at most one living process has.

    The owner holds a lock on the file for as long as it lives, so that a file left by one that was killed is
    known to be stale even if another program has its number by now. A file that was written by a program which
    takes no lock counts while a process of its number runs that is older than the file. Acquire it after
    ``daemonize``, since the lock stays with the process; before, ``check`` tells whether it can be had.

    >>> with Pidfile("worker.pid"):
    ...     run()
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path).absolute()
        self._fd = -1
        self._owner = 0

    def acquire(self) -> Pidfile:
        """Write the file; it is removed at exit. Raises ConfigError if another process has it, or cannot write."""
        fd = self._lock()
        try:
            self._refuse_if_running(fd)
            text = b"%d\n" % os.getpid()
            os.pwrite(fd, text, 0)  # before the cut, so that no reader ever finds the file empty
            os.ftruncate(fd, len(text))
        except BaseException:
            os.close(fd)
            raise
        self._fd, self._owner = fd, os.getpid()
        atexit.register(self.release)
        os.register_at_fork(after_in_child=self._let_go)
        return self

    def release(self) -> None:
        """Remove the file if this process wrote it and it is still there. Safe to call twice, and in children."""
        if self._owner != os.getpid() or self._fd < 0:
            return
        try:
            if self._is_at_path(self._fd):
                self.path.unlink()
        except PermissionError:  # root wrote it, before it became another user
            logger.warning("cannot remove the pid file %s; the next worker will find it stale", self.path)
        self._let_go()
        atexit.unregister(self.release)

    def check(self) -> None:
        """Raise ConfigError if another process has the file, or it could not be written; leave no file behind."""
        existed = self.path.exists()
        fd = self._lock()
        try:
            self._refuse_if_running(fd)
            if not existed:
                self.path.unlink()
        finally:
            os.close(fd)

    def read(self) -> int | None:
        """Return the number in the file, None if there is no file or no number in it."""
        try:
            return int(self.path.read_bytes().split()[0])
        except (FileNotFoundError, ValueError, IndexError):
            return None

    def __enter__(self) -> Pidfile:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _lock(self) -> int:
        while True:
            try:
                fd = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            except OSError as exc:
                raise ConfigError(f"cannot write the pid file {self.path}: {exc.strerror}") from None
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as exc:
                os.close(fd)
                if exc.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise ConfigError(f"cannot lock the pid file {self.path}: {exc.strerror}") from None
                raise self._taken(self.read()) from None
            if self._is_at_path(fd):
                return fd
            os.close(fd)  # its owner removed it between our open and our lock

    def _is_at_path(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), os.stat(self.path))
        except FileNotFoundError:
            return False

    def _refuse_if_running(self, fd: int) -> None:
        words = os.pread(fd, 64, 0).split()
        if not words:
            return
        pid = int(words[0]) if words[0].isdigit() else 0
        if pid not in (0, os.getpid()) and _is_running_since(pid, os.fstat(fd).st_mtime):
            raise self._taken(pid)
        logger.warning("the pid file %s was left by process %s, which is gone; taking it over",
                       self.path, words[0].decode("ascii", "replace"))

    def _taken(self, pid: int | None) -> ConfigError:
        return ConfigError(f"the pid file {self.path} belongs to process {pid or 'unknown'}, which is running; "
                           "stop it first, or give another --pidfile")

    def _let_go(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)  # in a child: the lock stays with the parent, and goes when that goes
            self._fd = -1


def _is_running_since(pid: int, written: float) -> bool:
    """Whether process *pid* runs and had begun when a file was *written*; a later one has only its number."""
    import psutil  # noqa: PLC0415  10 ms that only a found pid file costs

    try:
        return bool(psutil.Process(pid).create_time() <= written + 1.0)
    except psutil.NoSuchProcess:
        return False
    except psutil.AccessDenied:
        return True
