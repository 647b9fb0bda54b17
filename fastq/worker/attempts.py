"""When to try the broker again: pauses that grow, with jitter, so that a fleet does not come back as one."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from fastq import backoff

logger = logging.getLogger("celery.worker")

FIRST_S, MOST_S = 0.1, 5.0


class Attempts:
    """Counts what failed in a row. *limit* is how many failures are borne, 0 for any number.

    Example:
        >>> attempts = Attempts(chance=lambda: 1.0)
        >>> [attempts.failed() for _ in range(3)]
        [0.1, 0.2, 0.4]
    """

    def __init__(self, limit: int = 0, *, chance: Callable[[], float] = backoff.chance,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._chance = chance
        self._clock = clock
        self._next_at = 0.0
        self.failures = 0

    @property
    def wait_s(self) -> float:
        """Seconds until the next attempt, 0.0 when it is due."""
        return max(0.0, self._next_at - self._clock())

    @property
    def is_over(self) -> bool:
        """True when there were as many failures as are borne."""
        return 0 < self._limit <= self.failures

    def failed(self) -> float:
        """Take note of a failure; returns the pause in seconds, from half of its length at random to all of it."""
        pause_s = min(MOST_S, FIRST_S * (1 << min(self.failures, 16))) * (0.5 + 0.5 * self._chance())
        self.failures += 1
        self._next_at = self._clock() + pause_s
        return pause_s

    def go_on(self, error: Exception) -> bool:
        """Take note of a failure and log *error*; returns whether there is to be another attempt."""
        pause_s = self.failed()
        if self.is_over:
            logger.critical("%s; given up after %d attempts (broker_connection_max_retries)", error, self.failures)
        else:
            logger.error("%s; trying again in %.2f s", error, pause_s)
        return not self.is_over

    def succeeded(self) -> None:
        """Begin anew."""
        self.failures, self._next_at = 0, 0.0
