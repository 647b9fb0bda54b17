"""What a worker has to say at its next turn, and how that becomes the one command that does it (turn.lua)."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from fastq._ext import kombu
from fastq.transport.redis_keys import Keys, due_ms
from fastq.transport.redis_lanes import Lanes
from fastq.transport.redis_route import Place
from fastq.transport.redis_script import Argument, Script
from fastq.types import Endings, Message, Result

SCRIPT = Script.named("result", "turn")
MOST_UNKNOWN = 16
"""So many messages of one inbox are taken by a turn that asks for what nobody knows of; as in turn.lua."""
LOOK = -1
"""In place of a credit: nothing is wanted, but what falls due is moved; as in turn.lua."""
RANKED = -1
"""In place of the first queue: each is served before those behind it; as in turn.lua."""
ENDED = -1
"""The number of what has ended before it was held; as in turn.lua."""
Pair = tuple[int, int]


def letter_head(queue: str, reason: str, deaths: int, priority: int | None = None) -> str:
    """What a dead letter says of its message, on one line; *priority* is that of the list it came from, if known."""
    return json.dumps({"queue": queue, "reason": reason, "deaths": deaths, "priority": priority})


@dataclass(slots=True)
class Turn:
    """A turn that was sent, until it is answered."""

    data: bytes
    credit: int
    tries_suspect: bool
    makes_work: bool
    """It puts messages where they can be taken from, perhaps by ourselves."""


@dataclass(slots=True)
class Outbox:
    """What was decided and is not sent yet."""

    adopted: list[Pair] = field(default_factory=list)
    unknown: dict[int, bytes] = field(default_factory=dict)
    """Queues, and what may be in their inboxes though it has ended, or nothing."""
    acked: list[Pair] = field(default_factory=list)
    back: list[Pair] = field(default_factory=list)
    lost: list[tuple[int, bytes, bytes]] = field(default_factory=list)
    dead: list[tuple[int, bytes, str]] = field(default_factory=list)
    published: list[tuple[bytes, Argument, bytes]] = field(default_factory=list)
    results: list[tuple[bytes, Argument, bytes]] = field(default_factory=list)
    later: list[tuple[int, int]] = field(default_factory=list)

    @property
    def is_urgent(self) -> bool:
        """Whether somebody waits for what is in it; what was adopted is safe where it is."""
        return bool(self.acked or self.back or self.lost or self.dead or self.published or self.results
                    or self.later or self.unknown)

    @property
    def lone(self) -> Pair | None:
        """What a wait got, if nothing else is to be said."""
        return self.adopted[0] if len(self.adopted) == 1 and not self.is_urgent else None

    @property
    def makes_work(self) -> bool:
        """Whether it puts messages where they can be taken from, perhaps by ourselves."""
        return bool(self.back or self.lost or self.published or self.later)

    def extend(self, other: Outbox) -> None:
        """Say what *other* says as well."""
        self.acked += other.acked
        self.back += other.back
        self.dead += other.dead
        self.published += other.published
        self.results += other.results
        self.later += other.later

    def __str__(self) -> str:
        return f"{len(self.published)} messages that tasks sent and {len(self.results)} results are lost"

    def words(self, lanes: Lanes, head: Iterable[Argument]) -> list[Argument]:
        """The command of a turn that says all this; *head* are its arguments from the life to what is said of KEYS."""
        names, more = len(lanes.fixed) + 1, dict[bytes, int]()

        def place(key: bytes) -> int:
            return more.setdefault(key, names + len(more))

        groups: list[Argument] = []
        _append(groups, self._adopted(lanes))
        _append(groups, sorted(self.unknown.items()))
        _append(groups, self.acked)
        _append(groups, sorted(self.back))
        _append(groups, [(tag, place(key), envelope) for tag, key, envelope in sorted(self.lost)])
        _append(groups, [(tag, place(key), about) for tag, key, about in self.dead])
        _append(groups, [(place(key), when, said) for key, when, said in self.published])
        _append(groups, [(place(key), ttl, document) for key, ttl, document in self.results])
        _append(groups, self.later)
        return SCRIPT.words((*lanes.fixed, *more), (lanes.life, *head, *lanes.shape, *groups))

    def _adopted(self, lanes: Lanes) -> list[tuple[int, int, int]]:
        """Queue, number and count of what waits got; what has ended by now need not be held first, and is not acked."""
        adopted = []
        for queue, number in self.adopted:
            run = (lanes.tag_of(queue, number),) * 2
            if run in self.acked:
                self.acked.remove(run)
                number = ENDED
            adopted.append((queue, number, 1))
        return adopted


def _append(groups: list[Argument], members: Iterable[tuple[Argument, ...]]) -> None:
    members = list(members)
    groups.append(len(members))
    groups.extend(chain.from_iterable(members))


class Packer:
    """Turns what a worker says into what goes to the server.

    *place* finds where messages go that leave by an exchange; the key of a result is *result_prefix* and the id.
    """

    def __init__(self, keys: Keys, lanes: Lanes, place: Callable[[Message], Place], result_prefix: str) -> None:
        self._keys = keys
        self._lanes = lanes
        self._place = place
        self._result_prefix = result_prefix

    def endings(self, endings: Endings) -> Outbox:
        """What *endings* says, but for what is lost. Raises ValueError, TransportError; then nothing was done."""
        return Outbox(
            acked=list(endings.ack), back=list(endings.back),
            dead=[self.dead(tag, reason, endings.rows[tag][1]) for tag, reason in endings.dead],
            published=[entry for message in endings.publish for entry in self._published(message)],
            results=list(map(self._result, endings.results)),
            later=[(tag, due_ms(run_at)) for tag, run_at in endings.later])

    def dead(self, tag: int, reason: str, deaths: int = 0) -> tuple[int, bytes, str]:
        """What makes a dead letter of a delivery."""
        queue = self._lanes.queue_of(tag)
        return tag, self._keys.dead(queue), letter_head(queue, reason, deaths, self._lanes.step_of(tag))

    def _published(self, message: Message) -> Iterator[tuple[bytes, Argument, bytes]]:
        """Key, when it is due or "", and what to put there."""
        queue, content, priority, run_at, exchange = message
        if not 0 <= priority <= 9:
            raise ValueError(f"priority must be from 0 to 9, not {priority}")
        due = 0 if run_at is None else due_ms(run_at)
        if not exchange:
            lists: Sequence[bytes] = [self._keys.list_of(queue, priority)]
        else:
            # Not its time: a worker puts what is not due into the set of future messages, whatever it says.
            lists = self._place(message._replace(run_at=None)).lists
        envelope = kombu.dump(content, exchange, queue)
        for key in lists:
            if due <= time.time() * 1000:
                yield key, "", envelope
            else:
                yield self._keys.future(queue), due, b"%b\n%b" % (key, envelope)

    def _result(self, result: Result) -> tuple[bytes, Argument, bytes]:
        """Key, how long to keep it (ms) or "", and the document."""
        ttl: Argument = "" if result.expires_at is None else int((result.expires_at - time.time()) * 1000)
        return f"{self._result_prefix}{result.task_id}".encode(), ttl, result.meta
