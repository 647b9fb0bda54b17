"""Values that several layers share, and the seams between them. Imports nothing of fastq.

A *message* is what is published, a *delivery* is a message handed to a worker, a *request* is one
run of a task, an *ending* is how a delivery leaves the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Message(NamedTuple):
    """One message to publish.

    ``content`` is the packed form (``fastq.wire.message``); ``priority`` runs from 0 to 9, the
    higher served first; ``run_at`` is Unix seconds, None for now. With an ``exchange`` that routes
    by itself ``queue`` is the routing key; without, the message goes straight to its queue.
    """

    queue: str
    content: bytes
    priority: int = 0
    run_at: float | None = None
    exchange: str = ""


UNCOUNTED = 1 << 31
"""Flag in the deaths of a delivery: its last holder vanished, and nobody has counted that yet."""
HELD = 1 << 30
"""In the header that counts deaths: a copy for its holder alone, so whoever else gets it takes it for `UNCOUNTED`."""


class Delivery(NamedTuple):
    """A message in a worker's hand. ``tag`` is the transport's; ``deaths`` counts the workers it killed."""

    tag: int
    deaths: int
    content: bytes


class Result(NamedTuple):
    """One result to store: ``meta`` is the encoded document, ``expires_at`` Unix seconds or None.

    ``reply_to`` names the queue of whoever waits for it, where the message named one.
    """

    task_id: str
    state: str
    meta: bytes
    expires_at: float | None = None
    reply_to: str | None = None


class Part(NamedTuple):
    """What a member of a chord leaves for the chord when it has ended.

    ``place`` is where it stands in the header, if it has one; ``member`` the encoded value, as the store keeps it.
    ``plan`` is what is done when the chord is complete (``fastq.wire.chord``), b"" where that could not be read.
    """

    group_id: str
    task_id: str
    place: int | None
    state: str
    member: bytes
    root_id: str | None = None
    plan: bytes = b""


class Complete(NamedTuple):
    """A chord whose last member has ended: its members in order, and who was the last."""

    group_id: str
    task_ids: Sequence[str]
    last: Part
    plan: bytes


class Opening(NamedTuple):
    """What a store is told of a chord before its members are sent; see `Chords.chord_open`."""

    group_id: str
    size: int
    group: bytes | None = None
    plan: bytes = b""


class Claim(NamedTuple):
    """What completes the chord *group_id*, of which the member *task_id* was the last, is among what leaves."""

    group_id: str
    task_id: str


class Chord(NamedTuple):
    """What a store has of a chord: the members that have ended, in order, and the saved group, if there is one.

    One that ``is_done`` has sent its body.
    """

    is_done: bool
    members: Sequence[bytes]
    group: bytes | None = None


class QueueStat(NamedTuple):
    """How many messages a queue has in each place."""

    ready: int = 0
    held: int = 0
    future: int = 0
    dead: int = 0


class DeadLetter(NamedTuple):
    """A message that was given up: why, when (Unix seconds), and its packed content."""

    id: int
    queue: str
    reason: str
    died_at: float
    deaths: int
    content: bytes


@dataclass(slots=True)
class Endings:
    """How deliveries leave the worker, and what leaves with them, all in one step of the transport.

    ``ack`` and ``back`` hold inclusive runs ``(first_tag, last_tag)`` of consecutive tags that this worker holds.
    ``lost`` goes back with one more death counted. ``anew`` are tags held for so long that the broker should deliver
    them anew: only for transports that ask for that (`Caps.hold_s`), which leave in the list what they cannot serve
    so. ``later`` holds (tag, Unix seconds) of what is to come again when it is due: only for transports that can do
    that (`Caps.defers`). ``rows`` holds (queue, deaths, content) by tag, of what does not end in an ack: for
    transports that keep no content. ``parts`` and ``joined`` (ids of chords whose bodies are among what leaves, and
    claims on those that something here completes) are for the result store; transports do not look at them.
    """

    ack: list[tuple[int, int]] = field(default_factory=list)
    back: list[tuple[int, int]] = field(default_factory=list)
    lost: list[int] = field(default_factory=list)
    anew: list[int] = field(default_factory=list)
    dead: list[tuple[int, str]] = field(default_factory=list)
    later: list[tuple[int, float]] = field(default_factory=list)
    publish: list[Message] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    joined: list[str | Claim] = field(default_factory=list)
    rows: dict[int, tuple[str, int, bytes]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.ack or self.back or self.lost or self.anew or self.dead or self.later or self.publish
                    or self.results or self.parts or self.joined)

    @property
    def is_one_ack(self) -> bool:
        """Whether one delivery is acked, and nothing else ends."""
        return len(self.ack) == 1 and self.ack[0][0] == self.ack[0][1] and not (
            self.back or self.lost or self.anew or self.dead or self.later or self.publish or self.results
            or self.parts or self.joined)


Rows = Sequence[tuple[int, int, bytes]]
Deliveries = list[tuple[str, Rows]]
