"""Copies that stand in for deliveries which are held for long: RabbitMQ waits half an hour for an ack, and no longer.

Before that is over a worker puts a confirmed copy into a queue of its own, `fastq.held.<its id>.<queue>`, acks the
original, and is delivered the copy, whose time begins anew. The run goes on under the new tag. At every moment the
message is in a queue of the broker, or in both: whoever dies in between leaves it once or twice, and never not at all.

What a worker that died held goes back to its queue by itself: it has waited for longer than the queue of copies lets
anything wait, which then hands it to the exchange for its dead letters, and that leads home. It bears a flag in its
count of deaths there, since the broker does not say of it that it was delivered before.
"""

from __future__ import annotations

from fastq.types import HELD, Message
from fastq.wire.entity import Queue
from fastq.wire.header import revise

DEATHS = "x-fastq-deaths"
WAIT_S = 60
"""How long a copy may wait to be delivered to the worker that made it."""
UNUSED_S = 3600
"""A queue of copies that nobody has used for so long is deleted; by then it is empty."""
_PREFIX = "fastq.held."
_LONGEST_NAME = 255


def stand_in_queue(holder: str, queue: str) -> str | None:
    """Return the name of the queue for *holder*'s copies of messages of *queue*; None when it would be too long."""
    name = f"{_PREFIX}{holder}.{queue}"
    return name if len(name.encode()) <= _LONGEST_NAME else None


def home_of(name: str) -> str | None:
    """Return the queue that what is in queue *name* goes back to; None when that is no queue of copies.

    >>> home_of("fastq.held.0f3a.celery")
    'celery'
    """
    return name.removeprefix(_PREFIX).partition(".")[2] if name.startswith(_PREFIX) else None


def stand_in_entity(name: str, home: str, declared: Queue | None, queue_type: str) -> Queue:
    """Return the queue *name* as it is declared: of the type of *home*, of *queue_type* when nobody says that type."""
    said = {} if declared is None else declared.declared_arguments()
    arguments: dict[str, object] = {
        "x-message-ttl": WAIT_S * 1000, "x-expires": UNUSED_S * 1000,
        "x-dead-letter-exchange": "", "x-dead-letter-routing-key": home,
    }
    if said.get("x-queue-type", "classic" if declared is not None else queue_type) == "quorum":
        # Else a quorum queue may lose what expires while its home is without a leader.
        arguments |= {"x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once",
                      "x-overflow": "reject-publish"}
    return Queue(name, queue_arguments=arguments)


def stand_in(name: str, deaths: int, content: bytes) -> Message:
    """Return the copy of a delivery that goes into queue *name*."""
    return Message(name, revise(content, {DEATHS: deaths | HELD}, (DEATHS, "x-death"), keep_expiration=False))
