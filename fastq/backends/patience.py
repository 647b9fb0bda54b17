"""How long a connection that is away is waited for, by whoever reads for all."""

from __future__ import annotations

import time

PAUSE_FIRST_S, PAUSE_MOST_S = 0.02, 0.5


class Patience:
    """Counts the time from the first attempt that failed, and paces the attempts. For one thread at a time.

    Example::

        patience = Patience(4.0)
        while not connected(patience.begin()):
            if patience.is_over():
                raise BackendError(...)
            patience.pause(None)
    """

    def __init__(self, most_s: float) -> None:
        self.most_s = most_s
        self.reset()

    def reset(self) -> None:
        """Begin anew: it is there, or was given up."""
        self._since: float | None = None
        self._tried_at = 0.0
        self._pause_s = PAUSE_FIRST_S

    def begin(self) -> float:
        """Note an attempt; returns the seconds that it may take."""
        now = time.monotonic()
        if self._since is None or now - self._tried_at > self.most_s + PAUSE_MOST_S:
            # Nobody has tried before, or not for long.
            self._since, self._pause_s = now, PAUSE_FIRST_S
        return max(self._since + self.most_s - now, PAUSE_MOST_S)

    def is_over(self) -> bool:
        """Note that the attempt failed; returns whether there is no time left for another."""
        self._tried_at = time.monotonic()
        return self._since is not None and self._tried_at - self._since >= self.most_s

    def pause(self, most_s: float | None) -> None:
        """Sleep before the next attempt, longer each time, at most *most_s* seconds."""
        time.sleep(self._pause_s if most_s is None else min(self._pause_s, most_s))
        self._pause_s = min(2 * self._pause_s, PAUSE_MOST_S)
