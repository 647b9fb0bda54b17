"""Where messages wait for their trial, on a broker of AMQP: a queue `fastq.trial.q` beside the queue `q`.

It is made for the first message that goes there, and stays, as `fastq.dead` does. Queues that end with their consumers
have none: what is in them was never held by a worker that vanished.
"""

from __future__ import annotations

from fastq.wire.entity import Queue

_PREFIX = "fastq.trial."
_LONGEST_NAME = 255
_KEPT = ("x-queue-type", "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-dead-letter-strategy", "x-overflow")
"""Arguments that hold for both: what kind of queue it is, and where its dead messages go."""


def trial_queue(queue: str) -> str:
    """Return the name of the trial queue of *queue*.

    >>> trial_queue("celery")
    'fastq.trial.celery'
    """
    return _PREFIX + queue


def owner_of(name: str) -> str | None:
    """Return the queue whose trial queue *name* is; None when it is none."""
    return name.removeprefix(_PREFIX) if name.startswith(_PREFIX) else None


def has_trials(queue: str, declared: Queue | None) -> bool:
    """Whether there may be a trial queue beside *queue*, as it is *declared*."""
    lasts = declared is None or not (declared.exclusive or declared.auto_delete)
    return lasts and owner_of(queue) is None and len(trial_queue(queue).encode()) <= _LONGEST_NAME


def trial_entity(queue: str, declared: Queue | None, queue_type: str) -> Queue:
    """Return the trial queue of *queue* as it is declared; of *queue_type* where nobody says of which type *queue* is.

    What dies there takes the way that it would take from its own queue, under that name.
    """
    said = {} if declared is None else declared.declared_arguments()
    arguments = {name: said[name] for name in _KEPT if name in said}
    if declared is None and queue_type != "classic":
        arguments["x-queue-type"] = queue_type
    if "x-dead-letter-exchange" in arguments:
        arguments.setdefault("x-dead-letter-routing-key", queue)
    if arguments.get("x-queue-type") == "quorum":
        # What is handed back uncounted is no failure, and from 4.0 on the twentieth would be its last.
        arguments["x-delivery-limit"] = (1 << 31) - 1
    return Queue(trial_queue(queue), queue_arguments=arguments)
