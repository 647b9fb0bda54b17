"""A look at the broker, under the names of a connection of kombu's: is it there, and how much waits in a queue?

For probes and dashboards that programs of Celery's have. Nothing is sent or received by it: the rest of what kombu's
connections do, kombu does, on RabbitMQ and Redis: ``kombu.Connection(app.conf.broker_url)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

from fastq import transport
from fastq.app.censor import censor_url
from fastq.exceptions import QueueNotFound, TransportError
from fastq.transport.base import Transport
from fastq.types import QueueStat


class QueueDeclared(NamedTuple):
    """What a broker answers to the declaration of a queue."""

    queue: str
    message_count: int
    consumer_count: int | None
    """None: nobody was asked."""


class Channel:
    """What can be asked about queues."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    def queue_declare(self, queue: str, passive: bool = False, **_: Any) -> QueueDeclared:
        """Return how many messages are ready in *queue*; its consumers are not counted.

        A queue is made by its first message or consumer: what nobody made is empty, or with *passive* QueueNotFound.
        Raises TransportError.
        """
        found = self.connection.queues()
        if passive and queue not in found:
            raise QueueNotFound(f"no queue {queue!r} at {self.connection.as_uri()}")
        return QueueDeclared(queue, found.get(queue, QueueStat()).ready, None)

    def queue_purge(self, queue: str, **_: Any) -> int:
        """Drop all messages of *queue*; returns how many. Raises TransportError."""
        return self.connection.opened().purge(queue)

    def close(self) -> None:
        """Nothing is left to close."""

    def __enter__(self) -> Channel:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class Connection:
    """The broker of *app*, or the one at *url*; with *is_read* the one that workers fetch from.

    Example::

        with app.connection() as connection:
            connection.ensure_connection(max_retries=3)
            waiting = connection.default_channel.queue_declare("celery", passive=True).message_count
    """

    connection_errors = recoverable_connection_errors = (TransportError, OSError)
    channel_errors = recoverable_channel_errors = (QueueNotFound,)

    def __init__(self, app: Any, url: str | None = None, *, is_read: bool = False) -> None:
        self._app = app
        self._url = url
        self._is_read = is_read
        self._transport: Transport | None = None

    def opened(self) -> Transport:
        """The transport, which is opened when there is none. Raises ConfigError, TransportError."""
        if self._transport is None:
            self._transport = (transport.open(self._url, {}) if self._url
                               else self._app.open_transport(for_worker=self._is_read))
        return self._transport

    def queues(self) -> dict[str, QueueStat]:
        """The figures of all queues that are known. Raises TransportError."""
        return self.opened().queues()

    def connect(self) -> Connection:
        """Ask the broker something. Raises TransportError when it does not answer."""
        try:
            self.queues()
        except TransportError:
            self.release()
            raise
        return self

    def ensure_connection(self, errback: Callable[[Exception, float], object] | None = None,
                          max_retries: int | None = None, interval_start: float = 2, interval_step: float = 2,
                          interval_max: float = 30, callback: Callable[[], object] | None = None,
                          reraise_as_library_errors: bool = True, timeout: float | None = None) -> Connection:
        """Ask the broker until it answers: *max_retries* times more (None, 0: for ever), for *timeout* seconds at most.

        Before each pause, in seconds from *interval_start* by *interval_step* to *interval_max*, *errback* gets the
        error and the pause, and *callback* nothing. Raises OperationalError.
        """
        began, failures, pause_s = time.monotonic(), 0, float(interval_start)
        while True:
            try:
                return self.connect()
            except TransportError as error:
                failures += 1
                is_late = timeout is not None and time.monotonic() + pause_s - began > timeout
                if (max_retries and failures > max_retries) or is_late:
                    raise
                if errback is not None:
                    errback(error, pause_s)
                if callback is not None:
                    callback()
            time.sleep(pause_s)
            pause_s = min(float(interval_max), pause_s + interval_step)

    @property
    def connected(self) -> bool:
        """Whether the broker was asked and answered, and this was not released since."""
        return self._transport is not None

    @property
    def default_channel(self) -> Channel:
        """What can be asked about queues."""
        return Channel(self)

    def channel(self) -> Channel:
        """What can be asked about queues."""
        return Channel(self)

    def as_uri(self, include_password: bool = False, **_: Any) -> str:
        """The broker's address, its password masked unless it is to be shown."""
        url: str = self._url or self._app.broker_url
        return url if include_password else censor_url(url)

    def info(self) -> dict[str, Any]:
        """What is known without asking: the address, and what kind of broker it is."""
        return {"uri": self.as_uri(), "transport": self.as_uri().partition(":")[0]}

    def clone(self, **_: Any) -> Connection:
        """Return another look at the same broker."""
        return Connection(self._app, self._url, is_read=self._is_read)

    def release(self) -> None:
        """Let go of it. Safe to call twice."""
        opened, self._transport = self._transport, None
        if opened is not None:
            opened.close()

    close = release

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.release()

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"a connection of fastq's has no {name!r}: it looks at queues, and sends nothing;"
                             " kombu.Connection(app.conf.broker_url) does, on RabbitMQ and Redis")
