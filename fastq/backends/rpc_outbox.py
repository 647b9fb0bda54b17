"""How a result is sent to whoever waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

from fastq._ext import amqp, envelope
from fastq.amqp.brokers import Brokers
from fastq.amqp.link import Link
from fastq.exceptions import ConnectionLost
from fastq.types import Result


class Outbox:
    """Sends results to the queues of those who wait. Thread-safe; connects when it is first used."""

    def __init__(self, brokers: Brokers, content_type: str, content_encoding: str) -> None:
        self._brokers = brokers
        self._properties = {"content_type": content_type, "content_encoding": content_encoding, "delivery_mode": 1}
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._channel = 0

    def send(self, results: Sequence[Result]) -> None:
        """Send *results*; those that name no queue go nowhere, as nobody waits for them. Raises TransportError."""
        wanted = [result for result in results if result.reply_to]
        if not wanted:
            return
        with self._lock:
            deadline = time.monotonic() + self._brokers.connect_timeout_s
            try:
                self._send(wanted, deadline)
            except ConnectionLost:
                if time.monotonic() >= deadline:
                    raise
                # The broker may have gone long ago, while nothing was sent. A result may come twice.
                self._send(wanted, deadline)

    def _send(self, results: Sequence[Result], deadline: float) -> None:
        link = self._ready(deadline)
        link.send(b"".join(self._frames(link, result) for result in results))

    def _frames(self, link: Link, result: Result) -> bytes:
        content = envelope.pack({**self._properties, "correlation_id": result.task_id}, {}, result.meta)
        return amqp.publish(amqp.publisher(self._channel, "", result.reply_to or ""), content, link.frame_max)

    def _ready(self, deadline: float) -> Link:
        link = self._link
        if link is not None and link.is_open:
            link.fill(0.0)  # shows a connection that the broker has closed meanwhile
            link.pump()
            if self._channel in link.channels:
                return link
            link.abandon()
        self._link = None
        link = self._brokers.connect(deadline - time.monotonic())
        link.send_timeout_s = self._brokers.connect_timeout_s
        try:
            with link.within(deadline - time.monotonic()):
                self._channel = link.open_channel()
        except BaseException:
            link.abandon()
            raise
        self._link = link
        return link

    def close(self) -> None:
        """Leave. Safe to call twice."""
        with self._lock:
            if self._link is not None:
                self._link.close()

    def abandon(self) -> None:
        """Close the descriptor only, and begin anew: after a fork connection and lock are the parent's."""
        self._lock = threading.Lock()
        if self._link is not None:
            self._link.abandon()
