"""The bytes of a connection: between a non-blocking socket and the decoder, with a deadline on every wait.

A stream that failed, in whatever way, is closed at once and stays so: ``broken`` says why, and every use says it again.
"""

from __future__ import annotations

import math
import os
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.error import ConnectionClosed, LinkLost
from fastq.exceptions import FrameError
from fastq.net import sock

if TYPE_CHECKING:
    from fastq._ext.amqp import Event

SEND_TIMEOUT_S = 10.0
CLOSE, BLOCKED, UNBLOCKED = (METHODS[f"connection.{name}"] for name in ("close", "blocked", "unblocked"))

# A TLS record has 16 KiB at most, and one read gives one record: a few more save their system calls.
_TLS_READS = 16


class Stream:
    """A connected socket, what is half read, and what could not be handed on yet."""

    def __init__(self, connected: socket.socket, where: str, frame_max: int = 131072) -> None:
        self.sock = connected
        self.where = where
        self.send_timeout_s = SEND_TIMEOUT_S
        self._until = math.inf
        self.decoder = amqp.Decoder(frame_max)
        self.blocked: str | None = None
        """Why the broker takes no messages at the moment; None while it does."""
        self.broken: LinkLost | None = None
        """Why this connection is of no use any more."""
        self._is_tls = hasattr(connected, "pending")
        self._early: deque[Event] = deque()  # read while `send` waited for room, not handed on yet
        self._sent_at = self._heard_at = time.monotonic()

    def fileno(self) -> int:
        """The socket's descriptor. Raises LinkLost when there is none any more."""
        if self.broken is not None:
            raise self.broken.copy()
        return self.sock.fileno()

    @property
    def is_open(self) -> bool:
        """Whether the link is usable, as far as is known here."""
        return self.broken is None

    @contextmanager
    def within(self, timeout_s: float) -> Iterator[None]:
        """Bound what is waited for in the block, answers and room to write, by *timeout_s* seconds in all. Example::

            with link.within(4.0):
                channel = link.open_channel()
                link.call(channel, METHODS["queue.declare"], "tasks", False, True, False, False, False, {})
        """
        before = self._until
        self._until = min(before, time.monotonic() + timeout_s)
        try:
            yield
        finally:
            self._until = before

    def send(self, data: bytes) -> None:
        """Write all of *data*, and wait for room at most ``send_timeout_s``. Raises LinkLost.

        While it waits it takes in what the broker says, so that two full buffers never block each other; those events
        come with the next `pump`.
        """
        if self.broken is not None:
            raise self.broken.copy()
        try:
            if (written := self._write(data)) < len(data):
                self._write_rest(data, written)
            self._sent_at = time.monotonic()
        except OSError as error:
            raise self._failed(f"writing failed: {error.strerror or error}") from error
        except LinkLost:
            raise
        except BaseException:
            # Interrupted, perhaps within a frame: whatever came after would be read as the rest of it.
            self._break(LinkLost(f"{self.where}: an interrupted write left half a frame behind; connect again"))
            raise

    def fill(self, timeout_s: float | None = 0.0) -> int:
        """Take in what the broker sent, and wait for it at most *timeout_s* (None: for ever).

        Returns how many bytes came, 0 when none did. Raises LinkLost at the end of the stream and for malformed bytes.
        """
        if self.broken is not None:
            raise self.broken.copy()
        if count := self._read():
            return count
        if timeout_s is not None and timeout_s <= 0:
            return 0
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return 0
            # A TLS record may come in pieces: readable, and yet nothing to read.
            if sock.wait(self.sock, sock.READ, left) and (count := self._read()):
                return count

    def has_news(self) -> bool:
        """Whether something was taken in that a sleep on the descriptor would not notice; ask before sleeping."""
        return bool(self._early) or (self._is_tls and self.sock.pending() > 0)  # type: ignore[attr-defined]

    def abandon(self) -> None:
        """Close the descriptor without a word to the broker, as the child of a fork must: its parent goes on."""
        self._break(LinkLost(f"{self.where}: this connection was closed"))

    def lose(self, reason: str) -> LinkLost:
        """Close the socket, since *reason*; returns the error to raise."""
        blocked = f" (the broker takes no messages: {self.blocked})" if self.blocked else ""
        return self._break(LinkLost(f"lost the connection to RabbitMQ at {self.where}: {reason}{blocked}"))

    def _write(self, data: bytes | memoryview) -> int:
        """Write what there is room for; 0 when there is none."""
        try:
            return self.sock.send(data)
        except OSError as error:
            if _is_not_ready(error):
                return 0
            raise

    def _write_rest(self, data: bytes, written: int) -> None:
        """Write the rest as there is room. Time counts from the last byte that went: large and slow is not stuck."""
        rest = memoryview(data)[written:]
        wrote_at = time.monotonic()
        while rest:
            deadline = min(wrote_at + self.send_timeout_s, self._until)
            if (left := deadline - time.monotonic()) <= 0:
                raise self.lose(f"no room to write for {deadline - wrote_at:.3g} s")
            if sock.wait(self.sock, sock.READ | sock.WRITE, left) & sock.READ:
                self._take_early()
            # TLS wants the same bytes once more after a write that found no room.
            if count := self._write(rest):
                rest = rest[count:]
                wrote_at = time.monotonic()

    def _take_early(self) -> None:
        """Take in what the broker says while a frame of ours is half written: nothing can be answered now."""
        self._read()
        while (event := self.decoder.next()) is not None:
            if event[:2] == (0, CLOSE):
                raise self._closed(event)
            if event[0] == 0:
                self._note(event)
            self._early.append(event)

    def _read(self) -> int:
        """Read once, a few records with TLS, and decode; returns how many bytes there were."""
        total = 0
        try:
            for _ in range(_TLS_READS if self._is_tls else 1):
                if not (count := self._receive() if self._is_tls else self.sock.recv_into(self.decoder)):
                    break
                self.decoder.filled(count)
                total += count
        except OSError as error:
            if not _is_not_ready(error):
                raise self._failed(f"reading failed: {error.strerror or error}") from error
            if not total:
                return 0
        except FrameError as error:
            raise self.lose(f"it sent what is no AMQP: {error}") from error
        except BaseException:
            # Interrupted, perhaps after bytes were read and before they were decoded: they are missing from now on.
            self._break(LinkLost(f"{self.where}: an interrupted read left bytes behind; connect again"))
            raise
        if not total:
            raise self._failed("the broker closed it")
        self._heard_at = time.monotonic()
        return total

    def _receive(self) -> int:
        if not self._is_tls:
            return self.sock.recv_into(self.decoder)
        with memoryview(self.decoder) as room:  # the TLS sockets of Python 3.10 ask for its length
            return self.sock.recv_into(room)

    def _failed(self, reason: str) -> LinkLost:
        """The socket is of no use: the broker's own words, if it left any, say more than *reason*."""
        try:
            while count := self._receive():
                self.decoder.filled(count)
        except (OSError, FrameError):
            pass  # what came before is what counts
        while (event := self._early.popleft() if self._early else self.decoder.next()) is not None:
            if event[:2] == (0, CLOSE):
                return self._closed(event)
        return self.lose(reason)

    def _note(self, event: Event) -> None:
        """See whether the broker stops taking messages, or takes them again."""
        if event[1] == BLOCKED:
            self.blocked = event[2][0] or "no reason given"
        elif event[1] == UNBLOCKED:
            self.blocked = None

    def _closed(self, event: Event) -> LinkLost:
        code, text, class_id, method_id = event[2]
        return self._break(ConnectionClosed(f"RabbitMQ at {self.where} closed the connection: {text} ({code})",
                                            code, text, class_id << 16 | method_id))

    def _break(self, error: LinkLost) -> LinkLost:
        """Close the descriptor, and nothing more: a TLS session may belong to the parent too. Returns *error*."""
        if self.broken is None:
            self.broken = error.copy()  # what is raised holds frames, and they hold this
            if (number := self.sock.detach()) >= 0:
                os.close(number)
        return error


def _is_not_ready(error: OSError) -> bool:
    """Whether a non-blocking call only has to be made again; TLS says so by classes of its own."""
    return isinstance(error, BlockingIOError) or type(error).__name__ in ("SSLWantReadError", "SSLWantWriteError")
