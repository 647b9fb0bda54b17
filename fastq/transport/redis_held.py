"""What a worker has in hand, as runs of consecutive tags: a batch is one run, whatever its size."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable

from fastq.exceptions import NotHeld

Runs = Iterable[tuple[int, int]]


class Held:
    """Tags that are held.

    Example:
        >>> held = Held()
        >>> held.add(1, 5)
        >>> held.remove(2, 3)
        >>> len(held), held.holds(4, 5), held.holds(3, 5)
        (3, True, False)
    """

    __slots__ = ("_count", "_firsts", "_lasts")

    def __init__(self) -> None:
        self._firsts: list[int] = []
        self._lasts: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, first: int, last: int) -> None:
        """Hold the tags from *first* to *last*; none of them is held yet."""
        at = bisect_right(self._firsts, first)
        self._count += last - first + 1
        if at and self._lasts[at - 1] == first - 1:
            self._lasts[at - 1] = last
        else:
            self._firsts.insert(at, first)
            self._lasts.insert(at, last)

    def holds(self, first: int, last: int) -> bool:
        """Whether all of the tags are held."""
        while first <= last:
            at = bisect_right(self._firsts, first) - 1
            if at < 0 or self._lasts[at] < first:
                return False
            first = self._lasts[at] + 1
        return True

    def check(self, runs: Runs) -> None:
        """Raise NotHeld when a tag is not held."""
        for first, last in runs:
            if not self.holds(first, last):
                raise NotHeld(f"deliveries {first} to {last} are not held here; they ended, or are others' now")

    def remove(self, first: int, last: int) -> None:
        """Let go of tags, all of them held."""
        self._count -= last - first + 1
        while first <= last:
            at = bisect_right(self._firsts, first) - 1
            begin, end = self._firsts[at], self._lasts[at]
            del self._firsts[at], self._lasts[at]
            if last < end:
                self._firsts.insert(at, last + 1)
                self._lasts.insert(at, end)
            if begin < first:
                self._firsts.insert(at, begin)
                self._lasts.insert(at, first - 1)
            first = end + 1
