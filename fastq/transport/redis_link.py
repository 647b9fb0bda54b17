"""One connection to Redis: bytes out, replies in, and a deadline on every wait.

hiredis parses, or `resp.Reader` where much comes; what is sent is packed by whoever sends. A link that failed in
whatever way is closed at once and stays so, and every use says why. It has no thread and no lock: one user at a time.
Values come as bytes, never decoded.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from typing import Any

from fastq._ext.resp import Reader
from fastq.exceptions import ConnectionLost, TransportError
from fastq.net import sock
from fastq.net.meanwhile import opening
from fastq.transport.redis_error import Moved, ReadOnly, error_of
from fastq.transport.redis_handshake import shake
from fastq.transport.redis_reply import NOTHING, Push, ReplyError, make_reader, pack
from fastq.transport.redis_target import Target

__all__ = ("NOTHING", "Link", "Push", "ReplyError", "connect", "error_of", "pack")

REPLY_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 5.0

_READ_FIRST, _READ_MOST = 1 << 16, 1 << 20
_TLS_HINT = "rediss:// means TLS, redis:// a connection without"


class Link:
    """A connection that stands; `connect` makes one.

    Example::

        link = connect(parse("redis://localhost:6379/0"), timeout_s=4)
        length = link.call("LPUSH", "celery", envelope)
    """

    def __init__(self, connected: socket.socket, where: str) -> None:
        self.where = where
        """``host:port/db`` for messages."""
        self.version: tuple[int, int, int] = (0, 0, 0)
        self.client_id = 0
        self.role = ""
        """``master`` or ``replica`` when the connection was made."""
        self.is_clustered = False
        """Whether the server is a node of a cluster."""
        self.reply_timeout_s = REPLY_TIMEOUT_S
        """Seconds that `call` and `receive` wait for a reply."""
        self.send_timeout_s = SEND_TIMEOUT_S
        """Seconds that `send` waits for room without a byte going out."""
        self.heard_at = time.monotonic()
        """When bytes last came, by the monotonic clock."""
        self._sock = connected
        self._number = connected.fileno()
        self._is_tls = hasattr(connected, "pending")
        self._kernel_wait_s: float | None = None
        """How long a read without a flag waits in the kernel; None: it does not."""
        self._flag = 0
        """What keeps reads and writes from waiting."""
        self._broken: str | None = None
        self._reader: Any = make_reader(_READ_MOST)
        self._room = bytearray(_READ_FIRST)
        self._pushed: deque[object] = deque()  # what came unasked while `call` waited for its reply

    def fileno(self) -> int:
        """The socket's descriptor. Raises ConnectionLost when there is none any more."""
        self._check()
        return self._number

    @property
    def is_open(self) -> bool:
        """Whether the link is usable, as far as is known here."""
        return self._broken is None

    def send(self, data: bytes) -> None:
        """Write all of *data*: commands, packed. Raises ConnectionLost, also when ``send_timeout_s`` bring no room.

        While it waits it reads, so that two full buffers never block each other.
        """
        if self._broken is not None:
            raise ConnectionLost(self._broken)
        try:
            if (written := self._write(data)) < len(data):
                self._write_rest(data, written)
        except OSError as error:
            raise self._failed(error) from error
        except ConnectionLost:
            raise
        except BaseException:
            # Interrupted, perhaps within a command: whatever came after would be read as the rest of it.
            self.lose("an interrupted write left half a command behind")
            raise

    def fill(self, timeout_s: float = 0.0) -> int:
        """Take in what the server sent, and wait for it at most *timeout_s*; returns how many bytes came.

        Raises ConnectionLost at the end of the stream.
        """
        self._check()
        if (count := self._read()) or timeout_s <= 0:
            return count
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            # A TLS record may come in pieces: readable, and yet nothing to read.
            if sock.wait(self._sock, sock.READ, left) and (count := self._read()):
                return count
        return 0

    def read_packed(self) -> None:
        """Parse by `resp.Reader` from now on. Only for protocol 2, and while nothing is under way."""
        self._reader = Reader(NOTHING, ConnectionLost, ReplyError)

    def get(self, *, packed: bool = False) -> object:
        """Return the next reply that came, or NOTHING: bytes, int, list, None, `ReplyError` (not raised) or `Push`.

        *packed*, after `read_packed`: lists of bytes inside it may be `Bulks`. Raises ConnectionLost for bytes that are
        no reply.
        """
        if self._pushed:
            return self._pushed.popleft()
        return self._parse(packed) if packed else self._parse()

    def receive(self, timeout_s: float | None = None) -> object:
        """Wait for the next reply, at most *timeout_s* (``reply_timeout_s``); error replies are returned.

        What is pushed meanwhile is kept for `get`. Raises ConnectionLost, also when time is up: what comes later would
        be taken for the answer to something else.
        """
        try:
            reply = self._parse()
            if reply is NOTHING and timeout_s is None:
                self._fill_in_kernel()
                reply = self._parse()
            if reply is NOTHING or isinstance(reply, Push):
                reply = self._receive(reply, self.reply_timeout_s if timeout_s is None else timeout_s)
            return reply
        except ConnectionLost:
            raise
        except BaseException:
            self.lose("an interrupted wait left its reply behind")
            raise

    def call(self, *command: bytes | str | int | float, timeout_s: float | None = None) -> object:
        """Send one command and return its reply; nothing else may be outstanding.

        Raises what `error_of` says for an error reply, and ConnectionLost.
        """
        self.send(pack(command))
        reply = self.receive(timeout_s)
        if isinstance(reply, ReplyError):
            raise self.error_of(reply)
        return reply

    def error_of(self, reply: Exception) -> Exception:
        """Return what to raise for an error *reply*; the link is closed if it leads to the wrong server."""
        found = error_of(reply, self.where)
        if isinstance(found, (ReadOnly, Moved)):
            self.lose(str(reply))
        return found

    def is_alive(self, idle_s: float) -> bool:
        """Whether the link can be used; asks the server when it was silent for *idle_s* seconds (0: never asks)."""
        if self._broken is not None:
            return False
        idle = time.monotonic() - self.heard_at
        try:
            if idle >= 1.0:
                self.fill()
            if 0 < idle_s <= idle:
                self.call("PING")
        except TransportError:
            return self.is_open  # an error reply is a sign of life too
        return True

    def lose(self, reason: str) -> ConnectionLost:
        """Close the socket, since *reason*; returns the error to raise."""
        if self._broken is None:
            self._broken = f"lost the connection to Redis at {self.where}: {reason}"
            if (number := self._sock.detach()) >= 0:
                os.close(number)
        return ConnectionLost(self._broken)

    def abandon(self) -> None:
        """Close the descriptor without a word to the server, as the child of a fork must: its parent goes on."""
        self.lose("it was closed here")

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        self.lose("it was closed here")

    def _receive(self, reply: object, wait_s: float) -> object:
        deadline = time.monotonic() + wait_s
        while True:
            if isinstance(reply, Push):
                self._pushed.append(reply)
            elif reply is not NOTHING:
                return reply
            elif not self.fill(left := deadline - time.monotonic()) and left <= 0:
                raise self.lose(f"no answer for {wait_s:.3g} s")
            reply = self._parse()

    def _fill_in_kernel(self) -> None:
        """Wait for bytes in one system call, where that can be had."""
        if self._broken is not None:
            raise ConnectionLost(self._broken)
        wait_s = self.reply_timeout_s
        if self._kernel_wait_s != wait_s:
            if self._is_tls or not sock.wait_in_kernel(self._sock, wait_s):
                return
            self._kernel_wait_s, self._flag = wait_s, socket.MSG_DONTWAIT
        try:
            count = self._sock.recv_into(self._room)
        except BlockingIOError:
            raise self.lose(f"no answer for {wait_s:.3g} s") from None
        except OSError as error:
            raise self.lose(f"reading failed: {error.strerror or error}") from error
        if not count:
            raise self.lose("the server closed it")
        self._reader.feed(self._room, 0, count)
        self.heard_at = time.monotonic()

    def _check(self) -> None:
        if self._broken is not None:
            raise ConnectionLost(self._broken)

    def _failed(self, error: OSError) -> Exception:
        """Writing failed: what the server said before it hung up, if it did, says more than *error*."""
        told: object = NOTHING
        try:
            while self._read():
                pass
        except ConnectionLost:
            pass  # the end of what it had to say, which is parsed below
        while (reply := self._reader.gets()) is not NOTHING:
            told = reply
        reason = f"writing failed: {error.strerror or error}"
        lost = self.lose(reason)
        return error_of(told, self.where) if isinstance(told, ReplyError) else lost

    def _write(self, data: bytes | memoryview) -> int:
        """Write what there is room for; 0 when there is none."""
        try:
            return self._sock.send(data, self._flag) if self._flag else self._sock.send(data)
        except OSError as error:
            if _is_not_ready(error):
                return 0
            raise

    def _write_rest(self, data: bytes, written: int) -> None:
        """Write the rest as there is room. Time counts from the last byte that went: large and slow is not stuck."""
        rest = memoryview(data)[written:]
        deadline = time.monotonic() + self.send_timeout_s
        while rest:
            if (left := deadline - time.monotonic()) <= 0:
                raise self.lose(f"no room to write for {self.send_timeout_s:g} s")
            if sock.wait(self._sock, sock.READ | sock.WRITE, left) & sock.READ:
                self._read()
            # TLS wants the same bytes once more after a write that found no room.
            if count := self._write(rest):
                rest = rest[count:]
                deadline = time.monotonic() + self.send_timeout_s

    def _read(self) -> int:
        """Read once, with TLS all that is decrypted, and feed the parser; returns how many bytes there were."""
        total = 0
        try:
            while True:
                with memoryview(self._room) as room:  # the TLS sockets of Python 3.10 ask for its length
                    count = self._sock.recv_into(room, 0, self._flag) if self._flag else self._sock.recv_into(room)
                if not count:
                    raise self.lose("the server closed it")
                self._reader.feed(self._room, 0, count)
                total += count
                if count == len(self._room) < _READ_MOST:
                    self._room = bytearray(_READ_MOST)
                if not (self._is_tls and self._sock.pending()):  # type: ignore[attr-defined]
                    break
        except OSError as error:
            if not _is_not_ready(error):
                raise self.lose(f"reading failed: {error.strerror or error}") from error
        except ConnectionLost:
            raise
        except BaseException:
            # Interrupted, perhaps after bytes were read and before they were fed: they are missing from now on.
            self.lose("an interrupted read left bytes behind")
            raise
        if total:
            self.heard_at = time.monotonic()
        return total

    def _parse(self, *packed: bool) -> object:
        try:
            return self._reader.gets(*packed)
        except ConnectionLost as error:
            raise self.lose(f"it sent what is no reply of Redis: {error}") from error


def connect(target: Target, timeout_s: float, *, protocol: int = 2, name: str = "") -> Link:
    """Connect, log in and select the database, all within *timeout_s* seconds.

    *protocol* 3 lets one connection subscribe and ask. *name* is shown by CLIENT LIST. Raises TransportError when the
    server cannot be reached, BrokerRefused when it does not let this user in, ConfigError for unusable TLS options.
    """
    deadline = time.monotonic() + timeout_s
    endpoint = sock.Endpoint("Redis", target.where, TransportError, target.host, target.port, target.path,
                             target.ssl, _TLS_HINT)
    with opening():
        link = Link(sock.connect(endpoint, deadline), target.where)
        try:
            shake(link, target, protocol, name, deadline)
        except BaseException:
            link.abandon()
            raise
    return link


def _is_not_ready(error: OSError) -> bool:
    """Whether a non-blocking call only has to be made again; TLS says so by classes of its own."""
    return isinstance(error, BlockingIOError) or type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")
