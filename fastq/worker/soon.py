"""Messages that fall due within the grain of their broker's clock: they wait here, for a part of a second.

RabbitMQ delays by whole seconds. What comes out up to one early is held, as it was delivered, until its moment. That is
bounded in number and in size; what finds no room goes back to the broker for another second.
"""

from __future__ import annotations

import heapq
import time

from fastq.types import Deliveries, Endings

MOST = 256
LARGEST = 2048
"""Bytes of a message that is held; with `MOST`, half a MiB in all."""

Waiting = tuple[float, int, str, int, bytes]
"""(when it is due, its tag, queue, deaths, content)"""


class Soon:
    """Holds deliveries until they are due. *grain_s* is how far ahead they may be, 0: none is held."""

    def __init__(self) -> None:
        self.grain_s = 0.0
        self.waiting: list[Waiting] = []
        """A heap. Whoever asks often looks whether it is empty, and calls nothing."""

    def hold(self, due: float, now: float, queue: str, tag: int, deaths: int, content: bytes) -> bool:
        """Hold a delivery if it is near and there is room; returns whether."""
        if due - now > self.grain_s or len(self.waiting) >= MOST or len(content) > LARGEST:
            return False
        heapq.heappush(self.waiting, (due, tag, queue, deaths, content))
        return True

    @property
    def due_in(self) -> float | None:
        """Seconds until the next is due; None: nothing waits."""
        return max(0.0, self.waiting[0][0] - time.time()) if self.waiting else None

    def take(self) -> Deliveries:
        """Return what is due, in that order."""
        found: Deliveries = []
        now = time.time()
        while self.waiting and self.waiting[0][0] <= now:
            _, tag, queue, deaths, content = heapq.heappop(self.waiting)
            found.append((queue, [(tag, deaths, content)]))
        return found

    def give_back(self, endings: Endings) -> None:
        """Put everything back where it came from: this worker ends."""
        for _, tag, queue, deaths, content in self.waiting:
            endings.back.append((tag, tag))
            endings.rows[tag] = queue, deaths, content
        self.waiting = []

    def forget(self) -> None:
        """These deliveries are void: the broker gives them to somebody again."""
        self.waiting = []
