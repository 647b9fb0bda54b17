"""How many children a worker has that was given a range: more while all are busy, fewer when some were long idle."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

GROW_S = 0.25
"""Between two steps up: time for what was started to take something."""
KEEPALIVE_S = 30.0
"""Celery's, and so is the variable AUTOSCALE_KEEPALIVE that changes it."""


class Autoscaler:
    """Decides about the number of children, between *least* and *most*, each of which runs *each* tasks at a time.

    Example:
        >>> now = [0.0]
        >>> scaler = Autoscaler((8, 1), 1, clock=lambda: now[0], keepalive_s=30)
        >>> scaler.wanted(1, in_hand=1)
        2
        >>> scaler.wanted(2, in_hand=2), scaler.wanted(2, in_hand=0)
        (2, 2)
        >>> now[0] = 31.0
        >>> scaler.wanted(2, in_hand=0)
        1
    """

    def __init__(self, bounds: tuple[int, int], each: int, *, clock: Callable[[], float] = time.monotonic,
                 keepalive_s: float | None = None) -> None:
        self.most, self.least = bounds
        self._each = each
        self._clock = clock
        self._keepalive_s = keepalive_s if keepalive_s is not None else float(
            os.environ.get("AUTOSCALE_KEEPALIVE") or KEEPALIVE_S)
        self._grown_at = float("-inf")
        self._needed_at = clock()

    def due_s(self, size: int) -> float | None:
        """Return the seconds until one of *size* children may leave; None when none does."""
        return max(0.0, self._needed_at + self._keepalive_s - self._clock()) if size > self.least else None

    def wanted(self, size: int, in_hand: int) -> int:
        """Return how many children there are to be, when there are *size* and so many tasks are in hand."""
        now = self._clock()
        if in_hand > (size - 1) * self._each:
            self._needed_at = now
        if in_hand >= size * self._each:
            if size < self.most and now - self._grown_at >= GROW_S:
                self._grown_at = now
                return min(self.most, max(size + 1, size * 2))
        elif size > self.least and now - self._needed_at >= self._keepalive_s:
            self._needed_at = now
            return size - 1
        return size
