"""Waiting for results on Redis: for many threads and coroutines, on one connection of the process.

Who waits and who reads stands in readers.py, who is called in listeners.py; the connection is redis_ear.py's.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence

from fastq.backends.listeners import Call, Listeners
from fastq.backends.patience import Patience
from fastq.backends.readers import Readers
from fastq.backends.redis_ear import Ear
from fastq.exceptions import BackendError, BrokerRefused, ConnectionLost, TransportError
from fastq.transport.redis_link import Link

logger = logging.getLogger("fastq.backends.redis")

LEAST_S = 0.1
"""An attempt to connect may take so long, though whoever makes it wanted to wait for less."""


class Waits:
    """All waits of one process on one store.

    *prefix* stands before a task's id in the name of its channel; *connect* makes a connection within so many seconds;
    *fetch* looks for documents on another one; *is_final* tells whether a document ends a wait. Who waits lets the
    server be away for *patience_s*. Documents are *is_apart* when they are not where their channels are.
    """

    def __init__(self, prefix: str, connect: Callable[[float], Link],
                 fetch: Callable[[Sequence[str]], dict[str, bytes]], is_final: Callable[[bytes], bool],
                 patience_s: float, *, is_apart: bool = False) -> None:
        self._connect = connect
        self._fetch = fetch
        self._is_final = is_final
        self._closed = False
        self._ear = Ear(prefix, looks=not is_apart)
        self._readers = Readers(self._read)
        self._listeners = Listeners(self._readers)
        self._patience = Patience(patience_s)

    # -- who waits -----------------------------------------------------------------------------

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, bytes]:
        """Block until one of *task_ids* has a final document; returns those that have, none after *timeout* seconds.

        Raises BackendError when the server refuses, or is away for longer than there is patience.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._readers.lock:
            waiter = self._readers.enlist(task_ids)
            try:
                self._ear.follow(waiter.ids)
            except BaseException:
                self._readers.strike(waiter)
                raise
        try:
            self._readers.attend(waiter, deadline)
        finally:
            if len(waiter.found) < len(waiter.ids):
                with self._readers.lock:
                    self._leave_alone(waiter.ids, now=not waiter.found)
        if waiter.error is not None and not waiter.found:
            raise BackendError(str(waiter.error))  # one for each thread: what is raised grows a traceback
        return waiter.found

    def listen(self, task_id: str, call: Call) -> None:
        """Call *call* once with the document of a task that has ended, or the error, from any thread."""
        with self._readers.lock:
            self._listeners.add(task_id, call)
            self._ear.follow((task_id,))

    def unlisten(self, task_id: str, call: Call) -> None:
        """Forget what `listen` was told."""
        with self._readers.lock:
            was_heard = task_id not in self._listeners
            self._listeners.discard(task_id, call)
            self._leave_alone((task_id,), now=not was_heard)

    def close(self) -> None:
        """End every wait with a BackendError."""
        self._closed = True
        if not self._readers.alone(self._leave):
            with self._readers.lock:
                self._ear.lose("the store was closed")

    def abandon(self) -> None:
        """Close descriptors and nothing else: after a fork connection, locks and waits are the parent's."""
        self._ear.release()

    def _leave_alone(self, task_ids: Iterable[str], *, now: bool) -> None:
        unwanted = [each for each in task_ids if each not in self._readers and each not in self._listeners]
        self._ear.leave(unwanted, now=now)

    # -- reading: one thread at a time -----------------------------------------------------------

    def _read(self, timeout_s: float | None) -> None:
        """Read what comes within *timeout_s*, on a new connection if need be, and hand it on."""
        if self._closed:
            self._leave()
            return
        if not self._ear.is_open:
            self._reopen(timeout_s)
        elif self._ear.poll(timeout_s):
            try:
                self._hear()
            except ConnectionLost as error:
                if not self._closed:
                    logger.warning("%s; connecting again", error)
            except TransportError as error:
                self._refused(error, timeout_s)

    def _reopen(self, timeout_s: float | None) -> None:
        """Try once to connect. When there is no time left to do so, all who wait are told."""
        most_s = self._patience.begin()
        if timeout_s is not None:
            most_s = min(most_s, max(timeout_s, LEAST_S))
        try:
            self._resume(self._connect(most_s), most_s)
        except TransportError as error:
            self._refused(error, timeout_s)

    def _resume(self, link: Link, most_s: float) -> None:
        """Follow on a new *link* what is awaited. Raises TransportError.

        The look is not made on the link: the server closes a connection that subscribes and for which more than 32 MB
        wait (client-output-buffer-limit), so it would close the new one too.
        """
        with self._readers.lock:
            ids = list({*self._readers, *self._listeners})
        try:
            self._ear.subscribe(link, ids, most_s)
            found = self._fetch(ids)
        except BaseException:
            link.abandon()
            raise
        with self._readers.lock:
            self._ear.take_over(link, ids)
            self._ear.follow({*self._readers, *self._listeners}.difference(ids))  # who came meanwhile
        self._hear(found.items())

    def _hear(self, found: Iterable[tuple[str, bytes]] = ()) -> None:
        """Give what was *found*, and what has come, to those who wait for it. Raises TransportError."""
        calls: list[tuple[Call, bytes]] = []
        with self._readers.lock:
            try:
                for task_id, raw in (*found, *self._ear.take_in()):
                    if self._is_final(raw):
                        self._ear.settle(task_id)
                        calls += [(call, raw) for call in self._listeners.take(task_id)]
                        self._readers.give(task_id, raw)
                        self._leave_alone((task_id,), now=False)
            except BaseException as error:
                # Interrupted, perhaps before all was given: on a new connection all that is awaited is looked at.
                self._ear.lose(f"the reader ended: {error!r}")
                raise
            joined = self._ear.take_joined()
        self._patience.reset()
        for call, raw in calls:
            call(raw)
        if joined:
            self._look(joined)

    def _look(self, task_ids: Sequence[str]) -> None:
        """Look for documents whose channels are subscribed to by now. Raises TransportError."""
        try:
            found = self._fetch(task_ids)
        except BaseException as error:
            self._ear.lose(f"documents could not be looked at: {error!r}")     # the next connection looks at all
            raise
        self._hear(found.items())

    def _refused(self, error: TransportError, timeout_s: float | None) -> None:
        if self._patience.is_over() or isinstance(error, BrokerRefused):
            self._patience.reset()
            self._tell_all(BackendError(str(error)))
        else:
            self._patience.pause(timeout_s)

    def _leave(self) -> None:
        with self._readers.lock:
            self._ear.release()
        self._tell_all(BackendError("the store of results was closed"))

    def _tell_all(self, error: BackendError) -> None:
        """End every wait with *error*."""
        with self._readers.lock:
            self._readers.fail(error)
            calls = self._listeners.take_all()
        for call in calls:
            call(error)
