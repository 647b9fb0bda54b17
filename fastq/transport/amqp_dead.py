"""Messages that were given up, on a broker of AMQP: in the queue `fastq.dead`, behind an exchange of that name.

1. `dead_message` says what to publish for one that dies: itself, with headers that say from where, why and when.
2. Others get there too: future messages whose queue was gone when their time came, and those of queues whose own
   dead-letter exchange the user set to `fastq.dead`. RabbitMQ's header x-death tells of these.
3. A queue cannot be looked through, only consumed: a reader takes every message, keeps what it wants and lets the rest
   go back to its place. One reads at a time, so that none misses what another holds.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastq._ext import envelope
from fastq.exceptions import FrameError
from fastq.transport import amqp_side
from fastq.transport.amqp_future import queue_of
from fastq.transport.amqp_look import Look, looking
from fastq.transport.amqp_side import SideChannel, Step
from fastq.transport.amqp_topology import Topology
from fastq.transport.amqp_trial_queue import owner_of
from fastq.types import DeadLetter
from fastq.wire.entity import Queue
from fastq.wire.header import revise

DEAD = "fastq.dead"
MORE_LOOKS = 3
"""How often to look again for what came back though it was acked."""
_OURS = ("x-fastq-dead-id", "x-fastq-queue", "x-fastq-reason", "x-fastq-died-at", "x-fastq-deaths", "x-delivery-count")
_IDS = (1 << 53) - 1
Found = tuple[int, DeadLetter]
"""A letter with its tag in a window."""
_GONE = "its queue was gone when its time came"


def has_own_dlx(queue: Queue) -> bool:
    """Whether the user has chosen where the dead messages of *queue* go: then the broker is to put them there."""
    return "x-dead-letter-exchange" in queue.declared_arguments()


def dead_message(content: bytes, queue: str, reason: str, deaths: int, died_at: float | None = None) -> tuple[
        str, str, bytes]:
    """Return exchange, routing key and content to publish for a message of *queue* that is given up.

    Its headers and body stay as they are; its expiration does not, or it would soon be gone from here too. *died_at* is
    Unix seconds, now by default.
    """
    headers = {
        "x-fastq-dead-id": secrets.randbelow(_IDS) + 1, "x-fastq-queue": queue, "x-fastq-reason": reason,
        "x-fastq-died-at": float(time.time() if died_at is None else died_at), "x-fastq-deaths": deaths,
    }
    return DEAD, queue, revise(content, headers, _OURS, keep_expiration=False)


def dead_steps(queue_type: str) -> list[Step]:
    """Return the steps that declare the exchange and queue of dead messages."""
    arguments: dict[str, Any] = {}
    if queue_type != "classic":
        arguments["x-queue-type"] = queue_type
    if queue_type == "quorum":
        # Each look at a message counts as a failed delivery, and from 4.0 on the twentieth would be its last.
        arguments["x-delivery-limit"] = (1 << 31) - 1
    return [amqp_side.exchange(DEAD, "topic"), amqp_side.queue(DEAD, arguments=arguments),
            amqp_side.bind_queue(DEAD, DEAD, "#")]


def letter_of(content: bytes) -> DeadLetter:
    """Read a message from the queue of dead ones. Never fails: what makes no sense is told in the reason."""
    try:
        properties, headers, body = envelope.unpack(content)
        clean = revise(content, drop=_OURS)
    except FrameError as error:
        return DeadLetter(_digest(content), "", f"unreadable: {error}", 0.0, 0, content)
    deaths, ident = headers.get("x-fastq-deaths"), headers.get("x-fastq-dead-id")
    deaths = deaths if isinstance(deaths, int) else 0
    died_at = headers.get("x-fastq-died-at")
    if isinstance(ident, int) and isinstance(died_at, float):
        queue, reason = str(headers.get("x-fastq-queue", "")), str(headers.get("x-fastq-reason", ""))
    else:
        queue, reason, died_at = _last_death(headers)
        # The same at every look, though the broker counts the looks in a header.
        ident = _digest(repr((properties.get("message_id"), properties.get("correlation_id"))).encode() + body)
    return DeadLetter(ident, queue, reason, died_at, deaths, clean)


def _last_death(headers: Mapping[str, Any]) -> tuple[str, str, float]:
    """Return queue, reason and time of what the broker itself gave up."""
    notes = headers.get("x-death")
    note = notes[0] if isinstance(notes, list) and notes and isinstance(notes[0], dict) else {}
    queue, reason, date = str(note.get("queue", "")), str(note.get("reason", "unknown")), note.get("time")
    keys = note.get("routing-keys")
    key = str(keys[0]) if isinstance(keys, list) and keys else ""
    future = queue_of(key)
    if future is not None and queue.startswith("celery_delayed_"):
        queue, reason = future, _GONE
    queue = owner_of(queue) or queue
    return queue, reason, date.timestamp() if isinstance(date, datetime) else 0.0


def _digest(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big") & _IDS


class DeadLetters:
    """The dead messages of a broker; the queue is made as *queue_type* if there is none.

    Example::

        for letter in dead.read(side, queue=None, limit=10):
            dead.resolve(side, [letter.id], replay=True)
    """

    def __init__(self, topology: Topology, queue_type: str = "classic") -> None:
        self.topology = topology
        self.queue_type = queue_type

    def declare(self, side: SideChannel) -> None:
        """Make exchange and queue, unless this was done over this connection. Raises BrokerRefused, ConnectionLost."""
        if (DEAD, "") not in side.done:
            self.topology.run(side, dead_steps(self.queue_type))
            side.done.add((DEAD, ""))

    def read(self, side: SideChannel, queue: str | None, limit: int) -> list[DeadLetter]:
        """Return the newest *limit* messages, the newest first, of one queue or of all.

        100,000 take 3 to 10 s. Waits up to 10 s for another reader. Raises BrokerRefused, ConnectionLost.
        """
        newest: deque[bytes] = deque(maxlen=max(0, limit))
        with looking(side, DEAD) as look:
            for window in look:
                newest.extend(content for _, content in window if queue is None or letter_of(content).queue == queue)
        return [letter_of(content) for content in reversed(newest)]

    def resolve(self, side: SideChannel, ids: Iterable[int], *, replay: bool) -> int:
        """Publish messages to their queues again, their deaths forgotten, or drop them; returns how many.

        A message whose queue does not exist, and is not known here, stays. Raises as `read` does.
        """
        done, is_sure = self._resolve(side, set(ids), replay=replay)
        for _ in range(MORE_LOOKS):
            if is_sure:
                break
            # What came back though it was acked is not published a second time.
            _, is_sure = self._resolve(side, done, replay=False)
        return len(done)

    def _resolve(self, side: SideChannel, wanted: set[int], *, replay: bool) -> tuple[set[int], bool]:
        """Look through the letters once; returns the ids that were resolved, and whether they stay so."""
        done: set[int] = set()
        with looking(side, DEAD) as look:
            for window in look:
                found = [(tag, letter) for tag, content in window if (letter := letter_of(content)).id in wanted]
                settled = self._replay(side, look, found) if replay else found
                window.ack([tag for tag, _ in settled])
                done |= {letter.id for _, letter in settled}
                if done >= wanted:
                    break
        return done, not look.may_have_undone

    def _replay(self, side: SideChannel, look: Look, found: Sequence[Found]) -> list[Found]:
        """Publish what was found; returns what the broker has stored."""
        if not found:
            return []
        self.topology.declare(side, *(letter.queue for _, letter in found if letter.queue))
        stored = look.publish([(letter.queue, letter.content) for _, letter in found])
        return [each for each, is_stored in zip(found, stored, strict=True) if is_stored]
