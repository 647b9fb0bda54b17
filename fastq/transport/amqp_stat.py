"""Figures of queues on a broker of AMQP, and purge. The protocol tells of a queue only how much of it is ready."""

from __future__ import annotations

from collections.abc import Iterable

from fastq.transport.amqp_side import NOT_FOUND, Refusal, SideChannel, Step, passive_queue, refused
from fastq.transport.amqp_trial_queue import trial_queue
from fastq.types import QueueStat


def queues(side: SideChannel, names: Iterable[str]) -> dict[str, QueueStat]:
    """Return the figures of those queues among *names* that exist, in one round trip.

    What waits for its trial is ready. Held and future messages are not counted: only the management plugin of RabbitMQ
    knows them. Raises BrokerRefused, ConnectionLost.
    """
    ready = _ready(side, sorted(set(names)))
    on_trial = _ready(side, [trial_queue(name) for name in ready])
    return {name: QueueStat(ready=count + on_trial.get(trial_queue(name), 0)) for name, count in ready.items()}


def _ready(side: SideChannel, names: list[str]) -> dict[str, int]:
    steps = [passive_queue(name) for name in names]
    found: dict[str, int] = {}
    for step, answer in zip(steps, side.run(steps), strict=True):
        if not isinstance(answer, Refusal):
            found[step.args[0]] = answer[1]
        elif answer.code != NOT_FOUND:
            raise refused(side, step, answer)
    return found


def purge(side: SideChannel, queue: str) -> int:
    """Drop every ready message of *queue*, also those that wait for their trial; returns how many.

    Future ones wait elsewhere, and will come. Raises BrokerRefused, ConnectionLost.
    """
    dropped, steps = 0, [Step("queue.purge", (name, False)) for name in (queue, trial_queue(queue))]
    for step, answer in zip(steps, side.run(steps), strict=True):
        if not isinstance(answer, Refusal):
            dropped += answer[0]
        elif answer.code != NOT_FOUND:
            raise refused(side, step, answer)
    return dropped
