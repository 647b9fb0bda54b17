"""The supervisor's side of a fork server: it is started, asked for children, watched, and started again.

Nothing here waits: who asks for a child is told its pid, or to ask again soon. A fork server that ends takes no child
with it; the next one is started after a pause that doubles.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import selectors
import signal
import socket
import time
from collections.abc import Callable

from fastq.exceptions import PoolError
from fastq.pool.adopted import Adopted
from fastq.pool.forker import BIRTH, BORN, BROKEN, MOST_WORDS, READY, WANT

logger = logging.getLogger("celery.pool")

CRASH_LIMIT = 5
"""Fork servers in a row that may end before they could be asked; one more, and to go on is pointless."""
PAUSE_S, LONGEST_PAUSE_S = 0.1, 5.0
STEADY_S = 30.0
"""One that lived so long has made up for those before it."""
ANSWER_S = 0.02
"""A fork takes a few milliseconds: so long is waited for its answer at once, and later it is asked for."""
CLOSE_S = 5.0
LATE_S = 60.0
"""One that cannot be asked by then is killed."""


class ForkServer:
    """Called with the number of a child it returns its pid, or 0: ask again soon.

    *start* starts the process of a server, given the descriptor of its end of the channel, and returns its pid. Raises
    ConfigError where orphans cannot be adopted, which is anywhere but on Linux.
    """

    def __init__(self, start: Callable[[int], int], patience_s: float = 4.0) -> None:
        self._start_process = start
        self._patience_s = patience_s
        self._poller: selectors.BaseSelector | None = None
        self._channel: socket.socket | None = None
        self._pid = 0
        self._is_ready = self._is_late = False
        self._began_at = 0.0
        self._due_at: float | None = 0.0
        self._failures = 0
        self._asked: set[int] = set()
        self._born: dict[int, int] = {}
        self._adopted = Adopted()

    def __call__(self, index: int) -> int:
        """Return the pid of a new child *index*, 0 while there is none. Raises OSError, PoolError."""
        self.tend()
        if self._is_ready and index not in self._asked and index not in self._born:
            self._ask(index)
        pid = self._born.pop(index, 0)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return pid

    def _ask(self, index: int) -> None:
        assert self._channel is not None
        try:
            self._channel.send(WANT.pack(index))
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.ECONNRESET, errno.EAGAIN):
                raise
            return self._look()
        self._asked.add(index)
        if select.select([self._channel], [], [], ANSWER_S)[0]:
            self._look()

    def watch(self, poller: selectors.BaseSelector) -> None:
        """Make *poller* wake up when the server says something, or ends."""
        self._poller = poller
        if self._channel is not None:
            poller.register(self._channel, selectors.EVENT_READ)

    def tend(self) -> float | None:
        """Hear the server, start one that is due; returns the seconds until there is more to do, or None.

        Raises PoolError when it cannot import the app, or servers keep ending before they can be asked.
        """
        self._look()
        now = time.monotonic()
        if self._due_at is not None and now >= self._due_at:
            self._start()
        if self._channel is not None and not self._is_ready:
            self._wait_patiently(now)
        self._adopted.reap(self._pid, *self._born.values())
        return None if self._due_at is None else max(0.0, self._due_at - now)

    def _start(self) -> None:
        self._due_at, self._is_ready, self._is_late = None, False, False
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._pid = self._start_process(theirs.fileno())
        except OSError as error:
            ours.close()
            self._failed(f"the fork server cannot be started: {error}")
            return
        finally:
            theirs.close()
        ours.setblocking(False)
        self._channel, self._began_at = ours, time.monotonic()
        if self._poller is not None:
            self._poller.register(ours, selectors.EVENT_READ)

    def _wait_patiently(self, now: float) -> None:
        age_s = now - self._began_at
        if age_s > max(LATE_S, 10 * self._patience_s):
            os.kill(self._pid, signal.SIGKILL)
        elif age_s > self._patience_s and not self._is_late:
            self._is_late = True
            logger.warning("the fork server (pid %d) has not imported the app after %.1f s; it is waited for",
                           self._pid, self._patience_s)

    def _look(self) -> None:
        while self._channel is not None and (said := self._receive()) is not None:
            if said[:1] == BROKEN:
                raise PoolError(f"the fork server cannot import the app: {said[1:].decode(errors='replace')}")
            if said:
                self._note(said)
            else:
                self._lost()

    def _receive(self) -> bytes | None:
        """What it says next; nothing at its end, None while it is silent."""
        assert self._channel is not None
        try:
            return self._channel.recv(MOST_WORDS + 1)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def _note(self, said: bytes) -> None:
        if said[:1] == READY:
            self._is_ready = True
        elif said[:1] == BORN:
            index, pid = BIRTH.unpack(said[1:])
            self._asked.discard(index)
            self._born[index] = pid

    def _lost(self) -> None:
        status = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with status {status}"
        why = f"the fork server (pid {self._pid}) {how}"
        self._let_go()
        if time.monotonic() - self._began_at > STEADY_S:
            self._failures = 0
        self._failed(why)

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures > CRASH_LIMIT and not self._is_ready:
            raise PoolError(f"{why}, the {self._failures}th in a row before it had imported the app; starting more is"
                            " pointless")
        pause_s = min(LONGEST_PAUSE_S, PAUSE_S * 2 ** (self._failures - 1))
        self._is_ready = False
        self._due_at = time.monotonic() + pause_s
        logger.error("%s; the next in %.1f s, and children live on", why, pause_s)

    def _let_go(self) -> None:
        if self._channel is not None:
            if self._poller is not None:
                self._poller.unregister(self._channel)
            self._channel.close()
            self._channel = None
        self._pid = 0
        self._asked.clear()     # such a child has not heard that it may begin, and ends

    def close(self) -> None:
        """End the server, and children that nobody asked for again."""
        if self._channel is not None:
            if self._is_ready:
                self._channel.shutdown(socket.SHUT_WR)      # it answers what it was asked, and ends
            else:
                os.kill(self._pid, signal.SIGKILL)          # it imports, and does not listen
            _end(self._pid)
            while said := self._receive():
                self._note(said)
        self._let_go()
        self._due_at = None
        for born in self._born.values():
            if born > 0:
                os.kill(born, signal.SIGKILL)
                os.waitpid(born, 0)
        self._born.clear()
        self._adopted.close()


def _end(pid: int) -> None:
    """Wait for a process that was told to end, and kill it when it does not."""
    deadline = time.monotonic() + CLOSE_S
    while os.waitpid(pid, os.WNOHANG)[0] == 0:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return
        time.sleep(0.002)
