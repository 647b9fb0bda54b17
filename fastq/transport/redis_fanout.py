"""Queues on fanout exchanges: what is published to everybody goes into the list of each worker that listens.

A message comes by a channel, as kombu sends it, and only to those who listen at that moment: while a worker's
connection is broken it misses what is published. From its list on it is a message like any other.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from fastq.exceptions import ConnectionLost, TransportError
from fastq.transport.redis_binding import ways_into
from fastq.transport.redis_ears import Poller
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_link import NOTHING, Link, Push, ReplyError, pack
from fastq.wire.entity import Queue

logger = logging.getLogger("fastq.transport.redis")

KEPT_MS = 3_600_000
"""What a dead worker leaves in a list that was its own is gone so long after the last message."""
REST_S = 1.0
"""Between two attempts to connect."""


def channels_of(keys: Keys, queues: Iterable[Queue | None]) -> dict[bytes, list[Queue]]:
    """The channels of those of *queues* that are on fanout exchanges, as kombu names them, and who is fed by each."""
    found: dict[bytes, list[Queue]] = {}
    for queue in filter(None, queues):
        for exchange, routing_key in ways_into(queue):
            if exchange.type == "fanout":
                found.setdefault(keys.channel(exchange.name, routing_key), []).append(queue)
    return found


class Fanout:
    """Listens to *channels* and fills the lists of their queues. *connect* opens a connection within so many seconds.

    Example::

        fanout = Fanout(keys, channels_of(keys, queues), connect, poller)
        fanout.tend()
    """

    def __init__(self, keys: Keys, channels: Mapping[bytes, list[Queue]], connect: Callable[[float, int], Link],
                 poller: Poller) -> None:
        self._keys = keys
        self.channels = channels
        self._connect = connect
        self._poller = poller
        self._link: Link | None = None
        self._retry_at = 0.0

    def tend(self, timeout_s: float = 1.0) -> None:
        """Listen, if the connection is not there, and the next attempt is due."""
        if self._link is not None or time.monotonic() < self._retry_at:
            return
        self._retry_at = time.monotonic() + REST_S
        link: Link | None = None
        try:
            link = self._connect(timeout_s, 3)
            link.send(pack((b"PSUBSCRIBE", *self.channels)))
            link.call("PING")   # so that from now on nothing is missed
        except TransportError as error:
            logger.warning("%s; what is published to everybody is missed meanwhile", error)
            if link is not None:
                link.close()
            return
        self._link = link
        self._poller.hear(self, link, self._read)
        self._read()            # what came before the answer waits in the link

    def _read(self) -> None:
        link = self._link
        assert link is not None
        try:
            link.fill()
            while (reply := link.get()) is not NOTHING:
                if isinstance(reply, Push) and reply[0] == b"pmessage":
                    self._take(link, reply[1], reply[3])
                elif isinstance(reply, ReplyError):
                    logger.error("Redis: a message to everybody was not taken: %s", link.error_of(reply))
        except ConnectionLost as error:
            logger.warning("%s; what is published to everybody is missed until it is made anew", error)
            self.close()

    def _take(self, link: Link, channel: bytes, envelope: bytes) -> None:
        for queue in self.channels.get(channel, ()):
            key = self._keys.list_of(queue.name)
            link.send(pack((b"LPUSH", key, envelope)))
            if queue.auto_delete:
                link.send(pack((b"PEXPIRE", key, KEPT_MS)))

    @property
    def own(self) -> list[str]:
        """The queues that go with this worker."""
        return [queue.name for queues in self.channels.values() for queue in queues if queue.auto_delete]

    def close(self) -> None:
        """Listen no more."""
        if self._link is not None:
            self._poller.hear(self, None, self.close)
            self._link.close()
            self._link = None
