"""Results as messages, ``rpc://``: a worker sends each to the queue that its task's message named.

Only the process that sent a task can read its result, and only while it lives. Documents are kept here until they are
asked for; nobody polls, and no thread of ours runs unless coroutines wait. The parts: who waits and who reads
(readers.py, listeners.py), the connection that results come on (rpc_inbox.py), the one they leave by (rpc_outbox.py).
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import weakref
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastq._ext import envelope
from fastq.amqp.brokers import Brokers
from fastq.amqp.outage import Outage
from fastq.amqp.target import parse_many
from fastq.backends.joinless import Joinless
from fastq.backends.listeners import Call, Listeners
from fastq.backends.meta import MetaCodec, typed
from fastq.backends.patience import PAUSE_FIRST_S, Patience
from fastq.backends.readers import Readers
from fastq.backends.rpc_inbox import Inbox
from fastq.backends.rpc_outbox import Outbox
from fastq.backends.rpc_shelf import Document, Shelf
from fastq.exceptions import BackendError, BrokerRefused, ConnectionLost, FrameError, TransportError, WireError
from fastq.transport.url import merge_options
from fastq.types import Result
from fastq.wire import compression, serializers

logger = logging.getLogger("fastq.backends.rpc")

LOOK_S = 0.1
"""A process that sends takes in what has come so often: a lost connection is seen, and nothing piles up for long."""
LOOKS = 16
"""Reads in one such look: a megabyte."""
LOCKED = 405
"""The broker has not seen yet that our last connection is gone, and keeps the queue for it."""


class RpcOptions(NamedTuple):
    """Where results travel and what is in them; the app fills this in from its settings."""

    brokers: str | Sequence[str] = "amqp://guest@localhost//"
    connect_timeout_s: float = 4.0
    failover: Any = "round-robin"
    login_method: str = "PLAIN"
    ssl: Any = None
    client_properties: Mapping[str, Any] = {}
    expires_s: float | None = 86_400.0
    serializer: str = "json"
    accept: Iterable[str] = ("json",)


def open_url(url: str, options: Mapping[str, Any]) -> RpcStore:
    """Open the store at ``rpc://``; it connects when it is first needed. Raises ConfigError."""
    return RpcStore(RpcOptions(**merge_options(url, {}, options, RpcOptions._fields)))  # type: ignore[arg-type]


