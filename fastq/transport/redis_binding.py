"""The bindings of exchanges as kombu keeps them in Redis: sets of ``routing key, pattern, queue``.

Redis knows no exchange and no type: what is direct, topic or fanout, each program knows from its own queues. No I/O.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from fastq.transport.redis_keys import Keys
from fastq.wire.entity import Exchange, Queue

Command = tuple[bytes | str | int | float, ...]

LEAST_TTL_MS = 3_600_000
"""kombu keeps the table of queues that expire at least so long."""
_WILDCARDS = {"*": r"[^\.]+", "#": r".*?"}


class Binding(NamedTuple):
    """One row of a table; *pattern* is empty where the key has to be equal."""

    routing_key: str
    pattern: str
    queue: str

    def matches(self, routing_key: str) -> bool:
        """Return whether a message with *routing_key* goes to the queue."""
        if self.pattern:
            return _compiled(self.pattern).match(routing_key) is not None
        return self.routing_key == routing_key


@lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)


def pattern_of(routing_key: str) -> str:
    r"""The pattern of a topic's binding, letter by letter as kombu writes it: others compare it.

    >>> pattern_of("video.#")
    '^video\\..*?$'
    """
    escaped = "".join(letter if letter.isalnum() or letter in ".#*" else "\\000" if letter == "\0" else f"\\{letter}"
                      for letter in routing_key)
    return "^" + r"\.".join(_WILDCARDS.get(word, word) for word in escaped.split(".")) + "$"


def parse_table(members: Iterable[bytes], keys: Keys) -> list[Binding]:
    """Read the members of a table; what is no row of three is somebody else's, and left out."""
    rows = (member.decode("utf-8", "replace").split(keys.sep) for member in members)
    return [Binding(*row) for row in rows if len(row) == 3]


def declare(queue: Queue, keys: Keys) -> Iterator[Command]:
    """The commands that bind *queue* as kombu does; none for a fanout exchange, which its consumers bind."""
    expires_ms = expiry_ms(queue)
    for exchange, routing_key in ways_into(queue):
        if not exchange.name or exchange.type == "fanout":
            continue
        pattern = pattern_of(routing_key) if exchange.type == "topic" else ""
        member = keys.sep.join((routing_key, pattern, queue.name))
        yield "SADD", keys.binding(exchange.name), member
        if expires_ms is None:
            yield "SADD", keys.binding_permanent(exchange.name), member
        else:
            ttl_ms = max(2 * expires_ms, LEAST_TTL_MS)
            yield "ZADD", keys.binding_deadlines, "GT", int(time.time() * 1000) + ttl_ms, exchange.name


def expiry_ms(queue: Queue) -> int | None:
    """After how long without use the queue is to vanish; None: never."""
    told = queue.declared_arguments().get("x-expires")
    return None if told is None else int(told)


def ways_into(queue: Queue) -> Iterator[tuple[Exchange, str]]:
    """The exchanges of *queue*, each with the key by which it feeds it."""
    yield queue.exchange, queue.routing_key
    for bound in queue.bindings:
        yield bound.exchange, bound.routing_key
