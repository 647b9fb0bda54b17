"""How long to wait before the next try: exponential, capped, with full jitter. Pure; chance is an argument.

Celery's ``retry_backoff``, ``retry_backoff_max`` and ``retry_jitter``. Imports nothing of fastq.
"""

from __future__ import annotations

from collections.abc import Callable
from os import urandom

__all__ = ("chance", "get_exponential_backoff_interval", "retry_delay_s")

# 2 ** 64 seconds are longer than any cap; without a limit the power would fill the memory.
_LARGEST_EXPONENT = 64


def chance() -> float:
    """Draw a number from [0, 1). From the system, so forked children draw different ones and `random` is not loaded."""
    return int.from_bytes(urandom(6), "big") / (1 << 48)


def get_exponential_backoff_interval(
    factor: float, retries: int, maximum: float, full_jitter: bool = False, chance: Callable[[], float] = chance
) -> float:
    """Wait factor * 2 ** retries seconds, at most *maximum*; with *full_jitter* any whole number from 0 to that.

    Never negative.

        get_exponential_backoff_interval(factor=2, retries=3, maximum=600) == 16
    """
    delay_s = max(0, min(maximum, factor * 2 ** min(max(retries, 0), _LARGEST_EXPONENT)))
    return int(chance() * (int(delay_s) + 1)) if full_jitter else delay_s


def retry_delay_s(
    backoff: float | bool,
    retries: int,
    maximum: float = 600,
    jitter: bool = True,
    chance: Callable[[], float] = chance,
) -> int | None:
    """Seconds before try number *retries* + 1 of a task, by its ``retry_backoff``; None when that is false.

    True counts as 1, and so does any factor below; factors and the cap are whole seconds.

        retry_delay_s(True, retries=4, jitter=False) == 16
    """
    if not backoff:
        return None
    return int(get_exponential_backoff_interval(int(max(1, backoff)), retries, int(maximum), jitter, chance))
