"""A connection on which many questions are under way: each has somebody who takes its answer, in order.

When the connection breaks, what was asked is forgotten: who asked knows what to ask again. What runs over several
answers is a generator that yields commands and is sent replies, an *errand*.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from fastq._ext import resp
from fastq.exceptions import ConnectionLost, TransportError
from fastq.transport.redis_error import Unready
from fastq.transport.redis_link import NOTHING, Link, ReplyError
from fastq.transport.redis_script import Argument, Script

logger = logging.getLogger("fastq.transport.redis")

Errand = Generator["Ask", Any, None]
Taker = Callable[[Any], None]


class Ask:
    """What an errand yields: one command, or one run of a script."""

    def __init__(self, words: Iterable[Argument], script: Script | None = None) -> None:
        self.words = tuple(words)
        self.script = script

    @classmethod
    def of(cls, script: Script, keys: Sequence[bytes], arguments: Iterable[Argument]) -> Ask:
        """The run of a script."""
        return cls(script.words(keys, arguments), script)


class Line:
    """Asks over one link, and hands the answers out."""

    def __init__(self, link: Link) -> None:
        link.read_packed()
        self.link = link
        self._takers: deque[tuple[Taker, bool]] = deque()
        self._waits_since = 0.0
        self._broken: ConnectionLost | None = None
        self._errands: set[Errand] = set()

    @property
    def is_busy(self) -> bool:
        """Whether an answer or an errand is under way."""
        return bool(self._takers or self._errands)

    def ask(self, data: bytes, take: Taker, *, packed: bool = False) -> None:
        """Send one packed command; *take* gets its reply, which may be a `ReplyError`, and with *packed* hold `Bulks`.

        Raises nothing: that the connection is broken is found by the next `check`, after what is being done.
        """
        if not self._takers:
            self._waits_since = time.monotonic()
        self._takers.append((take, packed))
        try:
            self.link.send(data)
        except ConnectionLost as error:
            self._broken = self._broken or error

    def tell(self, *words: Argument) -> None:
        """Send one command whose answer matters only if it is an error, which is logged."""
        self.ask(resp.command(*words), lambda reply: self._note(words[0], reply))

    def _note(self, name: object, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            logger.warning("Redis at %s: %s: %s", self.link.where, name, reply)

    def read(self) -> None:
        """Take in what has come, and hand it out. Raises ConnectionLost."""
        self.check()
        if not self.link.fill():
            return
        self._waits_since = time.monotonic()
        # Whoever takes a reply may close the link.
        while self.link.is_open:
            reply = self.link.get(packed=bool(self._takers) and self._takers[0][1])
            if reply is NOTHING:
                return
            if not self._takers:
                raise self.link.lose("it answers what was not asked")
            take, _ = self._takers.popleft()
            take(reply)

    @property
    def patience_s(self) -> float:
        """Seconds until the answer that is waited for is overdue."""
        return max(0.001, self._waits_since + self.link.reply_timeout_s - time.monotonic())

    def check(self) -> None:
        """Raise ConnectionLost when the link is broken, or an answer is overdue: it leads nowhere then."""
        if self._broken is not None:
            raise self._broken
        if self._takers and time.monotonic() - self._waits_since > self.link.reply_timeout_s:
            raise self.link.lose(f"no answer for {self.link.reply_timeout_s:g} s")

    # -- errands ---------------------------------------------------------------------------------------------------

    def start(self, errand: Errand) -> None:
        """Run *errand*; it ends by itself, or with the connection. What it raises is logged."""
        self._errands.add(errand)
        self._step(errand, None)

    def _step(self, errand: Errand, reply: Any) -> None:
        try:
            if isinstance(reply, ReplyError):
                error = self.link.error_of(reply)
                question = errand.throw(error)
            else:
                question = errand.send(reply)
        except StopIteration:
            self._errands.discard(errand)
        except (ConnectionLost, Unready):
            self._errands.discard(errand)
            raise   # whoever reads connects again
        except TransportError as error:
            self._errands.discard(errand)
            logger.error("%s; it is tried again later", error)
        else:
            self._put(errand, question)

    def _put(self, errand: Errand, question: Ask) -> None:
        def take(reply: Any) -> None:
            script = question.script
            if script is not None and isinstance(reply, ReplyError) and str(reply).startswith("NOSCRIPT"):
                question.script = None
                self.tell("SCRIPT", "LOAD", script.text)
                self.ask(data, take)
            else:
                self._step(errand, reply)

        data = resp.command(*question.words)
        self.ask(data, take)

    # -- the end ---------------------------------------------------------------------------------------------------

    def forget(self) -> None:
        """Let go of all that was asked."""
        self._takers.clear()
        errands, self._errands = self._errands, set()
        for errand in errands:
            errand.close()

    def close(self) -> None:
        """Close the link, and forget what was asked on it."""
        self.link.close()
        self.forget()
