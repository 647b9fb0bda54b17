"""What an app holds open: its transport, its result store, and the codec between the two.

Opened when first needed, once per process: a forked child lets go of what it inherited and opens
its own, silently, so that a pre-forking server may import the app before it forks.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from fastq import backends, control, transport
from fastq.app import wiring
from fastq.backends.base import Replies, ResultStore
from fastq.backends.meta import MetaCodec
from fastq.control.mailbox import Mailbox
from fastq.exceptions import ImproperlyConfigured
from fastq.transport.base import Transport
from fastq.transport.url import scheme_of

_UNKNOWN = object()


class Wires:
    """The open ends of one app in one process."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._lock = threading.RLock()
        self._transport: Transport | None = None
        self._store: ResultStore | None = None
        self._codec: MetaCodec | None = None
        self._replies: object = _UNKNOWN
        # What was inherited over a fork is the parent's: it is kept, so that nothing closes it.
        self._inherited: list[object] = []

    def transport(self) -> Transport:
        """Return the open transport. Raises ConfigError, TransportError."""
        if self._transport is None:
            with self._lock:
                if self._transport is None:
                    self._transport = self.open_transport(for_worker=False)
        return self._transport

    def open_transport(self, *, for_worker: bool, **told: Any) -> Transport:
        """Open one more transport, told what the settings say, and *told*. Raises ConfigError, TransportError."""
        urls = self.urls(for_worker=for_worker)
        return transport.open(urls, self._told(urls, for_worker, told))

    def open_mailbox(self, *, for_worker: bool) -> Mailbox:
        """Connect to the mailbox of remote control at the broker. Raises ConfigError, TransportError."""
        urls = self.urls(for_worker=for_worker)
        return control.open(urls, self._told(urls, for_worker, {}), self._app.conf.control_exchange)

    def has_mailbox(self) -> bool:
        """Whether remote control works over the broker."""
        return control.is_possible(self.urls()[0])

    def _told(self, urls: Sequence[str], for_worker: bool, told: Mapping[str, Any]) -> dict[str, Any]:
        takes = transport.TOLD[scheme_of(urls[0], transport.SCHEMES)]
        options = {**wiring.broker_options(self._app, for_worker=for_worker), **told}
        options = {name: value for name, value in options.items() if name in takes}
        return {**options, **(self._app.conf.broker_transport_options or {})}

    def store(self) -> ResultStore:
        """Return the open result store. Raises ImproperlyConfigured when there is to be none."""
        if self._store is None:
            with self._lock:
                if self._store is None:
                    url = self.result_url()
                    if url is None:
                        raise ImproperlyConfigured(
                            "no result store is configured, so there are no results: set result_backend, for example "
                            "to sqlite:///results.db"
                        )
                    self._store = backends.open(url, wiring.store_options(self._app.conf, url, self.urls()))
        return self._store

    def store_beside(self, worker: Transport) -> ResultStore | None:
        """Return the store that the results of a worker go to; None where they leave with the acks."""
        url, reads, writes = self.result_url(), self.urls(for_worker=True), self.urls()
        if url is None:
            return None
        if url == wiring.RPC:
            is_own = set(reads) == set(writes)  # clients wait at the broker that they write to
        else:
            # The server of Redis cannot see whether a compressed document is a SUCCESS, which must stay; its store can.
            is_legible = self.codec().compressed is None or not wiring.is_redis(url)
            is_own = wiring.is_beside(self._app.conf, url, reads) and is_legible
        return None if is_own and worker.caps.stores_results else self.store()

    def replies(self) -> Replies | None:
        """Return the store of results that come back as messages, if the settings say that they do."""
        if self._replies is _UNKNOWN:
            self._replies = self.store() if self.result_url() == wiring.RPC else None
        return cast("Replies | None", self._replies)

    def codec(self) -> MetaCodec:
        """Return what turns results into documents and back."""
        if self._codec is None:
            conf = self._app.conf
            accept = conf.result_accept_content or conf.accept_content or (conf.result_serializer,)
            # Celery's clients would not unpack what comes in a message.
            compressed = None if self.result_url() == wiring.RPC else conf.result_compression
            self._codec = MetaCodec(conf.result_serializer, accept, is_extended=bool(conf.result_extended),
                                    compressed=compressed)
        return self._codec

    def urls(self, *, for_worker: bool = False) -> tuple[str, ...]:
        """Return where messages go, or where a worker takes them from; several are there for failover."""
        return wiring.broker_urls(self._app.conf, self._app.main, for_worker=for_worker)

    def result_url(self) -> str | None:
        """Return where results go; None for nowhere. Raises ConfigError for ``rpc://`` without RabbitMQ."""
        given = wiring.result_url(self._app.conf, self.urls())
        if given:
            return None if given in wiring.DISABLED else given
        url = self.urls()[0]
        return url if self._app.preset == "Fastq" and url.startswith(wiring.EMBEDDED) else None

    def reset(self) -> None:
        """Forget what was worked out from settings, as one has changed; what is open stays open."""
        self._codec = None
        self._replies = _UNKNOWN

    def close(self) -> None:
        """Close what is open in this process; it opens again when it is needed. Safe to call twice."""
        with self._lock:
            ends, self._transport, self._store = (self._transport, self._store), None, None
            self._replies = _UNKNOWN
        for end in ends:
            if end is not None:
                end.close()

    def after_fork(self) -> None:
        """Let go of what belongs to the parent process."""
        self._lock = threading.RLock()
        self._inherited += [self._transport, self._store]
        self._transport = self._store = None
        self._replies = _UNKNOWN
