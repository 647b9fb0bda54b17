"""Chords and groups on Redis, under Celery's keys, so that its workers and ours count the members of a chord together.

``K`` is the prefix of groups and the id: ``K.j`` members, ``K.d`` which were counted, ``K.s`` the size, ``K.t`` members
that were added, ``K.c`` who completes it, then "sent" once what does is with the broker, "done" in the end, ``K`` the
saved group; and our own ``K.b``, what is done when it is complete, and ``K.r``, the rest of a chain: a hash of its
blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar, cast

from fastq.transport.redis_link import Link
from fastq.transport.redis_script import Argument, Script
from fastq.types import Chord, Claim, Complete, Opening, Part

CLAIM_S = 20
"""Until what completes the chord is with the broker. Shorter than a lease: what a dead worker had claimed may have to
be completed by one of Celery's, which sees but that it is claimed. One of ours knows a claim of the same member for its
own."""
DONE_S = 300
"""So long a chord that is done is remembered: a member that is run twice must not begin it anew."""
MANY = 1000
"""Members told by one command."""
TOGETHER = 250
"""Chords told of in one packet."""

_OPEN = Script.named("chord_open")
_COUNT = Script.named("chord_count")
_GET = Script.named("chord_get")
_HOLD = Script.named("chord_hold")
Answer = TypeVar("Answer")


class RedisChords:
    """The chords and groups of one store.

    *prefix* stands before the id of a group; *ask* puts a question to the server that has such a key. With *is_ordered*
    false members are in the order in which they ended. In a cluster (*is_apart*) the keys of a chord are made to be on
    one node; Celery has none there.
    """

    def __init__(self, prefix: str, ask: Callable[[bytes, Callable[[Link], Any]], Any], *, is_ordered: bool = True,
                 is_apart: bool = False) -> None:
        self._prefix = prefix
        self._ask = ask
        self._is_ordered = is_ordered
        self._is_apart = is_apart

    def _key(self, group_id: str, end: str = "") -> bytes:
        return f"{self._prefix}{{{group_id}}}{end}".encode() if self._is_apart else \
            f"{self._prefix}{group_id}{end}".encode()

    def _call(self, group_id: str, question: Callable[[Link], Any]) -> Any:
        return self._ask(self._key(group_id), question)

    def open(self, opens: Sequence[Opening], expires_at: float | None, *, renew: bool) -> None:
        """Say of how many members chords are."""
        at_once = 1 if self._is_apart else TOGETHER     # in a cluster each is on a node of its own
        for start in range(0, len(opens), at_once):
            piece = opens[start:start + at_once]
            calls = [self._opening(each, _seconds(expires_at), renew=renew) for each in piece]
            self._call(piece[0].group_id, partial(_OPEN.call_all, calls=calls))

    def _opening(self, chord: Opening, kept_s: int, *, renew: bool) -> tuple[list[bytes], list[Argument]]:
        keys = [self._key(chord.group_id, end) for end in (".s", ".c", "", ".b")]
        return keys, [chord.size, kept_s, int(renew), chord.group or b"", chord.plan]

    def add(self, group_id: str, count: int) -> None:
        """Say that a chord has *count* members more."""
        self._call(group_id, lambda link: link.call("INCRBY", self._key(group_id, ".t"), count))

    def count(self, parts: Sequence[Part], expires_at: float | None) -> list[Complete]:
        """Note that members have ended; returns the chords to complete."""
        groups: dict[str, list[Part]] = {}
        for part in parts:
            groups.setdefault(part.group_id, []).append(part)
        found = []
        for group_id, own in groups.items():
            for start in range(0, len(own), MANY):
                complete = self._count(group_id, own[start:start + MANY], expires_at)
                if complete is not None:
                    found.append(complete)
        return found

    def _count(self, group_id: str, parts: Sequence[Part], expires_at: float | None) -> Complete | None:
        keys = [self._key(group_id, end) for end in (".j", ".t", ".s", ".d", ".c", ".b", "")]
        plan = next((part.plan for part in parts if part.plan), b"")
        arguments: list[Argument] = [int(self._is_ordered), _seconds(expires_at), CLAIM_S, plan]
        for part in parts:
            arguments += (part.task_id, part.member, "+inf" if part.place is None else part.place)
        answer = self._call(group_id, lambda link: _COUNT.call(link, keys, arguments))
        if not answer:
            return None
        number, plan, counted = answer
        return Complete(group_id, _in_order(counted), parts[number - 1], plan)

    def get(self, group_id: str, taker: str) -> Chord:
        """What is known of a chord, which *taker* takes."""
        keys = [self._key(group_id, end) for end in (".j", ".c", "")]
        claim, group, members = self._call(group_id, lambda link: _GET.call(link, keys, [int(self._is_ordered), taker]))
        return Chord(claim == b"done", members, group)

    def hold(self, claims: Sequence[Claim], expires_at: float | None) -> None:
        """Note that what completes chords is with the broker."""
        # In a cluster each chord may be on another node.
        many = 1 if self._is_apart else MANY
        for start in range(0, len(claims), many):
            own = claims[start:start + many]
            keys = [self._key(claim.group_id, ".c") for claim in own]
            arguments: list[Argument] = [_seconds(expires_at), *(claim.task_id for claim in own)]

            def ask(link: Link, keys: list[bytes] = keys, arguments: list[Argument] = arguments) -> None:
                _HOLD.call(link, keys, arguments)

            self._call(own[0].group_id, ask)

    def close(self, group_ids: Sequence[str]) -> None:
        """Note that the bodies of chords were sent, and drop the rest."""
        for group_id in group_ids:
            keys = [self._key(group_id, end) for end in (".j", ".t", ".s", ".d", ".b")]

            def ask(link: Link, group_id: str = group_id, keys: list[bytes] = keys) -> None:
                link.call("SET", self._key(group_id, ".c"), "done", "EX", DONE_S)
                link.call("DEL", *keys)
                link.call("EXPIRE", self._key(group_id, ".r"), DONE_S)

            self._call(group_id, ask)

    def put_rest(self, ref: str, blocks: Sequence[bytes], expires_at: float | None) -> None:
        """Keep the blocks of the rest of a chain."""
        key = self._key(ref, ".r")

        def ask(link: Link) -> None:
            for start in range(0, len(blocks), MANY):
                fields = [field for number, block in enumerate(blocks[start:start + MANY], start + 1)
                          for field in (number, block)]
                link.call("HSET", key, *fields)
                if expires_at is not None:
                    link.call("EXPIRE", key, _seconds(expires_at))

        self._call(ref, ask)

    def get_rest(self, ref: str, number: int, expires_at: float | None) -> bytes | None:
        """One block, if it is there; all are kept anew."""
        key = self._key(ref, ".r")

        def ask(link: Link) -> bytes | None:
            found = cast("bytes | None", link.call("HGET", key, number))
            if expires_at is not None and found is not None:
                link.call("EXPIRE", key, _seconds(expires_at))
            return found

        return cast("bytes | None", self._call(ref, ask))

    def put_group(self, group_id: str, raw: bytes, expires_at: float | None) -> None:
        """Keep the members of a group."""
        kept = () if expires_at is None else ("EX", _seconds(expires_at))
        self._call(group_id, lambda link: link.call("SET", self._key(group_id), raw, *kept))

    def get_group(self, group_id: str) -> bytes | None:
        """The members of a group that were kept."""
        return cast("bytes | None", self._call(group_id, lambda link: link.call("GET", self._key(group_id))))

    def forget_group(self, group_id: str) -> None:
        """Drop the members of a group."""
        self._call(group_id, lambda link: link.call("DEL", self._key(group_id)))


def _seconds(expires_at: float | None) -> int:
    return 0 if expires_at is None else max(1, round(expires_at - time.time()))


def _in_order(counted: Sequence[bytes]) -> list[str]:
    """The ids of what was counted, as ``id:place``, in the order of the places."""
    places = [entry.decode().rpartition(":") for entry in counted]
    return [task_id for task_id, _, _ in sorted(places, key=lambda place: float(place[2]))]
