"""Routing keys that delay: the digits of Celery's native delayed delivery, and what stands behind them. Pure functions.

A key is the delay in seconds as 28 binary digits, the highest first, each a word, and then a suffix that tells where
the message goes when they are used up: a routing key as Celery's clients write it, or our `name@queue.@fastq`.
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from urllib.parse import unquote

from fastq._ext import envelope
from fastq.exceptions import FrameError

LEVELS = 28
LONGEST_S = (1 << LEVELS) - 1
"""The longest delay: 8 years and a half."""
LATE_S = 0.1
"""Rather so late than early: who is early takes a place in the hand of a worker."""
_ROOM = 255 - 2 * LEVELS
"""Bytes that a routing key has for its suffix."""
OURS = "@fastq"
"""The last word of every suffix of ours."""
_QUEUE = "@queue"


def tells_time(content: bytes) -> bool:
    """Whether packed *content* says itself when it may run; then whoever receives it earlier waits for that."""
    try:
        return envelope.scan(content)["eta"] is not None
    except FrameError:
        return False


def seconds_until(run_at: float, now: float, *, is_early: bool = False) -> int:
    """Return the whole seconds from *now* to *run_at*, rounded up. 0 is now.

    What may be *is_early* is rounded down, unless it would be late by less than `LATE_S`: a countdown of whole seconds
    has lost no more than that when it comes here, and needs nobody to wait for the rest.

    Raises ValueError, naming the date, when the broker cannot keep a message that long.
    """
    if math.isnan(run_at):
        raise ValueError("run_at is no time but NaN")
    if run_at - now > LONGEST_S:
        date = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=min(run_at, 253402300799))
        raise ValueError(f"RabbitMQ keeps a message for {LONGEST_S} s (8.5 years) at most; {date.isoformat()} is too "
                         "far ahead")
    return max(0, math.floor(run_at - now + LATE_S) if is_early else math.ceil(run_at - now))


@lru_cache(1024)
def routing_key(delay_s: int, suffix: str) -> str:
    """Return the routing key that delays a message by *delay_s* and then sends it to *suffix*.

    >>> routing_key(5, "celery")
    '0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.1.celery'
    """
    if not 0 < delay_s <= LONGEST_S:
        raise ValueError(f"a delay is from 1 to {LONGEST_S} s, not {delay_s}")
    return ".".join((*format(delay_s, f"0{LEVELS}b"), suffix))


def queue_suffix(name: str) -> str:
    """Return the two words that stand for queue *name* at the end of a routing key.

    Raises ValueError when they are too long for one. The name is one word, since the pattern for a queue `b` must not
    match what is for a queue `a.b`. The marks keep it from what Celery binds: a `#` and the routing key of some queue.

    >>> queue_suffix("video.large")
    'video%2Elarge@queue.@fastq'
    """
    return _suffix(name, f"{quote(name)}{_QUEUE}.{OURS}")


def pair_suffix(exchange: str, key: str) -> str:
    """Return the suffix that stands for a direct exchange and a routing key. Raises ValueError if it is too long."""
    return _suffix(key, f"{quote(key)}@{quote(exchange)}@direct.{OURS}")


def queue_of(key: str) -> str | None:
    """Return the queue that a delaying routing key is for; None when it does not end in a `queue_suffix`.

    >>> queue_of(routing_key(5, queue_suffix("video.large")))
    'video.large'
    """
    words = key.split(".")
    if len(words) < 2 or words[-1] != OURS or not words[-2].endswith(_QUEUE):
        return None
    return unquote(words[-2].removesuffix(_QUEUE))


def quote(name: str) -> str:
    """Return *name* as one word of a routing key, free for marks of ours."""
    return name.replace("%", "%25").replace(".", "%2E").replace("@", "%40")


def _suffix(name: str, suffix: str) -> str:
    if len(suffix.encode()) > _ROOM:
        raise ValueError(f"{name!r} is too long for future messages: a routing key of RabbitMQ has 255 bytes, and the "
                         f"delay takes {2 * LEVELS} of them")
    return suffix
