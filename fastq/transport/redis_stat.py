"""Figures of queues, and purging them. Off the hot path: a connection of its own, one question after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from fastq.transport.redis_keys import Keys
from fastq.transport.redis_lanes import LANE_BITS
from fastq.transport.redis_link import Link
from fastq.transport.redis_script import Script
from fastq.types import QueueStat

PURGE = Script.named("purge")
PIECE = 1000


def names(link: Link, keys: Keys, known: Iterable[str]) -> list[str]:
    """Every queue: those that fastq has seen, those that are bound to an exchange, and *known*."""
    found = set(known) | {name.decode("utf-8", "replace") for name in as_list(link.call("SMEMBERS", keys.queues))}
    for table in scan(link, literally(keys.binding("")) + b"*"):
        for member in as_list(link.call("SMEMBERS", table)):
            parts = member.decode("utf-8", "replace").split(keys.sep)
            if len(parts) == 3:
                found.add(parts[2])
    return sorted(found)


def scan(link: Link, pattern: bytes) -> Iterator[bytes]:
    """The sets whose names match *pattern*."""
    cursor: Any = b"0"
    while True:
        cursor, found = as_list(link.call("SCAN", cursor, "MATCH", pattern, "COUNT", 1000, "TYPE", "set"))
        yield from as_list(found)
        if cursor in (b"0", 0):
            return


def literally(key: bytes) -> bytes:
    """*key* as a pattern that matches nothing else."""
    return b"".join(b"\\" + bytes((sign,)) if sign in b"*?[]\\^" else bytes((sign,)) for sign in key)


def figures(link: Link, keys: Keys, queues: Iterable[str]) -> dict[str, QueueStat]:
    """What each queue has in each place."""
    held = _held(link, keys)
    stats = {}
    for queue in queues:
        lists = [*keys.lists_of(queue), keys.trial(queue)]
        ready = sum(_int(link.call("LLEN", key)) for key in lists)
        stats[queue] = QueueStat(ready, sum(held[key] for key in lists), _int(link.call("ZCARD", keys.future(queue))),
                                 _int(link.call("ZCARD", keys.dead(queue))))
    return stats


def _held(link: Link, keys: Keys) -> Counter[bytes]:
    """How many messages of each lane all workers have in hand."""
    count: Counter[bytes] = Counter()
    lives = [*as_list(link.call("ZRANGE", keys.lives, 0, -1)), *as_list(link.call("ZRANGE", keys.graves, 0, -1))]
    for life in (name.decode() for name in lives):
        flat = as_list(link.call("HGETALL", keys.life(life)))
        told = dict(zip(flat[::2], flat[1::2], strict=True))
        lanes = {at: told[b"l%d" % at] for at in range(len(told)) if b"l%d" % at in told}
        for tag in as_list(link.call("HKEYS", keys.held(life))):
            if (lane := int(tag) >> LANE_BITS) in lanes:
                count[lanes[lane]] += 1
        queues = int(told.get(b"queues", 0))
        for queue in range(queues):
            if _text(link.call("TYPE", keys.inbox(life, queue))) == "list":
                count[lanes[queue * (len(lanes) // queues)]] += _int(link.call("LLEN", keys.inbox(life, queue)))
    return count


def purge(link: Link, keys: Keys, queue: str) -> int:
    """Drop every ready and future message of *queue*, in small steps; returns how many."""
    places = [*keys.lists_of(queue), keys.trial(queue), keys.future(queue)]
    count = 0
    while step := _int(PURGE.call(link, places, [PIECE])):
        count += step
    return count


def as_list(reply: object) -> list[Any]:
    """A reply that is a list, or empty."""
    return list(reply) if isinstance(reply, (list, set, tuple)) else []


def _int(reply: object) -> int:
    return reply if isinstance(reply, int) else 0


def _text(reply: object) -> str:
    return reply.decode() if isinstance(reply, bytes) else str(reply)