class RpcStore(Joinless):
    """A `ResultStore` of what comes back to this process. Safe to use from many threads, and after a fork.

    Example::

        store = fastq.backends.open("rpc://", {"brokers": "amqp://guest@localhost//"})
        message = pack({"reply_to": store.expect(), ...}, headers, body)
        documents = store.wait(["0190..."], timeout=10)
    """

    def __init__(self, options: RpcOptions) -> None:
        self._options = options
        self._codec = MetaCodec(options.serializer, options.accept)
        self._content_type, self._content_encoding, _ = serializers.dumps(None, options.serializer)
        self._accept = serializers.content_types(options.accept)
        targets = parse_many(options.brokers, options.ssl)
        self._brokers = Brokers(targets, options.connect_timeout_s, options.failover, options.login_method,
                                options.client_properties)
        self._outbox = Outbox(self._brokers, self._content_type, self._content_encoding)
        self._begin()
        _stores.add(self)

    def _begin(self) -> None:
        self._inbox = Inbox(self._brokers, self._options.expires_s)
        self._readers = Readers(self._read)
        self._is_up = threading.Event()
        self._unread, self._known = Shelf(warns=True), Shelf(1_000, 4 << 20)
        self._listeners = Listeners(self._readers)
        self._look_at = 0.0
        self._lost_at: float | None = None
        self._patience = Patience(self._options.connect_timeout_s)
        self._outage = Outage(self._options.connect_timeout_s)
        self._closed = False

    # -- the sender ----------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """The name of this process's queue, which messages carry as ``reply_to``."""
        return self._inbox.name

    def expect(self) -> str:
        """See to it that results can come, before a task is sent; returns `address`. Raises TransportError."""
        now = time.monotonic()
        if not (self._inbox.is_open and now < self._look_at):
            self._look_at = now + LOOK_S
            self._readers.alone(self._take_in)
            deadline = now + self._options.connect_timeout_s
            while not self._inbox.is_open:
                # Somebody who waits may be about to connect.
                if not self._readers.alone(self._open_at_last) and not self._is_up.wait(PAUSE_FIRST_S) \
                        and time.monotonic() > deadline:
                    raise TransportError("the queue of results was not to be had in "
                                         f"{self._options.connect_timeout_s:g} s: the log says what was lost")
        return self._inbox.name

    # -- the worker ----------------------------------------------------------------------------

    def put(self, results: Sequence[Result]) -> None:
        """Send documents to those who wait for them: nobody does without a ``reply_to``. Raises BackendError."""
        try:
            self._outbox.send(results)
        except TransportError as error:
            raise BackendError(str(error)) from error

    # -- who waits -----------------------------------------------------------------------------

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        """The documents that have come and were not dropped."""
        self._readers.alone(self._take_in)
        with self._readers.lock:
            found = {task_id: self._find(task_id) for task_id in task_ids}
        return {task_id: document.raw for task_id, document in found.items() if document is not None}

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, bytes]:
        """Block until one of *task_ids* has a document in a ready state; None waits for ever.

        Returns those that are ready; an empty dict when *timeout* seconds have passed. Raises BackendError when the
        connection is lost and there is none to be had within the time to connect.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        is_look = timeout is not None and timeout <= 0
        if is_look:
            self._readers.alone(self._take_in)
        with self._readers.lock:
            found = self._ready(task_ids)
            if found or not task_ids or is_look:
                return found
            waiter = self._readers.enlist(task_ids)  # in one step with the look: what comes now is seen
        self._readers.attend(waiter, deadline)
        if waiter.error is not None:
            raise BackendError(str(waiter.error))  # one for each thread: what is raised grows a traceback
        return waiter.found

    def listen(self, task_id: str, call: Call) -> None:
        """Call *call* once with the document of a task that has ended, or the error, from any thread, or at once."""
        with self._readers.lock:
            found = self._ready((task_id,))
            if not found:
                self._listeners.add(task_id, call)
        if found:
            call(found[task_id])

    def unlisten(self, task_id: str, call: Call) -> None:
        """Forget what `listen` was told."""
        with self._readers.lock:
            self._listeners.discard(task_id, call)

    def lost_since(self, began: float) -> str | None:
        """Say what was lost since *began* (of the monotonic clock) that a wait may have been for; None for nothing."""
        if self._lost_at is None or self._lost_at < began:
            return None
        return ("the connection that results come on was lost meanwhile, and with it those that were on their way; "
                "whether the task has ended can be seen at the worker only")

    def forget(self, task_ids: Iterable[str]) -> None:
        """Drop documents; unknown ids are fine."""
        with self._readers.lock:
            for task_id in task_ids:
                self._unread.pop(task_id)
                self._known.pop(task_id)

    def prune(self, limit: int = 1000) -> int:
        """Return 0: what is kept is bounded, and ends with the process."""
        return 0

    def close(self) -> None:
        """Let go of everything; who still waits gets a BackendError. Safe to call twice."""
        self._closed = True
        if not self._readers.alone(self._leave):
            self._inbox.interrupt()
        self._outbox.close()

    # -- reading: one thread at a time -----------------------------------------------------------

    def _open(self, timeout_s: float) -> None:
        if self._closed:
            raise TransportError("the store of results is closed")
        if not self._inbox.is_open:
            self._inbox.open(timeout_s)
            self._patience.reset()
            self._outage.end()
            self._is_up.set()

    def _open_at_last(self) -> None:
        """Open for a sender: a broker that is gone is told at once, one that holds the queue for a ghost waited for."""
        self._outage.check()
        began = time.monotonic()
        deadline = began + self._options.connect_timeout_s
        while True:
            try:
                self._open(deadline - time.monotonic())
                return
            except TransportError as error:
                is_held = isinstance(error, BrokerRefused) and error.code == LOCKED
                if not is_held or time.monotonic() + PAUSE_FIRST_S > deadline:
                    self._outage.note(error, began)
                    raise
                time.sleep(PAUSE_FIRST_S)

    def _leave(self) -> None:
        self._inbox.close()
        self._tell_all(BackendError("the store of results was closed"))

    def _take_in(self) -> None:
        """Take in what has come, without waiting; of very much only a part, as somebody waits for this call."""
        for _ in range(LOOKS):
            if not (self._inbox.is_open and self._read(0.0)):
                return

    def _read(self, timeout_s: float | None) -> bool:
        """Read what comes within *timeout_s*, on a new connection if need be, and hand it on; whether any came."""
        if self._closed:
            self._leave()
            return False
        try:
            if not self._inbox.is_open and not self._reopen(timeout_s):
                return False
            contents = self._inbox.read(timeout_s)
        except ConnectionLost as error:
            self._lose(error)
            return False
        self._deliver(contents)
        return bool(contents)

    def _lose(self, error: ConnectionLost) -> None:
        self._is_up.clear()
        self._lost_at = time.monotonic()
        if not self._closed:
            logger.warning("%s; results that were on their way are lost", error)

    def _reopen(self, timeout_s: float | None) -> bool:
        """Try once to connect. When there is no time left to do so, all who wait are told."""
        try:
            self._open(self._patience.begin())
            return True
        except TransportError as error:
            is_hopeless = isinstance(error, BrokerRefused) and error.code != LOCKED
            if self._patience.is_over() or is_hopeless:
                self._patience.reset()
                self._tell_all(BackendError(str(error)))
            else:
                self._patience.pause(timeout_s)
            return False

    def _tell_all(self, error: BackendError) -> None:
        """End every wait with *error*."""
        with self._readers.lock:
            self._readers.fail(error)
            calls = self._listeners.take_all()
        for call in calls:
            call(error)

    def _deliver(self, contents: Iterable[bytes]) -> None:
        opened = [found for content in contents if (found := self._opened(content)) is not None]
        calls: list[tuple[Call, bytes]] = []
        with self._readers.lock:
            for task_id, document in opened:
                known = self._find(task_id)
                if known is not None and known.is_final:
                    continue
                if not document.is_final:
                    self._unread.put(task_id, document)
                    continue
                listeners = self._listeners.take(task_id)
                calls += [(call, document.raw) for call in listeners]
                is_awaited = self._readers.give(task_id, document.raw) or listeners
                self._unread.pop(task_id)
                (self._known if is_awaited else self._unread).put(task_id, document)
        for call, raw in calls:
            call(raw)

    def _opened(self, content: bytes) -> tuple[str, Document] | None:
        """Return the task of a message and its document."""
        try:
            properties, headers, body = envelope.unpack(content)
            if headers.get("compression"):
                body = compression.decompress(body, headers["compression"])
        except (FrameError, WireError) as error:
            logger.error("a result cannot be opened and is dropped: %s", error)
            return None
        task_id = properties.get("correlation_id")
        if not task_id:
            logger.error("a result that names no task (correlation_id) is dropped; it begins with %r", body[:80])
            return None
        content_type = properties.get("content_type") or self._content_type
        if content_type != self._content_type:
            body = typed(content_type, properties.get("content_encoding") or "utf-8", body)
        return task_id, Document(body, self._codec.is_final(body))

    # -- under the lock ------------------------------------------------------------------------

    def _find(self, task_id: str) -> Document | None:
        return self._unread.get(task_id) or self._known.get(task_id)

    def _ready(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for task_id in task_ids:
            document = self._find(task_id)
            if document is not None and document.is_final:
                found[task_id] = document.raw
                if task_id in self._unread:  # from now on it counts among those that somebody has seen
                    self._unread.pop(task_id)
                    self._known.put(task_id, document)
        return found

    def _after_fork(self) -> None:
        """Leave to the parent what is the parent's; this process gets a queue of its own."""
        self._inbox.abandon()
        self._outbox.abandon()
        self._begin()


_stores: weakref.WeakSet[RpcStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _close_at_exit() -> None:
    for store in list(_stores):
        store.close()


atexit.register(_close_at_exit)
