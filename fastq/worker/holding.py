"""How long deliveries are held: a broker that waits for no ack for ever has to deliver those of long runs anew."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from fastq._ext.ring import Ring
from fastq.worker.settle import Settler

LOOKS = 8
"""How often to look within the time that a delivery may be held."""


class Holding:
    """Has deliveries renewed that are held for *hold_s* seconds: those of runs by a copy, and the others go back.

    Example::

        holding = Holding(ring, settler, transport.caps.hold_s)
        time.sleep(holding.look())
    """

    def __init__(self, ring: Ring, settler: Settler, hold_s: float,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.look_s = hold_s / LOOKS
        self._ring = ring
        self._settler = settler
        self._hold_s = hold_s
        self._clock = clock
        self._look_at = math.inf if math.isinf(hold_s) else 0.0
        self._since: dict[int, float] = {}
        self._waits_since: float | None = None

    def look(self) -> float:
        """Note what is held, and have renewed what is held for too long; returns the seconds until the next look."""
        now = self._clock()
        if now < self._look_at:
            return self.look_s
        self._look_at = now + self.look_s
        known, self._since = self._since, {}
        for tag, _ in self._ring.unsettled():
            self._since[tag] = known.get(tag, now)
        self._settler.renew({tag for tag, since in self._since.items() if now - since >= self._hold_s})
        # Only a window that the user chose keeps messages waiting behind a long run.
        if not self._ring.waiting:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since >= self._hold_s:
            self._waits_since = None
            self._settler.take_back()
        return self.look_s
