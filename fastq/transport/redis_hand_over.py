"""Going back to Celery: its workers read lists only, and what waits for fastq's workers elsewhere goes there."""

from __future__ import annotations

from typing import Any, NamedTuple

from fastq.exceptions import TransportError
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_link import Link
from fastq.transport.redis_script import Script

HAND_OVER = Script.named("hand_over")
PIECE = 250
"""Messages that are moved in one step."""


class HandedOver(NamedTuple):
    """How many messages went to their lists."""

    future: int = 0
    trial: int = 0


class StillServed(TransportError):
    """A fastq worker serves the queue, and would take everything back."""


def hand_over(link: Link, keys: Keys, queue: str) -> HandedOver:
    """Put the future messages and the suspects of *queue* into its lists.

    Messages with an ETA are held by the Celery worker that takes them, as ever; others run at once. Raises StillServed
    while a fastq worker serves the queue, or was killed less than its lease ago; TransportError.
    """
    total = HandedOver()
    while True:
        try:
            future, trial = HAND_OVER.call(link, [keys.mover(queue), keys.future(queue), keys.trial(queue),
                                                  keys.list_of(queue)], [PIECE])
        except TransportError as error:
            if "SERVED" not in str(error):
                raise
            left_ms: Any = link.call("PTTL", keys.mover(queue))
            raise StillServed(f"a fastq worker serves the queue {queue!r} and would take its messages back: stop it "
                              f"first; if it was killed, its lease is over in {max(0, left_ms) / 1000:.0f} s"
                              ) from error
        total = HandedOver(total.future + future, total.trial + trial)
        if not future and not trial:
            return total
