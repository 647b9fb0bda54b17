"""What an app holds open: its transport, its result store, and the codec between the two.

Opened when first needed, once per process: a forked child lets go of what it inherited and opens
its own, silently, so that a pre-forking server may import the app before it forks.
"""

from __future__ import annotations

import threading
from typing import Any

from fastq import backends, transport
from fastq.backends.base import ResultStore
from fastq.backends.meta import MetaCodec
from fastq.exceptions import ImproperlyConfigured
from fastq.transport.base import Transport

_EMBEDDED = ("sqlite:", "memory:")


class Wires:
    """The open ends of one app in one process."""

    def __init__(self, main: str | None, preset: str) -> None:
        self._main = main
        self._preset = preset
        self._lock = threading.RLock()
        self._transport: Transport | None = None
        self._store: ResultStore | None = None
        self._codec: MetaCodec | None = None
        # What was inherited over a fork is the parent's: it is kept, so that nothing closes it.
        self._inherited: list[object] = []

    def transport(self, conf: Any) -> Transport:
        """Return the open transport. Raises ConfigError, TransportError."""
        if self._transport is None:
            with self._lock:
                if self._transport is None:
                    self._transport = transport.open(self.broker_url(conf), conf.broker_transport_options or {})
        return self._transport

    def store(self, conf: Any) -> ResultStore:
        """Return the open result store. Raises ImproperlyConfigured when there is to be none."""
        if self._store is None:
            with self._lock:
                if self._store is None:
                    url = self.result_url(conf)
                    if url is None:
                        raise ImproperlyConfigured(
                            "no result store is configured, so there are no results: set result_backend, for example "
                            "to sqlite:///results.db"
                        )
                    self._store = backends.open(url, conf.result_backend_transport_options or {})
        return self._store

    def codec(self, conf: Any) -> MetaCodec:
        """Return what turns results into documents and back."""
        if self._codec is None:
            accept = conf.result_accept_content or conf.accept_content or (conf.result_serializer,)
            self._codec = MetaCodec(conf.result_serializer, accept, is_extended=bool(conf.result_extended))
        return self._codec

    def broker_url(self, conf: Any) -> str:
        """Return where messages go; Fastq's default is a file beside the program, Celery's a local RabbitMQ."""
        url = conf.broker_write_url or conf.broker_url
        if isinstance(url, (list, tuple)):
            url = url[0] if url else None
        if url:
            return str(url)
        return f"sqlite:///{self._main or 'fastq'}.fastq.db" if self._preset == "Fastq" else "amqp://guest@localhost//"

    def result_url(self, conf: Any) -> str | None:
        """Return where results go; None for nowhere."""
        if conf.result_backend:
            return str(conf.result_backend)
        url = self.broker_url(conf)
        return url if self._preset == "Fastq" and url.startswith(_EMBEDDED) else None

    def reset(self) -> None:
        """Forget the codec, as a setting has changed; what is open stays open."""
        self._codec = None

    def close(self) -> None:
        """Close what is open in this process; it opens again when it is needed. Safe to call twice."""
        with self._lock:
            ends, self._transport, self._store = (self._transport, self._store), None, None
        for end in ends:
            if end is not None:
                end.close()

    def after_fork(self) -> None:
        """Let go of what belongs to the parent process."""
        self._lock = threading.RLock()
        self._inherited += [self._transport, self._store]
        self._transport = self._store = None

