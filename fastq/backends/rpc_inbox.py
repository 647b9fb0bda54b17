"""The queue in which a process gets the results that it waits for.

It is exclusive, so that it ends with its connection: nothing is left behind by a process that was killed.
"""

from __future__ import annotations

import os
import socket
import time
from uuid import uuid4

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.brokers import Brokers
from fastq.amqp.link import Link

_TAG = "fastq.replies"
_CANCEL, _CHANNEL_CLOSE = METHODS["basic.cancel"], METHODS["channel.close"]
_LONGEST_MS = 2**32 - 1
"""The latest expiry that RabbitMQ takes."""


class Inbox:
    """A queue of this process's own, under a name of its own that is the same over all connections."""

    def __init__(self, brokers: Brokers, expires_s: float | None) -> None:
        self.name = str(uuid4())
        self._brokers = brokers
        # Should the broker fail to see that the connection is gone.
        self._arguments = {"x-expires": min(_LONGEST_MS, max(1, int(expires_s * 1000)))} if expires_s else {}
        self._link: Link | None = None
        self._consumer = 0
        self._loss = ""

    @property
    def is_open(self) -> bool:
        """Whether results can come, as far as is known here."""
        return self._link is not None and self._link.is_open

    def open(self, timeout_s: float) -> None:
        """Connect, declare the queue and consume it, all in *timeout_s* seconds. Raises TransportError."""
        self._loss = ""
        deadline = time.monotonic() + timeout_s
        link = self._brokers.connect(timeout_s)
        try:
            with link.within(deadline - time.monotonic()):
                self._consume(link)
        except BaseException:
            link.abandon()
            raise
        self._link = link

    def _consume(self, link: Link) -> None:
        channel = link.open_channel()
        link.handlers[channel] = self._on_event
        link.call(channel, METHODS["queue.declare"], self.name, False, False, True, True, False, self._arguments)
        # Watched before: the first results may come with the answer.
        self._consumer = link.decoder.watch(channel, _TAG)
        link.call(channel, METHODS["basic.consume"], self.name, _TAG, False, True, False, False, {})

    def read(self, timeout_s: float | None) -> list[bytes]:
        """Return the contents that have come, and wait for some at most *timeout_s* seconds. Raises ConnectionLost."""
        link = self._link
        assert link is not None
        decoder = link.decoder
        link.fill(0.0 if decoder.gathered(self._consumer) or link.has_news() else timeout_s)
        link.pump()
        if self._loss:
            raise link.lose(self._loss)
        count = decoder.gathered(self._consumer)
        return [content for _, _, content in decoder.take(self._consumer, count)] if count else []

    def close(self) -> None:
        """Leave; the queue goes with the connection. Safe to call twice."""
        if self._link is not None:
            self._link.close()

    def interrupt(self) -> None:
        """Have a thread that reads find the connection lost."""
        if self._link is not None and self._link.is_open:
            # A copy of the descriptor: the socket of TLS is not for two threads at once.
            with socket.socket(fileno=os.dup(self._link.fileno())) as twin:
                twin.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """Close the descriptor only: after a fork the connection is the parent's."""
        if self._link is not None:
            self._link.abandon()

    def _on_event(self, event: amqp.Event) -> None:
        if event[1] in (_CANCEL, _CHANNEL_CLOSE):
            self._loss = f"the queue of results {self.name} was deleted" if event[1] == _CANCEL else str(event[2][1])
