"""A queue that has messages and gives none, although there is room for them.

RabbitMQ 3.10 does that when a quorum queue is deleted and declared anew while somebody consumes it: the channel goes on
with the numbers of the old queue, takes what the new one delivers for old, and drops it. No consumer is cancelled, and
the messages count as delivered, up to the window; only what comes behind them is seen to wait. A new channel gets all.
"""

from __future__ import annotations

import logging
import math
import time

from fastq.exceptions import ConnectionLost
from fastq.transport.amqp_consume import Consumer
from fastq.transport.amqp_side import Refusal, SideChannel, passive_queue

logger = logging.getLogger("fastq.transport.amqp")

QUIET_S = 10.0
"""Who has had room for so long, and nothing came, asks; and a second time, as long after."""
MOST_S = 300.0
"""The longest pause between two attempts that did not help."""


class Watch:
    """Asks the queues of a consumer, over all its connections, whether they give what they have."""

    def __init__(self) -> None:
        self._taken_at = 0.0
        """When deliveries were last taken, as of the last look."""
        self._look_at = math.inf
        self._suspect = ""
        self._pause_s = QUIET_S

    def begin(self) -> None:
        """There is a new consumer."""
        self._look_at, self._suspect = time.monotonic() + self._pause_s, ""

    def look(self, side: SideChannel, consumer: Consumer, *, has_room: bool) -> None:
        """Ask, when it is time to; call this now and then.

        Raises ConnectionLost when a queue has given nothing for long and a new channel voids nothing.
        """
        now = time.monotonic()
        if consumer.taken_at != self._taken_at:
            self._taken_at, self._pause_s, self._suspect = consumer.taken_at, QUIET_S, ""
            self._look_at = now + QUIET_S
        if now < self._look_at:
            return
        self._look_at = now + QUIET_S
        found = self._waiting(side, consumer) if has_room else ""
        if not found or found != self._suspect:
            self._suspect = found
            return
        if len(consumer.held):
            logger.warning("%s; what this worker holds ends first", self._text(side, found))
            self._look_at = now + MOST_S
            return
        self._pause_s = min(MOST_S, self._pause_s * 2)
        raise ConnectionLost(self._text(side, found))

    def _waiting(self, side: SideChannel, consumer: Consumer) -> str:
        queues = consumer.queues
        for queue, answer in zip(queues, side.run([passive_queue(queue) for queue in queues]), strict=True):
            if not isinstance(answer, Refusal) and answer[1]:
                return queue
        return ""

    def _text(self, side: SideChannel, queue: str) -> str:
        return (f"queue {queue!r} on RabbitMQ at {side.link.where} has messages, and gave none to this worker for "
                f"{2 * QUIET_S:g} s although it has room: was it deleted and declared anew?")
