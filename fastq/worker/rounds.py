"""When the children are looked after: at every call for it, on a beat while there is work, and once more before a rest.

It costs some system calls for each child, more than a short task takes; time limits, and the calls that the app's
steps ask for, are looked at every time.
"""

from __future__ import annotations

import math
import time

from fastq.worker.staff import Staff
from fastq.worker.timer import Timer

BEAT_S = 0.005


class Rounds:
    """The rounds of one worker; one without a staff has nobody to look after."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self.staff: Staff | None = None
        self._next_at = 0.0
        self._due_at = math.inf
        self._is_calm = False

    def call(self) -> None:
        """Go next time in any case: the end of a child may be what woke this process."""
        self._next_at = 0.0

    def moved(self) -> None:
        """Take note that something came or ended: before a long rest, look once more."""
        self._is_calm = False

    def go(self) -> float | None:
        """Look after all of them; returns the seconds until there is more to do, or None. Raises PoolError."""
        self._timer.go()
        now = time.monotonic()
        self._next_at, self._due_at, self._is_calm = now + BEAT_S, math.inf, True
        if self.staff is None:
            return self._timer.due_in
        if (due := self.staff.tend()) is not None:
            self._due_at = now + max(0.0, due)
        return self._sooner(self.staff.enforce(), self._timer.due_in)

    def pass_by(self, now: float) -> float | None:
        """The same, but for the limits only when it is time for that."""
        if now >= self._next_at:
            return self.go()
        self._timer.go()
        return self.staff.enforce() if self.staff else None

    def rest_s(self) -> float:
        """The seconds that may be slept as far as children and limits are concerned; without bound: inf."""
        limit_s, call_s = self.staff.enforce() if self.staff else None, self._timer.due_in
        left_s = (self._due_at if self._is_calm else self._next_at) - time.monotonic()
        return min(wait for wait in (left_s, limit_s, call_s) if wait is not None)

    def _sooner(self, *waits: float | None) -> float | None:
        left_s = max(0.0, self._due_at - time.monotonic())
        least_s = min(wait for wait in (left_s, *waits) if wait is not None)
        return None if least_s == math.inf else least_s
