"""The process that imports the app once and is forked whenever a child is wanted: a fork server, from inside.

Its children become the supervisor's: who forks one ends at once, and the kernel gives the orphan to the supervisor, who
asked for that. A child waits for a word before it begins, so one that the supervisor never heard of ends by itself.
"""

from __future__ import annotations

import errno
import gc
import logging
import mmap
import os
import signal
import socket
import struct
import sys
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

from fastq._ext.execute import die_with_parent
from fastq.pool.start import FAILED, Main, become

logger = logging.getLogger("celery.pool")

READY, BROKEN, BORN = b"R", b"E", b"B"
"""The first byte of what it says: it may be asked; it cannot import, and why; a child, as BIRTH."""
WANT = struct.Struct("=i")
"""The number of a child that is wanted."""
BIRTH = struct.Struct("=ii")
"""The number of a child, and its pid; minus an error number where there is none."""
GO = b"g"
MOST_WORDS = 4096


def serve(channel_fd: int, prepare: Callable[[], Main], parent_pid: int) -> int:
    """Fork children until the other end of the channel is closed; *prepare* imports and returns what a child does.

    Returns the exit status.
    """
    if die_with_parent() and os.getppid() != parent_pid:
        return 0
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, _leave_it_to_the_supervisor)
    channel = socket.socket(fileno=channel_fd)
    try:
        main = prepare()
    except BaseException as error:
        logger.critical("the fork server (pid %d) failed", os.getpid(), exc_info=True)
        channel.send(BROKEN + f"{type(error).__name__}: {error}".encode()[:MOST_WORDS])
        return FAILED
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()     # what exists now is never collected in a child, so its pages stay shared
    note = mmap.mmap(-1, WANT.size)
    try:
        channel.send(READY)
        while wanted := channel.recv(WANT.size):
            (index,) = WANT.unpack(wanted)
            _bear(channel, note, main, index)
    except (BrokenPipeError, ConnectionResetError):
        return 0        # the supervisor has ended
    return 0


def _bear(channel: socket.socket, note: mmap.mmap, main: Main, index: int) -> None:
    """Make one child, tell the supervisor, and let the child begin."""
    wait, go = os.pipe()
    try:
        WANT.pack_into(note, 0, -errno.ECHILD)      # what stands there when who forks it is killed before
        middle = os.fork()
        if middle == 0:
            _leave_an_orphan(channel, note, wait, go, main, index)
        os.waitpid(middle, 0)                       # from here on the child is the supervisor's
        (pid,) = WANT.unpack_from(note)
    except OSError as error:
        pid = -(error.errno or errno.EAGAIN)
    finally:
        os.close(wait)
    try:
        channel.send(BORN + BIRTH.pack(index, pid))
        if pid > 0:
            _let_begin(go, pid)
    finally:
        os.close(go)


def _let_begin(go: int, pid: int) -> None:
    try:
        os.write(go, GO)
    except BrokenPipeError:
        logger.debug("the child with pid %d was killed before it began", pid)


def _leave_an_orphan(channel: socket.socket, note: mmap.mmap, wait: int, go: int, main: Main, index: int) -> NoReturn:
    """Fork the child, note its pid, and end. In the child: wait for the word, and be it."""
    try:
        channel.close()     # else the supervisor would not see that the server has ended
        os.close(go)
        try:
            pid = os.fork()
        except OSError as error:
            pid = -(error.errno or errno.EAGAIN)
        if pid == 0:
            note.close()
            word = os.read(wait, 1)
            os.close(wait)
            if word == GO:
                become(main, index)
        else:
            WANT.pack_into(note, 0, pid)
    finally:
        os._exit(0)


def _leave_it_to_the_supervisor(number: int, frame: FrameType | None) -> None:
    """Do nothing."""
