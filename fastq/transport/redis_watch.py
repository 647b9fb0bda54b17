"""How an idle worker hears of work without asking: one blocking wait for each queue, and a bell for all the rest.

A wait takes a message from the list of the queue's first step and records it in an inbox of this life, in one step: it
arrives after one hop, wakes one worker, and is nobody's loss whoever dies. What ends before the next wait begins leaves
the inbox by a word on the same connection: no script has to run for a task that comes alone.

The bell is a connection on which the server tells of the first change to any other key that was looked at: other
priorities, future messages, suspects.
"""

from __future__ import annotations

import logging
import time
from collections import deque
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
MOST_SETTLED = 4096
"""A message of more bytes is not sent back to be taken out: a turn names it by its tag."""
PEEK = Script.named("peek")


class Watch:
    """The wait for one lane."""

    def __init__(self, source: bytes, inbox: bytes, wait_s: float, connect: Connect, hear: Hear) -> None:
        # Whether there is more is asked along: it is answered with what came.
        self._command = resp.command("BLMOVE", source, inbox, "RIGHT", "RIGHT", wait_s) + resp.command("EXISTS", source)
        self._inbox = inbox
        self._connect = connect
        self._hear = hear
        self._link: Link | None = None
        self._takers: deque[Callable[[Any], None]] = deque()
        """Who takes the answers that are to come."""
        self._rests_until = 0.0
        self._wait_s = wait_s
        self._over_at = 0.0
        self.waits = False
        """A wait is under way, and may take a message at any moment."""
        self.is_called_off = False
        self.has_failed = False
        """The server refused the last wait: perhaps this life is over."""
        self.has_more = False
        """Behind what came last there was more."""
        self._came: bytes | None = None
        self._last: bytes | None = None
        """What came last, while nothing was said since."""
        self._may_settle = True
        self.unsure: bytes | None = None
        """What has ended, and may be in the inbox all the same until the server says otherwise."""

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
                self._takers.clear()
                self._link = self._connect(2)
                self._hear(self, self._link)
            self._link.send(self._command)
        except TransportError as error:
            self._fail(error)
        else:
            self._begun()

    def settle(self, *, again: bool) -> bool:
        """Take what came last out of the inbox, and wait *again*; returns whether that was said, and is `unsure` until
        it is answered.

        It is named by its text: what is said twice, or late, removes nothing else.
        """
        link, last = self._link, self._last
        if self.waits or last is None or link is None or len(last) > MOST_SETTLED or not self._may_settle:
            return False
        again = again and self.can_start
        data = resp.command("LREM", self._inbox, 1, last)
        try:
            link.send(data + self._command if again else data)
        except ConnectionLost:
            self.close()    # nothing else can be in the inbox, so a turn can say the same
            return False
        self._last, self.unsure = None, last
        self._takers.append(self._settled)
        if again:
            self._begun()
        return True

    def _begun(self) -> None:
        self._takers += (self._moved, self._looked)
        self.waits, self.is_called_off, self._last = True, False, None
        self._over_at = time.monotonic() + self._wait_s + LATE_S

    def read(self) -> bytes | None:
        """Return the message that came, if one did. Raises ConnectionLost: one may have come and be in the inbox."""
        link = self._link
        if link is None:
            return None
        self._came, self.has_more = None, False
        try:
            link.fill()
            while (reply := link.get()) is not NOTHING:
                if not self._takers:
                    raise link.lose("it answers what was not asked")
                self._takers.popleft()(reply)
        except ConnectionLost:
            if self._came is None:
                self.close()
                raise
            # What came is in hand, and no wait is under way: the next one connects again.
        return self._came

    def _settled(self, reply: object) -> None:
        if isinstance(reply, ReplyError):
            # Not every user of a server may do everything: from now on it is left to turns, as what is unsure is.
            self._may_settle = False
            assert self._link is not None
            raise self._link.lose(f"what has ended cannot be taken out of an inbox: {reply}")
        self.unsure = None

    def _moved(self, reply: object) -> None:
        self.waits, self.has_failed = False, isinstance(reply, ReplyError)
        if isinstance(reply, ReplyError):
            assert self._link is not None
            error = self._link.error_of(reply)
            if isinstance(error, ConnectionLost):   # it leads to the wrong server
                raise error
            self._fail(error)
        elif isinstance(reply, bytes):
            self._came = self._last = reply

    def _looked(self, reply: object) -> None:
        self.has_more = reply == 1

    def _fail(self, error: Exception) -> None:
        logger.warning("cannot wait for messages: %s; asking once a second meanwhile", error)
        self._rests_until = time.monotonic() + REST_S

    def close(self) -> None:
        """Stop; what it takes from now on fails or is found in the inbox."""
        self.waits, self._last = False, None
        self._takers.clear()
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
