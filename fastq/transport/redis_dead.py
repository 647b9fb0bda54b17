"""Dead letters: one sorted set a queue, ordered by number.

A member is ``number \\n died at (ms) \\n {"queue", "reason", "deaths", "priority"} \\n envelope``: the envelope is
what was in the list, byte for byte. One that had nowhere to go names a ``key`` in place of a queue.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fastq._ext import envelope, kombu
from fastq.exceptions import DecodeError
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_link import Link
from fastq.transport.redis_script import Script
from fastq.transport.redis_stat import as_list
from fastq.types import DeadLetter

RESOLVE = Script.named("resolve")
PIECE = 100


def letters(link: Link, keys: Keys, queues: Iterable[str], limit: int) -> list[DeadLetter]:
    """The newest *limit* letters of *queues*, newest first. Raises TransportError."""
    if limit <= 0:
        return []
    found: list[DeadLetter] = []
    for queue in queues:
        found += map(parse, as_list(link.call("ZRANGE", keys.dead(queue), 0, limit - 1, "REV")))
    return sorted(found, key=lambda letter: -letter.id)[:limit]


def parse(member: bytes) -> DeadLetter:
    """Read one letter."""
    number, died_ms, head, said = member.split(b"\n", 3)
    told: dict[str, Any] = json.loads(head)
    return DeadLetter(int(number), told.get("queue") or told.get("key", ""), told["reason"], int(died_ms) / 1000,
                      told.get("deaths", 0), content_of(said))


def content_of(said: bytes) -> bytes:
    """The packed content of an envelope; one that is none is the body of a message without headers."""
    try:
        return kombu.parse(said)
    except DecodeError:
        return envelope.pack({}, {}, said)


def resolve(link: Link, keys: Keys, queues: Iterable[str], ids: Sequence[int], *, replay: bool) -> int:
    """Put letters back in their queues, their deaths forgotten, or drop them; returns how many. Raises TransportError.
    """
    wanted, count = sorted(set(ids)), 0
    for queue in queues:
        for at in range(0, len(wanted), PIECE):
            count += _resolve(link, keys, queue, wanted[at:at + PIECE], replay=replay)
    return count


def _resolve(link: Link, keys: Keys, queue: str, ids: Sequence[int], *, replay: bool) -> int:
    members = list(_members(link, keys.dead(queue), ids))
    if not members:
        return 0
    targets: dict[bytes, int] = {}
    arguments: list[bytes | str | int] = []
    for member in members:
        key, said = _again(keys, member) if replay else (b"", b"")
        place = targets.setdefault(key, 2 + len(targets)) if key else 0
        arguments += [member, place, said]
    count = RESOLVE.call(link, [keys.dead(queue), *targets], arguments)
    return count if isinstance(count, int) else 0


def _members(link: Link, key: bytes, ids: Sequence[int]) -> Iterator[bytes]:
    for number in ids:
        yield from as_list(link.call("ZRANGE", key, number, number, "BYSCORE"))


def _again(keys: Keys, member: bytes) -> tuple[bytes, bytes]:
    """Where a letter's message goes, and as what."""
    _, _, head, said = member.split(b"\n", 3)
    letter = parse(member)
    properties, headers, body = envelope.unpack(letter.content)
    priority = json.loads(head).get("priority")
    if priority is None:
        priority = min(9, max(0, int(properties.get("priority") or 0)))
    if headers.pop("x-fastq-deaths", None) is not None:
        said = kombu.dump(envelope.pack(properties, headers, body), "", letter.queue)
    return keys.list_of(letter.queue, priority), said
