"""Many messages in few commands: an LPUSH for each list of a chunk, and the next ones before the last is answered.

What is under way is bounded in bytes, and kept until it is answered: a connection that breaks is made anew, and what
was not answered is sent again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from typing import NamedTuple

from fastq._ext.kombu import dump
from fastq._ext.resp import commands, lpush
from fastq.exceptions import BrokerFull, BrokerRefused, ConnectionLost, OperationalError, TransportError
from fastq.transport.redis_binding import Command
from fastq.transport.redis_error import Unready
from fastq.transport.redis_link import NOTHING, Link, ReplyError
from fastq.transport.redis_route import Routes
from fastq.types import Message

CHUNK = 128
"""Messages that become one command, where they go to one list."""
MOST_AWAY = 1 << 20
"""Bytes under way, beyond which replies are awaited."""
LARGE = 1 << 16
"""A message above is sent by itself."""
PAUSE_S = 0.05


class _Sent(NamedTuple):
    data: bytes
    messages: int
    """How many messages it stores."""


class Bulk:
    """One stream of messages over one connection, which *connect* opens. *lock* guards the *routes*."""

    def __init__(self, connect: Callable[[float], Link], routes: Routes, lock: AbstractContextManager[object],
                 timeout_s: float) -> None:
        self.link: Link | None = None
        self._connect = connect
        self._routes = routes
        self._lock = lock
        self._timeout_s = timeout_s
        self._away: deque[_Sent] = deque()
        self._away_bytes = 0
        self._stored = 0
        self._progress_at = time.monotonic()
        self._failure: OperationalError | None = None
        """What the server said first; it is raised when all is answered, so that the connection stays in step."""

    def publish(self, messages: Iterable[Message]) -> int:
        """Send all of *messages* and wait for the replies; returns how many. Raises OperationalError."""
        source = iter(messages)
        count = 0
        while chunk := list(islice(source, CHUNK)):
            count += len(chunk)
            self._progress_at = time.monotonic()  # what yields messages may take its time
            self._send(self._encode(chunk))
            if self._failure is not None:
                break
        self._drain(0)
        if self._failure is not None:
            raise _told(self._failure, self._stored)
        return count

    def abandon(self) -> None:
        """Close the connection, for whatever is still under way on it."""
        if self.link is not None:
            self.link.close()
            self.link = None

    # -- encoding ------------------------------------------------------------------------------

    def _encode(self, chunk: Sequence[Message]) -> list[_Sent]:
        out: list[_Sent] = []
        groups: dict[bytes, list[bytes]] = {}
        plain = self._routes.plain
        for queue, content, priority, run_at, exchange in chunk:
            key = plain.get((queue, priority)) if run_at is None and not exchange else None
            envelope = dump(content, exchange, queue)
            if key is None or len(envelope) > LARGE:
                self._encode_one(Message(queue, content, priority, run_at, exchange), envelope, groups, out)
                continue
            group = groups.get(key)
            if group is None:
                groups[key] = [envelope]
            else:
                group.append(envelope)
        out += _flushed(groups)
        return out

    def _encode_one(self, message: Message, envelope: bytes, groups: dict[bytes, list[bytes]],
                    out: list[_Sent]) -> None:
        """Add a message whose place is not known or takes more than LPUSH, or that is large."""
        queue, content, priority, run_at, exchange = message
        with self._lock:
            place = self._routes.place(self._ask, queue, content, priority, run_at, exchange)
        if place.is_plain and len(envelope) <= LARGE:
            for key in place.lists:
                groups.setdefault(key, []).append(envelope)
            return
        out += _flushed(groups)  # what was before it stays before it
        out += [_Sent(commands([each]), int(at == 0)) for at, each in enumerate(place.commands(envelope))]

    # -- sending -------------------------------------------------------------------------------

    def _send(self, batch: list[_Sent]) -> None:
        for at, each in enumerate(batch):
            if len(each.data) > LARGE * 4:
                self._send(batch[:at])
                self._send_now([each])
                self._send(batch[at + 1:])
                return
        self._send_now(batch)

    def _send_now(self, batch: Sequence[_Sent]) -> None:
        if not batch:
            return
        self._away.extend(batch)
        data = batch[0].data if len(batch) == 1 else b"".join(each.data for each in batch)
        self._away_bytes += len(data)
        try:
            self._open_link().send(data)
        except ConnectionLost as error:
            self._again(error)
        self._drain(MOST_AWAY)

    def _drain(self, most_bytes: int) -> None:
        """Take the replies that came, and wait until no more than *most_bytes* are under way."""
        while self._away:
            try:
                link = self._open_link()
                reply = link.get()
                if reply is NOTHING:
                    if self._away_bytes <= most_bytes:
                        return
                    reply = link.receive(max(0.001, self._progress_at + self._timeout_s - time.monotonic()))
                self._take(link, reply)
            except ConnectionLost as error:
                self._again(error)

    def _take(self, link: Link, reply: object) -> None:
        """Note the reply to the oldest command that is under way."""
        sent = self._away.popleft()
        self._away_bytes -= len(sent.data)
        if not isinstance(reply, ReplyError):
            self._stored += sent.messages
            self._progress_at = time.monotonic()
            return
        error = link.error_of(reply)
        if isinstance(error, ConnectionLost):
            self._away.appendleft(sent)
            self._away_bytes += len(sent.data)
            raise error
        if isinstance(error, Unready) and time.monotonic() < self._progress_at + self._timeout_s:
            time.sleep(PAUSE_S)
            self._away.append(sent)
            self._away_bytes += len(sent.data)
            link.send(sent.data)
        elif self._failure is None:
            self._failure = error if isinstance(error, OperationalError) else TransportError(str(error))

    # -- the connection ------------------------------------------------------------------------

    def _open_link(self) -> Link:
        if self.link is None:
            self.link = self._connect(self._timeout_s)
        return self.link

    def _again(self, error: ConnectionLost) -> None:
        """Send all that is not answered over a new connection; raises *error* when that brings no progress in time."""
        while True:
            self.abandon()
            left_s = self._progress_at + self._timeout_s - time.monotonic()
            if left_s <= 0:
                raise error.with_traceback(None)
            self.link = self._connect(left_s)
            with self._lock:
                self._routes.forget()
            try:
                self.link.send(b"".join(each.data for each in self._away))
                return
            except ConnectionLost as again:
                error = again

    def _ask(self, asked: Sequence[Command]) -> list[object]:
        """Ask something on this connection, between what is under way."""
        self._drain(0)
        if self._failure is not None:
            raise _told(self._failure, self._stored)
        replies: list[object] = []
        for command in asked:
            replies.append(self._open_link().call(*command))
        return replies


def _flushed(groups: dict[bytes, list[bytes]]) -> list[_Sent]:
    """Take what was gathered for each list, as one command each."""
    found = [_Sent(lpush(key, values), len(values)) for key, values in groups.items()]
    groups.clear()
    return found


def _told(error: OperationalError, stored: int) -> OperationalError:
    kind = type(error) if isinstance(error, (BrokerFull, BrokerRefused)) else TransportError
    return kind(f"{error}; {stored} messages before it were stored")
