"""Exchanges, queues and bindings on a broker of AMQP, declared as Celery declares them, and once a connection.

1. What a queue needs, as steps: its exchange, itself, its binding, its further bindings.
2. What exists in another form is used as it is, and noted once in the log: two fleets need not agree to the letter.
3. Every other refusal is the caller's: BrokerRefused.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator

from fastq.transport import amqp_side
from fastq.transport.amqp_side import PRECONDITION_FAILED, Refusal, SideChannel, Step, refused
from fastq.wire.entity import Broadcast, Exchange, Queue

logger = logging.getLogger(__name__)

_RESERVED = "amq."
"""Exchanges of this prefix are the broker's own; it lets nobody declare them."""
_ARGUMENT = re.compile(r"inequivalent arg '([^']+)'.*(received .+ but current is .+)")


class Topology:
    """Declares queues by name; *queue_of* tells what a name stands for, None what is not to be declared.

    Example::

        topology = Topology(app_queues.get)
        topology.declare(SideChannel(link), "celery", "video")
    """

    def __init__(self, queue_of: Callable[[str], Queue | None]) -> None:
        self.queue_of = queue_of
        self._noted: set[str] = set()

    def declare(self, side: SideChannel, *names: str, is_consumer: bool = False) -> None:
        """Declare what *names* need, all in one round trip, unless this was done over this connection.

        A broadcast queue is declared by its consumer; others make sure of its exchange, so that a message for nobody
        is dropped and no error. Raises BrokerRefused, ConnectionLost.
        """
        wanted = [name for name in dict.fromkeys(names) if (name, "consumer" if is_consumer else "") not in side.done]
        steps: list[Step] = []
        for name in wanted:
            found = self.queue_of(name)
            if found is not None:
                # Queues often share their exchange.
                steps += [step for step in steps_of(found, is_consumer=is_consumer) if step not in steps]
        if steps:
            self.run(side, steps)
        side.done.update((name, whose) for name in wanted for whose in ("", "consumer" if is_consumer else ""))

    def forget(self, side: SideChannel, name: str) -> None:
        """Have the next `declare` declare *name* again: the broker does not know it any more."""
        side.done = {fact for fact in side.done if fact[0] != name}

    def run(self, side: SideChannel, steps: list[Step]) -> None:
        """Run declarations; what exists in another form passes. Raises BrokerRefused, ConnectionLost."""
        for step, refusal in side.refusals(steps):
            if refusal.code != PRECONDITION_FAILED or not step.method.endswith(".declare"):
                raise refused(side, step, refusal)
            # It also says that the arguments make no sense: then there is nothing that could be used.
            if side.refusals([_passive(step)]):
                raise refused(side, step, refusal)
            self._note(side, step, refusal)

    def _note(self, side: SideChannel, step: Step, refusal: Refusal) -> None:
        what = amqp_side.described(step)
        if what in self._noted:
            return
        self._noted.add(what)
        kind, name = step.method.partition(".")[0], step.args[0]
        differs = _ARGUMENT.search(refusal.text)
        form, why = (f"another {differs[1]}", differs[2]) if differs else ("another form", refusal.text)
        logger.info("%s %r exists at %s with %s, and is used as it is: %s", kind, name, side.link.where, form, why)


def steps_of(queue: Queue, *, is_consumer: bool = False) -> Iterator[Step]:
    """Yield what declares *queue* and binds it, in Celery's order."""
    if queue.no_declare:
        return
    yield from _exchange_steps(queue.exchange)
    if isinstance(queue, Broadcast) and not is_consumer:
        return
    yield amqp_side.queue(queue.name, durable=queue.durable, exclusive=queue.exclusive, auto_delete=queue.auto_delete,
                          arguments=queue.declared_arguments())
    if queue.exchange.name:
        yield amqp_side.bind_queue(queue.name, queue.exchange.name, queue.routing_key, queue.binding_arguments)
    for binding in sorted(queue.bindings, key=repr):
        yield from _exchange_steps(binding.exchange)
        yield amqp_side.bind_queue(queue.name, binding.exchange.name, binding.routing_key, binding.arguments)


def _exchange_steps(exchange: Exchange) -> Iterator[Step]:
    if exchange.name and not exchange.no_declare and not exchange.name.startswith(_RESERVED):
        yield amqp_side.exchange(exchange.name, exchange.type, durable=exchange.durable,
                                 auto_delete=exchange.auto_delete, arguments=exchange.arguments,
                                 passive=exchange.passive)


def _passive(step: Step) -> Step:
    """The step that asks whether what *step* declares exists."""
    if step.method == "queue.declare":
        return amqp_side.passive_queue(step.args[0])
    return amqp_side.exchange(step.args[0], step.args[1], passive=True)
