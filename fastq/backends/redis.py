"""Results on Redis, as Celery keeps them: a key for each task, whose name is also the channel that tells of it.

Nobody polls, and no thread of ours runs unless coroutines wait. A process has up to two connections: one on which it
hears (redis_wait.py, redis_ear.py) and one on which it asks (redis_ask.py).
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from fastq.backends.listeners import Call
from fastq.backends.meta import MetaCodec
from fastq.backends.redis_ask import Asker, Documents
from fastq.backends.redis_chord import RedisChords
from fastq.backends.redis_keys import group_prefix, task_prefix
from fastq.backends.redis_options import StoreOptions
from fastq.backends.redis_spread import SpreadDocuments
from fastq.backends.redis_wait import Waits
from fastq.exceptions import BackendError, TransportError, WireError
from fastq.states import SUCCESS
from fastq.transport.redis_cluster import Cluster
from fastq.transport.redis_script import Script
from fastq.types import Chord, Claim, Complete, Opening, Part, Result

MANY = 1000
"""Documents fetched, or dropped, by one command."""

_PUT = Script.named("result", "put_results")


def open_url(url: str, options: Mapping[str, object]) -> RedisStore:
    """Open the store at a ``redis://`` address; it connects when it is first needed. Raises ConfigError."""
    return RedisStore(url, StoreOptions.read(url, options))


@contextmanager
def _as_backend_error() -> Iterator[None]:
    try:
        yield
    except TransportError as error:
        raise BackendError(str(error)) from error


