"""Messages that the broker does not take: which they were, who hears of it, and where they go when nobody does."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from fastq._ext import amqp, envelope
from fastq.exceptions import FrameError, Undeliverable
from fastq.transport.amqp_dead import DEAD, dead_message
from fastq.transport.amqp_trial_queue import owner_of
from fastq.types import Message

logger = logging.getLogger("fastq.transport.amqp")

LONGEST_KEY = 255
MOST_NAMES = 10


class Sent(NamedTuple):
    """A message as it was published."""

    exchange: str
    routing_key: str
    is_mandatory: bool
    content: bytes

    @classmethod
    def read(cls, frames: bytes) -> Sent:
        """Read back what was sent: while a message waits for its confirm, its frames are all that is kept of it."""
        decoder = amqp.Decoder(max(len(frames), 4096))
        decoder.feed(frames)
        event = decoder.next()
        assert event is not None and event[3] is not None
        exchange, routing_key, is_mandatory, _ = event[2]
        return cls(exchange, routing_key, is_mandatory, event[3])

    def __str__(self) -> str:
        name, _ = named(self.content)
        return f"{name}, sent to exchange {self.exchange!r} with routing key {self.routing_key!r}"


class Failures:
    """What was given up, until somebody is told; at most *most* of it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._failures: list[tuple[str, str | None]] = []

    def __bool__(self) -> bool:
        return bool(self._failures)

    def add(self, why: str, sent: Sent) -> None:
        """Remember that a message was given up."""
        if len(self._failures) < self._most:
            self._failures.append((why, named(sent.content)[1]))

    def next(self) -> Undeliverable:
        """Take what failed: one whose task is not known alone, as it may be anybody's, else all together."""
        unnamed = [failure for failure in self._failures if failure[1] is None]
        taken = unnamed[:1] or self._failures
        rest = [failure for failure in self._failures if failure[1] is not None]
        self._failures = [*unnamed[1:], *rest] if unnamed else []
        more = f"; and {len(taken) - 1} more" if len(taken) > 1 else ""
        error = Undeliverable(taken[0][0] + more)
        error.task_ids = tuple(task_id for _, task_id in taken if task_id is not None)
        return error


def named(content: bytes) -> tuple[str, str | None]:
    """Return what to call a message, and the id of its task if it has one."""
    try:
        _, headers, _ = envelope.unpack(content)
    except FrameError as error:
        return f"an unreadable message ({error})", None
    task_id = headers.get("id")
    return ("a message without an id", None) if task_id is None else (f"{headers.get('task')}[{task_id}]", str(task_id))


def listed(contents: Sequence[bytes], count: int) -> str:
    """Return the names of messages, of some when they are many; *count* is how many there are in all."""
    names = [named(content)[0] for content in contents[:MOST_NAMES]]
    return ", ".join(names) + (f" and {count - len(names)} more" if count > len(names) else "")


def given_up(message: Message, why: str) -> Message:
    """Return the dead letter of a *message* that has no place on the broker.

    Whoever offered it acknowledges what it came from, so it must not be dropped.
    """
    logger.error("%s goes to the dead letters: %s", named(message.content)[0], why)
    queue = owner_of(message.queue) or message.queue
    try:
        exchange, key, content = dead_message(message.content, queue, why, 0)
    except FrameError:
        exchange, key, content = dead_message(envelope.pack({}, {}, message.content), queue, why, 0)
    # A queue that cannot exist, as its name is too long, is one reason for a message to come here.
    return Message(key if len(key.encode()) <= LONGEST_KEY else "", content, exchange=exchange)


def is_dead(message: Message) -> bool:
    """Whether it is a dead letter already."""
    return message.exchange == DEAD
