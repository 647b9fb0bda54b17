"""What Celery workers left behind: after the visibility timeout it goes back in line, as they do it themselves.

A Celery worker keeps what it holds in ``unacked``, as ``[envelope, exchange, routing key]``, and since when in
``unacked_index``. Its envelope stays as it is, but for the marks of a redelivery: a timeout is no death.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Generator
from typing import Any

from fastq._ext import envelope, kombu
from fastq.exceptions import DecodeError
from fastq.transport.redis_binding import parse_table
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_line import Ask, Errand
from fastq.transport.redis_script import Argument, Script

logger = logging.getLogger("fastq.transport.redis")

RESTORE = Script.named("restore")
PIECE = 100
EVERY_S = 60.0


class Restorer:
    """Looks for what was held too long. *unacked* and *index* are the keys of Celery's workers."""

    def __init__(self, keys: Keys, unacked: bytes, index: bytes, timeout_s: float) -> None:
        self._keys = keys
        self._unacked, self._index = unacked, index
        self._timeout_s = timeout_s
        self._next_at = 0.0
        self._skipped: set[bytes] = set()
        self.restored = 0
        """How many went back since somebody set it to 0."""

    @property
    def is_due(self) -> bool:
        """Whether it is time to look again."""
        return time.monotonic() >= self._next_at

    def look(self) -> Errand:
        """Put back what was held too long."""
        self._next_at = time.monotonic() + EVERY_S
        while True:
            over = yield Ask(("ZREVRANGEBYSCORE", self._index, time.time() - self._timeout_s, "-inf", "LIMIT",
                              len(self._skipped), PIECE))
            tags = [tag for tag in over if tag not in self._skipped]
            if not tags:
                return
            entries = yield Ask(("HMGET", self._unacked, *tags))
            targets: dict[bytes, int] = {}
            arguments: list[Argument] = []
            for tag, entry in zip(tags, entries, strict=True):
                key, said = yield from self._read(tag, entry)
                if key:
                    arguments += [tag, entry, targets.setdefault(key, 3 + len(targets)), said]
                else:
                    self._skipped.add(tag)
            if arguments:
                count = yield Ask.of(RESTORE, [self._unacked, self._index, *targets], arguments)
                self.restored += count
                logger.warning("%s messages that Celery workers held for longer than %g s go back", count,
                               self._timeout_s)

    def _read(self, tag: bytes, entry: bytes | None) -> Generator[Ask, Any, tuple[bytes, bytes]]:
        """Where an entry goes, and as what; no key for what cannot be told, which stays."""
        try:
            said, exchange, routing_key = split(entry or b"")
            content = kombu.parse(said)
        except (ValueError, DecodeError) as error:
            logger.warning("what Celery's workers hold as %r cannot be read, and stays: %s", tag, error)
            return b"", b""
        queue: str | None = routing_key
        if exchange:
            members = yield Ask(("SMEMBERS", self._keys.binding(exchange)))
            table = parse_table(members, self._keys)
            queue = next((row.queue for row in table if row.matches(routing_key)), None)
        if queue is None:
            logger.warning("what Celery's workers hold as %r stays: nothing is bound to exchange %r by %r", tag,
                           exchange, routing_key)
            return b"", b""
        priority = envelope.unpack(content)[0].get("priority") or 0
        return self._keys.list_of(queue, int(priority)), kombu.mark(said, kombu.deaths_of(content))


def split(entry: bytes) -> tuple[bytes, str, str]:
    """Take ``[envelope, exchange, routing key]`` apart, the envelope byte for byte. Raises ValueError.

    >>> split(b'[{"body": "a"}, "", "celery"]')
    (b'{"body": "a"}', '', 'celery')
    """
    text = entry.decode("utf-8", "surrogateescape")
    if not text.startswith("["):
        raise ValueError("it is no list")
    start = len(text) - len(text[1:].lstrip())
    _, end = json.JSONDecoder().raw_decode(text, start)
    exchange, routing_key = json.loads("[" + text[end:].lstrip().removeprefix(","))
    return text[start:end].encode("utf-8", "surrogateescape"), exchange or "", routing_key or ""
