"""What a broker that answers nothing has cost a caller, so that the next does not pay it again."""

from __future__ import annotations

import time

from fastq.exceptions import OperationalError


class Outage:
    """Remembers an error that took at least half of *most_s* seconds, for so many seconds. Example::

        outage.check()
        began = time.monotonic()
        try:
            connect()
        except OperationalError as error:
            outage.note(error, began)
            raise
        outage.end()
    """

    def __init__(self, most_s: float) -> None:
        self._most_s = most_s
        self._last: tuple[OperationalError, float] | None = None

    def note(self, error: OperationalError, began: float) -> None:
        """Take in what an attempt ended in that *began* then, of the monotonic clock."""
        if time.monotonic() - began >= self._most_s / 2:
            self._last = error, time.monotonic() + self._most_s

    def check(self) -> None:
        """Raise what took so long, if that is not long ago."""
        last = self._last
        if last is not None and time.monotonic() < last[1]:
            raise last[0].with_traceback(None)

    def end(self) -> None:
        """Forget it: the broker answers."""
        self._last = None