class RedisStore:
    """A `ResultStore` on Redis that can be listened to. Safe to use from many threads, and after a fork.

    Example::

        store = fastq.backends.open("redis://localhost:6379/0")
        store.put([Result("0190...", "SUCCESS", b"{...}", expires_at=time.time() + 3600)])
        documents = store.wait(["0190..."], timeout=10)
    """

    joins = True
    polls_chords = False

    def __init__(self, url: str, options: StoreOptions) -> None:
        self._options = options
        self._way = options.way(url)
        self._codec = MetaCodec(options.serializer, options.accept)
        self._prefix = task_prefix(options.global_keyprefix or self._way.prefix)
        # Of a cluster any node will do to hear of results: what is published goes to all of them.
        self._cluster = Cluster(self._way) if self._way.targets[0].is_clustered else None
        self._documents = self._place()
        self._chords = RedisChords(
            group_prefix(options.global_keyprefix or self._way.prefix), self._documents.ask_for,
            is_ordered=options.result_chord_ordered, is_apart=self._cluster is not None)
        self._begin()
        _stores.add(self)

    def _place(self) -> Documents:
        options = self._options
        if self._cluster is None:
            return Asker(lambda: self._way.connect(options.connect_timeout_s, name=options.client_name), _PUT)
        return SpreadDocuments(self._cluster, _PUT, connect_timeout_s=options.connect_timeout_s,
                               patience_s=options.reply_timeout_s, name=options.client_name)

    def _begin(self) -> None:
        options, most_s = self._options, self._options.connect_timeout_s
        connect = self._way.connect if self._cluster is None else self._cluster.connect_any
        self._waits = Waits(
            self._prefix, lambda left_s: connect(min(left_s, most_s), protocol=3, name=options.client_name),
            self._fetch, self._codec.is_final, options.patience_s, is_apart=self._cluster is not None)

    # -- documents -----------------------------------------------------------------------------

    def put(self, results: Sequence[Result]) -> None:
        """Store documents in one step, and wake those who wait for them. Raises BackendError.

        One that Celery compressed is read here first, since the server cannot tell whether it is a SUCCESS.
        """
        left = [(result, b"") for result in results]
        with _as_backend_error():
            while left:
                kept = self._put(left)
                left = list(self._replacing([left[number - 1][0] for number in kept])) if kept else []

    def _put(self, pairs: Sequence[tuple[Result, bytes]]) -> list[int]:
        now = time.time()
        keys, arguments = [], list[bytes | str | int | float]()
        for result, replaceable in pairs:
            keys.append(self._key(result.task_id))
            arguments += (_ttl_ms(result.expires_at, now), result.meta, replaceable)
        return self._documents.store(keys, arguments)

    def _replacing(self, results: Sequence[Result]) -> Iterator[tuple[Result, bytes]]:
        """Return those of *results* in whose place no SUCCESS stands, each with what does stand there."""
        stored = self.get([result.task_id for result in results])
        for result in results:
            raw = stored.get(result.task_id, b"")
            if not self._is_success(raw):
                yield result, raw

    def _is_success(self, raw: bytes) -> bool:
        try:
            return bool(raw) and self._codec.state_of(raw) == SUCCESS
        except WireError:
            return False  # nobody can read it, so something better may take its place

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        """The documents that exist. Raises BackendError."""
        with _as_backend_error():
            return self._fetch(task_ids)

    def _fetch(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for start in range(0, len(task_ids), MANY):
            part = task_ids[start:start + MANY]
            answer = self._documents.find(list(map(self._key, part)))
            found.update((task_id, raw) for task_id, raw in zip(part, answer, strict=True) if raw is not None)
        return found

    def forget(self, task_ids: Iterable[str]) -> None:
        """Drop documents; unknown ids are fine. Raises BackendError."""
        keys = list(map(self._key, task_ids))
        with _as_backend_error():
            for start in range(0, len(keys), MANY):
                self._documents.drop(keys[start:start + MANY])

    def prune(self, limit: int = 1000) -> int:
        """Return 0: the server drops what has expired."""
        return 0

    def close(self) -> None:
        """Let go of everything; who still waits gets a BackendError. Safe to call twice."""
        self._waits.close()
        self._documents.close()

    # -- who waits -----------------------------------------------------------------------------

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, bytes]:
        """Block until one of *task_ids* has a document in a ready state; None waits for ever.

        Returns those that are ready; an empty dict when *timeout* seconds have passed. Raises BackendError when the
        server refuses, or is away for longer than the store has patience.
        """
        if not task_ids:
            return {}
        if timeout is not None and timeout <= 0:
            return {task_id: raw for task_id, raw in self.get(task_ids).items() if self._codec.is_final(raw)}
        return self._waits.wait(task_ids, timeout)

    def listen(self, task_id: str, call: Call) -> None:
        """Call *call* once with the document of a task that has ended, or the error, from any thread."""
        self._waits.listen(task_id, call)

    def unlisten(self, task_id: str, call: Call) -> None:
        """Forget what `listen` was told."""
        self._waits.unlisten(task_id, call)

    # -- chords and groups ---------------------------------------------------------------------

    def chord_open(self, group_id: str, size: int, *, group: bytes | None = None, plan: bytes = b"",
                   expires_at: float | None = None, renew: bool = False) -> None:
        """Say of how many members a chord is; see `Chords.chord_open`. Raises BackendError."""
        self.chord_open_all([Opening(group_id, size, group, plan)], expires_at=expires_at, renew=renew)

    def chord_open_all(self, opens: Sequence[Opening], *, expires_at: float | None = None, renew: bool = False) -> None:
        """`chord_open` for many, some hundreds in one packet. Raises BackendError."""
        with _as_backend_error():
            self._chords.open(opens, expires_at, renew=renew)

    def chord_add(self, group_id: str, count: int = 1) -> None:
        """Say that a chord has *count* members more. Raises BackendError."""
        with _as_backend_error():
            self._chords.add(group_id, count)

    def chord_count(self, parts: Sequence[Part], expires_at: float | None = None) -> list[Complete]:
        """Note that members of chords have ended; returns the chords to complete. Raises BackendError."""
        with _as_backend_error():
            return self._chords.count(parts, expires_at)

    def chord_get(self, group_id: str, taker: str = "") -> Chord:
        """What is known of a chord, which *taker* takes. Raises BackendError."""
        with _as_backend_error():
            return self._chords.get(group_id, taker)

    def chord_hold(self, claims: Sequence[Claim], expires_at: float | None = None) -> None:
        """Note that what completes chords is with the broker. Raises BackendError."""
        with _as_backend_error():
            self._chords.hold(claims, expires_at)

    def chord_close(self, group_ids: Sequence[str]) -> None:
        """Note that the bodies of chords were sent, and drop the rest. Raises BackendError."""
        with _as_backend_error():
            self._chords.close(group_ids)

    def rest_put(self, ref: str, blocks: Sequence[bytes], expires_at: float | None) -> None:
        """Keep the rest of a chain, in blocks; see `Chords.rest_put`. Raises BackendError."""
        with _as_backend_error():
            self._chords.put_rest(ref, blocks, expires_at)

    def rest_get(self, ref: str, number: int, expires_at: float | None) -> bytes | None:
        """One block of the rest of a chain. Raises BackendError."""
        with _as_backend_error():
            return self._chords.get_rest(ref, number, expires_at)

    def group_put(self, group_id: str, raw: bytes, expires_at: float | None) -> None:
        """Keep the members of a group. Raises BackendError."""
        with _as_backend_error():
            self._chords.put_group(group_id, raw, expires_at)

    def group_get(self, group_id: str) -> bytes | None:
        """The members of a group that were kept. Raises BackendError."""
        with _as_backend_error():
            return self._chords.get_group(group_id)

    def group_forget(self, group_id: str) -> None:
        """Drop the members of a group. Raises BackendError."""
        with _as_backend_error():
            self._chords.forget_group(group_id)

    # -- the rest ------------------------------------------------------------------------------

    def _key(self, task_id: str) -> bytes:
        return (self._prefix + task_id).encode()

    def _after_fork(self) -> None:
        """Leave to the parent what is the parent's; this process makes connections of its own."""
        self._waits.abandon()
        self._documents.abandon()
        self._begin()


def _ttl_ms(expires_at: float | None, now: float) -> str:
    """Return for how long to keep a document, as the script takes it."""
    return "" if expires_at is None else str(max(0, round((expires_at - now) * 1000)))


_stores: weakref.WeakSet[RedisStore] = weakref.WeakSet()


def _after_fork() -> None:
    for store in list(_stores):
        store._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
