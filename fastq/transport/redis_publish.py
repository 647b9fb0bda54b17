"""Publishing to Redis: one command and its reply for a message, and a stream of commands for many.

A call that returned is stored. A connection that breaks in the middle is made anew once and the message sent again: it
may be there twice then, never lost. A server that is away is an error after the publish timeout at most.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

from fastq._ext.kombu import dump
from fastq._ext.resp import commands, lpush
from fastq.exceptions import BrokerRefused, ConnectionLost, OperationalError
from fastq.transport.redis_binding import Command
from fastq.transport.redis_bulk import Bulk
from fastq.transport.redis_error import Unready
from fastq.transport.redis_link import Link, ReplyError
from fastq.transport.redis_route import Place, Routes
from fastq.types import Message

MOST_BYTES = 512 * 1024 * 1024 - 65536
"""What a server takes as one value, unless its proto-max-bulk-len says otherwise; some is left for a key."""
IDLE_S = 1.0
"""A connection that was silent for so long is looked at before it is used."""
PAUSE_FIRST_S, PAUSE_MOST_S = 0.02, 0.5


class Publisher:
    """The producer side of one process: thread-safe, and usable in a forked child after `after_fork`.

    *connect* opens a connection within so many seconds, *connect_timeout_s* at most; *timeout_s* bounds all that a
    call waits for; a connection idle for *health_check_s* is asked for a sign of life before it is used (0: never).

    Example::

        publisher = Publisher(way.connect, Routes(keys, queue_of, bound_to), timeout_s=5)
        publisher.publish_one("celery", content)
    """

    def __init__(self, connect: Callable[[float], Link], routes: Routes, *, timeout_s: float = 5.0,
                 health_check_s: float = 25.0, connect_timeout_s: float = 4.0) -> None:
        self._connect = connect
        self._routes = routes
        self._timeout_s = timeout_s
        self._health_check_s = health_check_s
        self._connect_timeout_s = connect_timeout_s
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._link: Link | None = None
        self._spare: Link | None = None
        """Between two streams, the connection of the last."""
        self._down: tuple[OperationalError, float] | None = None
        """What took the time that a caller has, and until when the next one hears the same at once."""
        self._routes.forget()

    # -- one message ---------------------------------------------------------------------------

    def publish_one(self, queue: str, content: bytes, priority: int = 0, run_at: float | None = None,
                    exchange: str = "") -> None:
        """Store one message. Raises OperationalError: BrokerFull, Undeliverable, or the server is not to be had.

        With an error that tells of a lost connection the message may have been stored all the same.
        """
        with self._lock:
            key = None if exchange or run_at is not None else self._routes.plain.get((queue, priority))
            link = self._link
            if key is not None and link is not None and time.monotonic() - link.heard_at < IDLE_S:
                data = lpush(key, (self._dump(content, "", queue),))
                try:
                    link.send(data)
                    reply = link.receive()
                except ConnectionLost:
                    self._ask_bytes(data, 1, time.monotonic() + self._timeout_s, is_again=True)
                    return
                if type(reply) is int:
                    return
            self._publish_slowly(Message(queue, content, priority, run_at, exchange))

    def _publish_slowly(self, message: Message) -> None:
        """Find the place anew, and wait for a server that is not ready."""
        deadline = time.monotonic() + self._timeout_s

        def ask(asked: Sequence[Command]) -> list[object]:
            return self._ask_bytes(commands(asked), len(asked), deadline)

        envelope = self._dump(message.content, message.exchange, message.queue)
        queue, content, priority, run_at, exchange = message
        ask(self._routes.place(ask, queue, content, priority, run_at, exchange).commands(envelope))

    def place(self, message: Message) -> Place:
        """Return where *message* goes, its queue declared. Raises OperationalError, ValueError."""
        queue, content, priority, run_at, exchange = message
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            return self._routes.place(lambda asked: self._ask_bytes(commands(asked), len(asked), deadline),
                                      queue, content, priority, run_at, exchange)

    def bound_queues(self, exchange: str, routing_key: str) -> list[str]:
        """Return the queues that *exchange* feeds with *routing_key*. Raises OperationalError: Undeliverable."""
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            return self._routes.bound_queues(lambda asked: self._ask_bytes(commands(asked), len(asked), deadline),
                                             exchange, routing_key)

    def declare(self, queues: Iterable[str]) -> None:
        """Make *queues* known, with their bindings. Raises OperationalError."""
        with self._lock:
            deadline = time.monotonic() + self._timeout_s
            self._routes.declare(lambda asked: self._ask_bytes(commands(asked), len(asked), deadline), queues)

    @staticmethod
    def _dump(content: bytes, exchange: str, routing_key: str) -> bytes:
        envelope = dump(content, exchange, routing_key)
        if len(envelope) > MOST_BYTES:
            raise BrokerRefused(f"a message of {len(envelope) >> 20} MiB is more than Redis takes as one value (512 "
                                "MiB, proto-max-bulk-len); store the data elsewhere, and send where it is")
        return envelope

    # -- many ----------------------------------------------------------------------------------

    def publish(self, messages: Iterable[Message], timeout_s: float | None = None) -> int:
        """Store many messages, in few commands; all are stored when this returns how many there were.

        *timeout_s* bounds a wait without progress. Raises OperationalError, after which some may be stored. The
        messages may come from user code: no lock is held while they do.
        """
        bulk = Bulk(self._take_link, self._routes, self._lock, self._timeout_s if timeout_s is None else timeout_s)
        try:
            count = bulk.publish(messages)
        except BaseException:
            bulk.abandon()
            raise
        with self._lock:
            spare, self._spare = self._spare, bulk.link
        if spare is not None:
            spare.close()
        return count

    def _take_link(self, timeout_s: float) -> Link:
        with self._lock:
            link, self._spare = self._spare, None
        if link is not None and link.is_alive(self._health_check_s):
            return link
        self._check_down()
        return self._open(timeout_s)

    # -- the connection ------------------------------------------------------------------------

    def _ask_bytes(self, data: bytes, count: int, deadline: float, *, is_again: bool = False) -> list[object]:
        """Send *count* commands and return their replies, over a new connection if the first one breaks.

        Raises what the server says, and ConnectionLost when it is *is_again*, the second, that breaks.
        """
        pause_s = PAUSE_FIRST_S
        while True:
            try:
                return self._exchange(data, count, deadline)
            except ConnectionLost as error:
                if is_again or time.monotonic() >= deadline:
                    self._note_down(error, deadline)
                    raise
                is_again = True
            except Unready:
                if time.monotonic() + pause_s >= deadline:
                    raise
                time.sleep(pause_s)
                pause_s = min(pause_s * 2, PAUSE_MOST_S)

    def _exchange(self, data: bytes, count: int, deadline: float) -> list[object]:
        link = self._ready_link(deadline)
        link.send(data)
        replies = [link.receive(max(0.001, deadline - time.monotonic())) for _ in range(count)]
        for reply in replies:
            if isinstance(reply, ReplyError):
                raise link.error_of(reply)
        return replies

    def _ready_link(self, deadline: float) -> Link:
        link = self._link
        if link is not None and link.is_alive(self._health_check_s):
            return link
        if link is not None:
            link.close()
            self._link = None
            self._routes.forget()
        self._check_down()
        try:
            self._link = link = self._open(deadline - time.monotonic())
        except OperationalError as error:
            self._note_down(error, deadline)
            raise
        self._down = None
        return link

    def _open(self, left_s: float) -> Link:
        link = self._connect(max(0.1, min(left_s, self._connect_timeout_s)))
        link.reply_timeout_s = link.send_timeout_s = self._timeout_s
        return link

    def _note_down(self, error: OperationalError, deadline: float) -> None:
        """Note what used up half of a caller's time or more; one that tries again waits no second time."""
        if deadline - time.monotonic() <= self._timeout_s / 2:
            self._down = error, time.monotonic() + self._timeout_s

    def _check_down(self) -> None:
        if self._down is not None and time.monotonic() < self._down[1]:
            raise self._down[0].with_traceback(None)

    def after_fork(self) -> None:
        """Begin anew in a forked child: its parent goes on with the connections."""
        for link in (self._link, self._spare):
            if link is not None:
                link.abandon()
        self._begin()

    def close(self) -> None:
        """Close the connections; a later call opens them again. Safe to call twice."""
        with self._lock:
            links, self._link, self._spare = (self._link, self._spare), None, None
            self._routes.forget()
        for link in links:
            if link is not None:
                link.close()
