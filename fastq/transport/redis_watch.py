"""How an idle worker hears of work without asking: one blocking wait for each queue, and a bell for all the rest.

A wait takes a message from the list of the queue's first step and records it in an inbox of this life, in one step: it
arrives after one hop, wakes one worker, and is nobody's loss whoever dies. The bell is a connection on which the server
tells of the first change to any other key that was looked at: other priorities, future messages, suspects.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from fastq._ext import resp
from fastq.exceptions import ConnectionLost, TransportError
from fastq.transport.redis_link import NOTHING, Link, Push, ReplyError
from fastq.transport.redis_script import Script

logger = logging.getLogger("fastq.transport.redis")

Connect = Callable[[int], Link]
"""Opens a connection with the protocol that is named."""
Hear = Callable[[object, "Link | None"], None]
"""Told of whom a new link is, or that it has none any more."""

REST_S = 1.0
"""What cannot be waited for is tried again so much later."""
LATE_S = 2.0
"""So much later than it should an answer may come."""
LOOK_S = 10.0
"""What the bell listens to is looked at so often in any case: a connection that leads nowhere is silent too."""
PEEK = Script.named("peek")


class Watch:
    """The wait for one lane."""

    def __init__(self, source: bytes, inbox: bytes, wait_s: float, connect: Connect, hear: Hear) -> None:
        self._command = resp.command("BLMOVE", source, inbox, "RIGHT", "RIGHT", wait_s)
        self._connect = connect
        self._hear = hear
        self._link: Link | None = None
        self._rests_until = 0.0
        self._wait_s = wait_s
        self._over_at = 0.0
        self.waits = False
        """A wait is under way, and may take a message at any moment."""
        self.is_called_off = False
        self.has_failed = False
        """The server refused the last wait: perhaps this life is over."""

    @property
    def client_id(self) -> int:
        """The connection's number at the server; 0: there is none."""
        return self._link.client_id if self._link is not None else 0

    @property
    def is_overdue(self) -> bool:
        """Whether the server should have ended the wait: the connection leads nowhere."""
        return self.waits and time.monotonic() > self._over_at

    @property
    def can_start(self) -> bool:
        """Whether `start` is worth while."""
        return not self.waits and time.monotonic() >= self._rests_until

    def start(self) -> None:
        """Begin to wait."""
        if not self.can_start:
            return
        try:
            if self._link is None or not self._link.is_open:
                self._link = self._connect(2)
                self._hear(self, self._link)
            self._link.send(self._command)
        except TransportError as error:
            self._fail(error)
        else:
            self.waits, self.is_called_off = True, False
            self._over_at = time.monotonic() + self._wait_s + LATE_S

    def read(self) -> bytes | None:
        """Return the message that came, if one did. Raises ConnectionLost: one may have come and be in the inbox."""
        if self._link is None:
            return None
        try:
            self._link.fill()
            reply = self._link.get()
        except ConnectionLost:
            self.close()
            raise
        if reply is NOTHING:
            return None
        self.waits, self.has_failed = False, isinstance(reply, ReplyError)
        if isinstance(reply, ReplyError):
            error = self._link.error_of(reply)
            if isinstance(error, ConnectionLost):   # it leads to the wrong server
                self.close()
                raise error
            self._fail(error)
        return reply if isinstance(reply, bytes) else None

    def _fail(self, error: Exception) -> None:
        logger.warning("cannot wait for messages: %s; asking once a second meanwhile", error)
        self._rests_until = time.monotonic() + REST_S

    def close(self) -> None:
        """Stop; what it takes from now on fails or is found in the inbox."""
        self.waits = False
        if self._link is not None:
            self._hear(self, None)
            self._link.close()
            self._link = None


class Bell:
    """Tells of the first change to keys that were looked at."""

    def __init__(self, connect: Connect, hear: Hear) -> None:
        self._connect = connect
        self._hear = hear
        self._link: Link | None = None
        self._rests_until = 0.0
        self._asked_at = self._looked_at = 0.0
        self.is_armed = False
        """A change will be told, and before it: whether there is work already."""
        self.due_at: float | None = None
        """When the next future message is due, by the monotonic clock, as of the last look."""

    def arm(self, lists: Sequence[bytes], futures: Sequence[bytes]) -> None:
        """Look at *lists* and the sets *futures*, and ask to be told of their first change."""
        now = time.monotonic()
        if self._asked_at and now - self._asked_at > LATE_S:
            logger.warning("no answer about changes for %g s; connecting again", LATE_S)
            self.close()
        if (self.is_armed and now - self._looked_at < LOOK_S) or now < self._rests_until:
            return
        words = PEEK.words((*lists, *futures), (len(lists),))
        try:
            if self._link is None or not self._link.is_open:
                self._open()
            assert self._link is not None
            self._link.send(resp.command(*words))
        except TransportError as error:
            logger.warning("cannot be told of changes: %s; asking once a second meanwhile", error)
            self.close()
            self._rests_until = time.monotonic() + REST_S
        else:
            self.is_armed = True
            self._looked_at = self._asked_at = now

    def _open(self) -> None:
        self._link = self._connect(3)
        self._hear(self, self._link)
        PEEK.load(self._link)
        self._link.call("CLIENT", "TRACKING", "ON")

    def read(self) -> bool:
        """Return whether there is news. Raises ConnectionLost."""
        if self._link is None:
            return False
        try:
            self._link.fill()
            replies = []
            while (reply := self._link.get()) is not NOTHING:
                replies.append(reply)
        except ConnectionLost:
            self.close()
            raise
        news = [self._is_news(reply) for reply in replies]
        return any(news)

    def _is_news(self, reply: Any) -> bool:
        if isinstance(reply, Push):
            self.is_armed = False
            return True
        self._asked_at = 0.0
        if isinstance(reply, ReplyError):
            logger.warning("cannot be told of changes: %s", reply)
            self.close()
            self._rests_until = time.monotonic() + REST_S
            return True
        now, ready, due = reply
        self.due_at = None if due < 0 else time.monotonic() + (due - now) / 1000
        return bool(ready > 0 or 0 <= due <= now)

    def close(self) -> None:
        """Stop."""
        self.is_armed, self.due_at, self._asked_at = False, None, 0.0
        if self._link is not None:
            self._hear(self, None)
            self._link.close()
            self._link = None
