"""Where a message goes on the broker: exchange and routing key, declared before the first message goes there."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from fastq.exceptions import BrokerRefused
from fastq.transport.amqp_dead import DEAD, DeadLetters, has_own_dlx
from fastq.transport.amqp_delay import LEVELS_STAND, Delays, is_level
from fastq.transport.amqp_options import AmqpOptions
from fastq.transport.amqp_side import SideChannel
from fastq.transport.amqp_stand_in import home_of, stand_in_entity
from fastq.transport.amqp_topology import Topology
from fastq.transport.amqp_trial_queue import has_trials, owner_of, trial_entity
from fastq.wire.entity import Queue

logger = logging.getLogger("fastq.transport.amqp")

_LIMITS = {"x-max-length", "x-max-length-bytes"}

REPLY = "\0reply"
"""In the place of an exchange: the queue belongs to whoever waits for a result, and is theirs to declare."""


class Place(NamedTuple):
    """Where one message is published. ``is_passing``: the next one for the same queue may go elsewhere."""

    exchange: str
    routing_key: str
    content: bytes
    is_mandatory: bool = True
    is_passing: bool = False


class Routes:
    """Finds and declares the places of messages, over the side channel of a connection."""

    def __init__(self, options: AmqpOptions) -> None:
        self.known: set[str] = set()
        """The queues that were declared here."""
        self._untried: set[str] = set()
        """Queues whose trial queue the broker lets nobody make."""
        self._queue_of = options.queue_of
        self._queues_of = options.bound_to
        self._dead_queue_type = options.dead_queue_type
        self._topology = Topology(self._declared)
        self._delays = Delays(self._topology, options.delayed_queue_type, options.dead_queue_type, options.bound_to)
        self.dead = DeadLetters(self._topology, options.dead_queue_type)

    def place(self, side: SideChannel, queue: str, content: bytes, run_at: float | None, exchange: str) -> Place:
        """Return where a message goes, and see to it that the place exists. Raises BrokerRefused, ConnectionLost."""
        if exchange == REPLY:
            return Place("", queue, content, is_mandatory=False, is_passing=True)
        if exchange == DEAD:
            self.dead.declare(side)
            return Place(exchange, queue, content)
        if run_at is not None:
            delayed = self._delays.route(side, queue, content, run_at, exchange)
            if delayed is not None:
                return Place(*delayed, is_passing=True)
        try:
            self.declare(side, queue, exchange)
        except BrokerRefused as error:
            owner = owner_of(queue)
            if owner is None:
                raise
            logger.warning("%s; tasks of queue %r that killed workers are tried beside each other", error, owner)
            self._untried.add(owner)
            return self.place(side, owner, content, None, "")
        return Place(exchange, queue, content, is_mandatory=not self._is_fanout(exchange))

    def is_open(self, side: SideChannel, queue: str, run_at: float | None, exchange: str) -> bool:
        """Whether `place` would ask the broker nothing."""
        if exchange == REPLY:
            return True
        if run_at is not None and exchange != DEAD:
            return self._delays.is_open(side, queue, exchange)
        return (DEAD, "") in side.done if exchange == DEAD else False

    def declare(self, side: SideChannel, queue: str, exchange: str) -> None:
        """Declare a queue, or the known queues of an exchange."""
        if exchange == DEAD:
            self.dead.declare(side)
            return
        if is_level(exchange):
            self._delays.declare_levels(side)
            return
        names = [queue] if not exchange else [found.name for found in self._bound_to(exchange)]
        self._topology.declare(side, *names)
        self.known.update(name for name in names if owner_of(name) is None and home_of(name) is None)

    def prepare(self, side: SideChannel, queues: Sequence[str]) -> None:
        """Declare the queues of a consumer, and open the ways to them for future messages."""
        self._topology.declare(side, *queues, is_consumer=True)
        self._delays.attach(side, queues)
        self.known.update(queues)

    def forget(self, side: SideChannel, queue: str, exchange: str) -> None:
        """Have a place declared again: a message for it came back."""
        names = [queue] if not exchange else [found.name for found in self._bound_to(exchange)]
        if exchange == DEAD:
            names = [DEAD]
        elif is_level(exchange):
            names = [LEVELS_STAND]
        for name in names:
            self._topology.forget(side, name)

    def consumer_arguments(self, queue: str) -> dict[str, object]:
        """Return the arguments of the consumer of *queue*."""
        found = self._queue_of(queue)
        return dict(found.consumer_arguments) if found is not None else {}

    def has_own_dead_letters(self, queue: str) -> bool:
        """Whether the user gave *queue* a dead-letter exchange of its own."""
        found = self._queue_of(queue)
        return found is not None and has_own_dlx(found)

    def has_limit(self, queue: str, exchange: str) -> bool:
        """Whether a refusal means that a place is full. A quorum queue may as well be without a leader for a moment."""
        found = self._bound_to(exchange) if exchange else [self._declared(queue)]
        arguments = [one.declared_arguments() for one in found if one is not None]
        return any(_LIMITS & each.keys() and each.get("x-queue-type") != "quorum" for each in arguments)

    def has_trials(self, queue: str) -> bool:
        """Whether messages of *queue* have a place to wait for their trial."""
        return queue not in self._untried and has_trials(queue, self._queue_of(queue))

    def _declared(self, name: str) -> Queue | None:
        if (home := home_of(name)) is not None:
            return stand_in_entity(name, home, self._queue_of(home), self._dead_queue_type)
        owner = owner_of(name)
        if owner is None:
            return self._queue_of(name)
        return trial_entity(owner, self._queue_of(owner), self._dead_queue_type)

    def _bound_to(self, exchange: str) -> list[Queue]:
        return list(self._queues_of(exchange))

    def _is_fanout(self, exchange: str) -> bool:
        return bool(exchange) and any(queue.exchange.type == "fanout" for queue in self._bound_to(exchange))
