"""How long a busy worker lets deliveries and endings gather before it looks again.

A turn that moves a handful costs as much as one that moves two hundred, and the broker wants the CPU that it takes. So
the pause follows the rate: longer while little comes in each, shorter while much does, and none at all where a turn is
full without one, or where so little comes that each message is worth a turn.
"""

from __future__ import annotations

FULL = 192
"""Messages that a turn should move: then what it costs by itself is little beside them."""
AT = 8
"""A turn that moves fewer is followed by no pause."""
RATE = 8000.0
"""Nor is one that moves fewer than so many a second."""
FIRST_S, MOST_S, LEAST_S = 0.0005, 0.002, 0.0001
"""A sleep shorter than the last is not worth its system call."""


class Pace:
    """The pause before the next turn.

    Example:
        >>> pace = Pace()
        >>> pace.after(0, window=1024), pace.after(20, window=1024)
        (None, 0.00075)
        >>> [pace.after(400, window=1024) for _ in range(6)][-1]
        0.0
    """

    def __init__(self) -> None:
        self._s = FIRST_S

    def after(self, moved: int, window: int) -> float | None:
        """Return the seconds to sleep after a turn that *moved* so many messages, of a *window* in hand.

        0: none, but look again whether anything was heard or not. None: there is no load. Should the window be what
        bounds a turn, there is no more to wait for than a quarter of it: the broker has to hear of what ended before it
        is out of room.
        """
        if moved < AT or moved < self._s * RATE:
            self._s = FIRST_S
            return None
        full = min(FULL, window // 4)
        self._s = min(MOST_S, max(LEAST_S, self._s * min(1.5, max(0.5, full / moved))))
        return self._s if self._s > LEAST_S else 0.0
