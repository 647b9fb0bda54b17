"""Figures of queues on a broker of AMQP, and purge. The protocol tells of a queue only how much of it is ready."""

from __future__ import annotations

from collections.abc import Iterable

from fastq.transport.amqp_side import NOT_FOUND, Refusal, SideChannel, Step, passive_queue, refused
from fastq.types import QueueStat


def queues(side: SideChannel, names: Iterable[str]) -> dict[str, QueueStat]:
    """Return the figures of those queues among *names* that exist, in one round trip.

    Held and future messages are not counted: only the management plugin of RabbitMQ knows them. Raises BrokerRefused,
    ConnectionLost.
    """
    steps = [passive_queue(name) for name in sorted(set(names))]
    found: dict[str, QueueStat] = {}
    for step, answer in zip(steps, side.run(steps), strict=True):
        if not isinstance(answer, Refusal):
            found[step.args[0]] = QueueStat(ready=answer[1])
        elif answer.code != NOT_FOUND:
            raise refused(side, step, answer)
    return found


def purge(side: SideChannel, queue: str) -> int:
    """Drop every ready message of *queue*; returns how many. Future ones wait elsewhere, and will come.

    Raises BrokerRefused, ConnectionLost.
    """
    step = Step("queue.purge", (queue, False))
    answer, = side.run([step])
    if not isinstance(answer, Refusal):
        return int(answer[0])
    if answer.code != NOT_FOUND:
        raise refused(side, step, answer)
    return 0
