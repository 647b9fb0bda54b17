"""Messages one death short of their limit: a worker holds one of them at a time.

Of two in one hand, each would be condemned by a death that the other caused. Others run beside it: they have deaths
left.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from fastq._ext.amqp import Rows
from fastq.types import Deliveries

Row = tuple[int, int, bytes]


class Trials:
    """Those that wait for their trial, and the one on trial; *limit* is how many deaths a message may cause."""

    def __init__(self, limit: int) -> None:
        self._last = range(max(1, limit - 1), limit)
        self._waiting: deque[tuple[str, Row]] = deque()
        self._tag: int | None = None

    def sift(self, deliveries: Deliveries) -> Deliveries:
        """Take those to be tried out of *deliveries*."""
        sifted: Deliveries = []
        for queue, rows in deliveries:
            if not isinstance(rows, Rows) or not rows.marked:
                sifted.append((queue, rows))
                continue
            # One that is flagged besides is not run as it is, whatever its deaths.
            others = [row for row in rows if row[1] not in self._last]
            self._waiting.extend((queue, row) for row in rows if row[1] in self._last)
            if others:
                sifted.append((queue, others))
        return sifted

    def is_due(self, is_held: Callable[[int], bool]) -> bool:
        """Whether `next` has one to give."""
        return bool(self._waiting) and (self._tag is None or not is_held(self._tag))

    def next(self, is_held: Callable[[int], bool]) -> Deliveries:
        """Return the next one to try, unless one is on trial; *is_held* tells whether a tag is."""
        if not self.is_due(is_held):
            return []
        queue, row = self._waiting.popleft()
        self._tag = row[0]
        return [(queue, [row])]

    def give_back(self) -> Deliveries:
        """Let go of those that wait."""
        given: Deliveries = [(queue, [row]) for queue, row in self._waiting]
        self._waiting.clear()
        return given
