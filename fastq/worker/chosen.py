"""Which queues a worker consumes, changed while it works: by remote control, and by the steps of its app."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from fastq.exceptions import FastqError

Consume = Callable[[Sequence[str]], None]
"""Has a worker consume exactly these queues. Raises TransportError for one that the broker will not have."""


def add(app: Any, now: Sequence[str], consume: Consume, queue: str, *described: str | None, **options: Any) -> str:
    """Have *queue* consumed besides those that are *now*; returns its name. What it is says `Queues.require`.

    One that is refused is as unknown as before. Raises ConfigError, TypeError, TransportError.
    """
    known = app.router.queues
    is_new = queue not in known
    try:
        name: str = known.require(queue, *described, **options).name
        if name not in now:
            consume([*now, name])
    except (FastqError, TypeError, ValueError):
        if is_new:
            known.forget(queue)
        raise
    return name


def leave(app: Any, now: Sequence[str], consume: Consume, queue: str) -> None:
    """Have *queue*, by its name or alias, consumed no more."""
    known = app.router.queues.get(queue)
    name = queue if known is None else known.name
    if name in now:
        consume([each for each in now if each != name])
