"""Future messages, which wait in the broker: the exchanges and queues of Celery's native delayed delivery.

1. Level n is a topic exchange and a queue `celery_delayed_n`, 28 of them. The queue keeps a message for 2^n seconds and
   hands it to level n - 1, the last one to the exchange `celery_delayed_delivery`. The digits of the routing key (see
   amqp_future) decide at each level: 1 the queue, 0 the next level at once.
2. A message for a queue leaves by our exchange `fastq.delayed`, to which the queue is bound by a suffix of its own. So
   it comes to this queue and no other, whatever exchange the queue has, and to the dead letters when the queue is
   gone. Quorum queues would keep what nobody takes, try it every three minutes, and hold up the level for all others
   once there are 32 of it.
3. A message for an exchange ends in its routing key, as with Celery, and exchange and queues are bound as with Celery.
4. Nobody declares any of this before it is needed; what exists, made by whomever, is used as it is.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence

from fastq.exceptions import TransportError
from fastq.transport import amqp_side
from fastq.transport.amqp_dead import DEAD, dead_steps
from fastq.transport.amqp_future import (
    LEVELS,
    OURS,
    pair_suffix,
    queue_suffix,
    routing_key,
    seconds_until,
    tells_time,
)
from fastq.transport.amqp_side import NOT_FOUND, PRECONDITION_FAILED, SideChannel, Step, refused
from fastq.transport.amqp_topology import Topology
from fastq.wire.entity import Exchange, Queue
from fastq.wire.header import revise

logger = logging.getLogger(__name__)

DELIVERY = "celery_delayed_delivery"
EXIT = "fastq.delayed"
_DEATHS = ("x-death", "x-first-death-", "x-last-death-")


def without_deaths(content: bytes) -> bytes:
    """Return packed *content* without the broker's notes of how it travelled before.

    By these notes RabbitMQ knows a message that goes round in circles, and drops it: a message delayed for the second
    time would be lost at the first level that it has seen before.
    """
    head = 4 + int.from_bytes(content[:4], "big")
    return revise(content, drop=_DEATHS) if content.find(b"-death", 4, head) >= 0 else content


def is_level(exchange: str) -> bool:
    """Whether *exchange* is where `Delays.route` sends messages."""
    return exchange in _LEVELS


def level_steps(queue_type: str) -> list[Step]:
    """Return the steps that make all levels; `DELIVERY` and its binding come last, and tell that the rest stands."""
    steps = []
    for level in reversed(range(LEVELS)):
        name, after = _level(level), _level(level - 1) if level else DELIVERY
        arguments: dict[str, object] = {
            "x-queue-type": queue_type, "x-overflow": "reject-publish", "x-message-ttl": 1000 << level,
            "x-dead-letter-exchange": after,
        }
        if queue_type == "quorum":
            arguments["x-dead-letter-strategy"] = "at-least-once"
        steps += [amqp_side.exchange(name, "topic"), amqp_side.queue(name, arguments=arguments),
                  amqp_side.bind_queue(name, name, _pattern(level, "1"))]
    steps += [amqp_side.bind_exchange(_level(level - 1), _level(level), _pattern(level, "0"))
              for level in range(1, LEVELS)]
    return [*steps, amqp_side.exchange(DELIVERY, "topic"), _LAST[0]]


def exit_steps(dead_type: str) -> list[Step]:
    """Return the steps that make our way out of the levels."""
    return [*dead_steps(dead_type), amqp_side.exchange(EXIT, "topic", arguments={"alternate-exchange": DEAD}), _LAST[1]]


class Delays:
    """Sends messages into the future: `route` for each, and `attach` for the queues of a worker.

    *queue_type* is that of the levels, quorum or classic, and *dead_type* that of the queue of dead letters, where they
    are made here. *queues_at* names the known queues of an exchange.
    """

    def __init__(self, topology: Topology, queue_type: str = "quorum", dead_type: str = "classic",
                 queues_at: Callable[[str], Iterable[Queue]] = lambda exchange: ()) -> None:
        self.topology = topology
        self.queue_type = queue_type
        self.dead_type = dead_type
        self.queues_at = queues_at
        self._suffixes: dict[tuple[str, str], str] = {}

    def route(self, side: SideChannel, queue: str, content: bytes, run_at: float, exchange: str = "",
              now: float | None = None) -> tuple[str, str, bytes] | None:
        """Return exchange, routing key and content to publish, so that the message comes out at *run_at*.

        None when that is past: publish it as any other. With an *exchange*, *queue* is the routing key. The first
        message to a place makes the levels and the way there. The broker counts whole seconds: a message that says
        itself when it is due comes up to one early, and its worker waits for the rest; another one comes late.
        Raises ValueError, BrokerRefused, ConnectionLost.
        """
        seconds = seconds_until(run_at, time.time() if now is None else now, is_early=tells_time(content))
        if not seconds:
            return None
        suffix = self._suffixes.get((queue, exchange))
        if suffix is None or (queue, "delay", exchange) not in side.done:
            suffix = self._open(side, queue, exchange)
        # The levels above that of the highest digit would only pass it on, at 0.2 ms of the broker's time each.
        return _level(seconds.bit_length() - 1), routing_key(seconds, suffix), without_deaths(content)

    def is_open(self, side: SideChannel, queue: str, exchange: str = "") -> bool:
        """Whether the way to a place stands, as far as this connection knows."""
        return (queue, "delay", exchange) in side.done

    def attach(self, side: SideChannel, names: Iterable[str]) -> None:
        """Open the ways to the queues of a worker, which may have been deleted and made again meanwhile.

        Makes the levels only where Celery's clients count on a worker to make them. Raises as `route` does.
        """
        queues = [queue for queue in map(self.topology.queue_of, names) if queue is not None and not queue.no_declare]
        if _is_celery_counting(queues):
            self.declare_levels(side)
        elif not self._stand(side):
            return
        self.topology.run(side, [step for queue in queues for step in way_to(queue)])

    def declare_levels(self, side: SideChannel) -> None:
        """Make the levels unless they stand: one round trip to see that, one more to make them. Raises as `route`."""
        if self._stand(side):
            return
        refusals = side.refusals(level_steps(self.queue_type))
        if any(refusal.code != PRECONDITION_FAILED for _, refusal in refusals):
            # The first one is the cause of the others: what was not declared cannot be bound.
            raise refused(side, *refusals[0])
        self.topology.run(side, exit_steps(self.dead_type))
        if not self._stand(side):
            raise TransportError(f"{side.link.where}: somebody deletes the queues of delayed delivery meanwhile")
        if refusals:
            logger.info("the levels of delayed delivery at %s are used as they are, though some differ: %s",
                        side.link.where, refusals[0][1].text)

    def _stand(self, side: SideChannel) -> bool:
        """Whether all of it is there: what is delayed by a level that was deleted would be dropped without a word."""
        if _STAND in side.done:
            return True
        ends, levels = ([amqp_side.exchange(name, "topic", passive=True) for name in names]
                        for names in ((DELIVERY, EXIT), sorted(_LEVELS)))
        # The bindings are made, not asked for: whoever made the rest may have been cut off just before.
        queues = [*_LAST, *map(amqp_side.passive_queue, (DEAD, *sorted(_LEVELS)))]
        for steps in (ends, levels + queues):
            refusals = side.refusals(steps)
            for step, refusal in refusals:
                if refusal.code != NOT_FOUND:
                    raise refused(side, step, refusal)
            if refusals:
                return False
        side.done.add(_STAND)
        return True

    def _open(self, side: SideChannel, queue: str, exchange: str) -> str:
        """Open the way to a queue, or to an exchange and routing key; returns the suffix of messages for there."""
        self.declare_levels(side)
        known = list(self.queues_at(exchange)) if exchange else []
        self.topology.declare(side, *([one.name for one in known] if exchange else [queue]))
        suffix, steps = way_through(exchange, queue, known) if exchange else (queue_suffix(queue), _straight(queue))
        self.topology.run(side, steps)
        self._suffixes[queue, exchange] = suffix
        side.done.add((queue, "delay", exchange))
        return suffix


def way_to(queue: Queue) -> list[Step]:
    """Return the steps that open the way to *queue*: straight, and as Celery does where its exchange is not direct."""
    steps = _straight(queue.name)
    for source, key in _routed_bindings(queue):
        pattern = _behind_digits(key)
        steps.append(amqp_side.bind_queue(queue.name, source, pattern))
        # This one would have a copy of every future message there is, whatever it is for.
        if not _matches_all(pattern):
            steps.append(amqp_side.bind_exchange(source, DELIVERY, pattern))
    return steps


def way_through(exchange: str, key: str, known: Sequence[Queue]) -> tuple[str, list[Step]]:
    """Return the suffix of messages for an *exchange* and routing *key*, and the steps that open the way.

    *known* are the queues of the exchange. A direct one would not know a key with digits in front, so its queues are
    bound straight.
    """
    if any(source.type == "direct" for queue in known for source, _ in _bindings(queue) if source.name == exchange):
        suffix = pair_suffix(exchange, key)
        return suffix, [amqp_side.bind_queue(queue.name, EXIT, f"#.{suffix}") for queue in known
                        if any((source.name, bound) == (exchange, key) for source, bound in _bindings(queue))]
    steps = [step for queue in known for step in way_to(queue)]
    if all(_matches_all(_behind_digits(bound)) for queue in known for source, bound in _routed_bindings(queue)
           if source == exchange):
        steps.append(amqp_side.bind_exchange(exchange, DELIVERY, f"#.{key}"))
    return key, steps


def _straight(name: str) -> list[Step]:
    return [amqp_side.bind_queue(name, EXIT, f"#.{queue_suffix(name)}")]


def _bindings(queue: Queue) -> Iterator[tuple[Exchange, str]]:
    if queue.exchange.name:
        yield queue.exchange, queue.routing_key
    for binding in sorted(queue.bindings, key=repr):
        yield binding.exchange, binding.routing_key


def _routed_bindings(queue: Queue) -> Iterator[tuple[str, str]]:
    """Yield exchange and routing key of the bindings to exchanges that are not direct."""
    return ((source.name, key) for source, key in _bindings(queue) if source.name and source.type != "direct")


def _is_celery_counting(queues: Sequence[Queue]) -> bool:
    """Whether Celery's clients send through the levels to these queues; they leave making them to the workers."""
    return (any(queue.declared_arguments().get("x-queue-type") == "quorum" for queue in queues)
            and any(True for queue in queues for _ in _routed_bindings(queue)))


def _pattern(level: int, digit: str) -> str:
    return "*." * (LEVELS - 1 - level) + digit + ".#"


def _behind_digits(key: str) -> str:
    return key if key.startswith("#") else f"#.{key}"


def _matches_all(pattern: str) -> bool:
    return set(pattern) <= set("#*.") and pattern != "#."


def _level(number: int) -> str:
    return f"celery_delayed_{number}"


_LEVELS = frozenset(map(_level, range(LEVELS)))
LEVELS_STAND = ""
"""What stands for the levels among the facts of a side channel."""
_STAND = (LEVELS_STAND, "levels")
_LAST = (amqp_side.bind_exchange(DELIVERY, _level(0), _pattern(0, "0")),
         amqp_side.bind_exchange(EXIT, DELIVERY, f"#.{OURS}"))
