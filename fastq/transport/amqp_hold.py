"""A worker whose deliveries are held for longer than RabbitMQ waits for an ack: copies take their place in time.

What a copy is, and where it waits, says amqp_stand_in.py.
"""

from __future__ import annotations

import logging
from uuid import uuid4

from fastq.exceptions import BrokerRefused
from fastq.transport.amqp_consume import Consumer
from fastq.transport.amqp_route import Routes
from fastq.transport.amqp_side import SideChannel
from fastq.transport.amqp_stand_in import stand_in, stand_in_queue
from fastq.types import Endings

logger = logging.getLogger("fastq.transport.amqp")


class StandIns:
    """Those of one worker, over all its connections; their queues are declared as *routes* says."""

    def __init__(self, routes: Routes) -> None:
        self.holder = uuid4().hex[:12]
        """The worker's part in the names of their queues."""
        self._routes = routes
        self._unheld: set[str] = set()
        """Queues whose long-held deliveries the broker lets nobody copy."""

    def renew(self, consumer: Consumer, side: SideChannel, endings: Endings, *, is_choked: bool) -> None:
        """Have copies take the place of *endings.anew*, and leave there those of which there can be none now.

        None can be made while the broker *is_choked*. Raises ConnectionLost.
        """
        kept: list[int] = []
        for tag in endings.anew:
            queue, deaths, content = endings.rows[tag]
            name = None if is_choked else self._followed(consumer, side, queue)
            if name is None:
                kept.append(tag)
                continue
            endings.publish.append(stand_in(name, deaths, content))
            endings.ack.append((tag, tag))
        endings.anew[:] = kept

    def _followed(self, consumer: Consumer, side: SideChannel, queue: str) -> str | None:
        """Return the queue for copies of messages of *queue*, which *consumer* follows; None when there is none."""
        name = stand_in_queue(self.holder, queue)
        if name is None or queue in self._unheld:
            return None
        try:
            self._routes.declare(side, name, "")
        except BrokerRefused as error:
            logger.warning("%s; the broker will give tasks of queue %r that run for longer than its consumer_timeout "
                           "to others", error, queue)
            self._unheld.add(queue)
            return None
        consumer.follow(name, queue)
        return name
