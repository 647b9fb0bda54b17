"""The connection over which a life speaks, made anew whenever it breaks: the life goes on."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fastq import backoff
from fastq.exceptions import ConnectionLost, TransportError
from fastq.transport.redis_ears import Poller
from fastq.transport.redis_error import Unready
from fastq.transport.redis_line import Line
from fastq.transport.redis_link import Link

logger = logging.getLogger("fastq.transport.redis")

CONNECT_S = 1.0
"""An attempt to connect again may stop the supervisor for so long."""
FIRST_S, MOST_S = 0.05, 3.0
"""Pauses between attempts; short beside a lease, so that all workers are back before one judges another."""


class Reach:
    """Holds the line. *on_link* is told of each new one, *on_cut* of its end. Without *reconnects* the first that is
    lost is the last.
    """

    def __init__(self, connect: Callable[[float, int], Link], poller: Poller, on_link: Callable[[Line], None],
                 on_cut: Callable[[], None], *, reconnects: bool = True) -> None:
        self.line: Line | None = None
        self._connect = connect
        self._poller = poller
        self._on_link = on_link
        self._on_cut = on_cut
        self._reconnects = reconnects
        self._lost: ConnectionLost | None = None
        self._failures = 0
        self._retry_at = 0.0

    @property
    def retry_in_s(self) -> float:
        """Seconds until the next attempt to connect."""
        return max(0.001, self._retry_at - time.monotonic())

    def use(self, link: Link) -> None:
        """Speak over *link* from now on."""
        self.line = line = Line(link)
        self._poller.hear(self, link, line.read)
        self._on_link(line)

    def worked(self) -> None:
        """Take note that the server does what it is asked."""
        self._failures = 0

    def cut(self, error: Exception) -> None:
        """The connection broke, or the server cannot do it now: all is said again over another one, in a moment."""
        if self.line is None:
            return
        if not self._reconnects and isinstance(error, ConnectionLost):
            self._lost = error
        else:
            logger.error("%s; connecting again", error)
        self.close()
        self._on_cut()
        self._pause()

    def _pause(self) -> None:
        pause_s = min(MOST_S, FIRST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self._retry_at = time.monotonic() + pause_s * (0.5 + 0.5 * backoff.chance())

    def tend(self, timeout_s: float) -> None:
        """Take in what has come within *timeout_s*, on all connections; connect again when that is due.

        Raises ConnectionLost where that is not wanted.
        """
        if self._lost is None and self.line is None and time.monotonic() >= self._retry_at:
            self._reconnect()
        try:
            for read in self._poller.ready(timeout_s):
                read()
            if self.line is not None:
                self.line.check()
        except (ConnectionLost, Unready) as error:
            self.cut(error)
        if self._lost is not None:
            raise self._lost.with_traceback(None)

    def _reconnect(self) -> None:
        try:
            link = self._connect(CONNECT_S, 2)
            self.use(link)
        except TransportError as error:
            self._pause()
            logger.error("%s; trying again in %.2f s", error, self.retry_in_s)
        else:
            logger.info("connected again to Redis at %s", link.where)

    def close(self) -> None:
        """Let go of the connection."""
        self._poller.hear(self, None, _nothing)
        if self.line is not None:
            self.line.close()
            self.line = None


def _nothing() -> None:
    return None
