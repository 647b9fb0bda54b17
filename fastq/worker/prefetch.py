"""How many deliveries to hold: enough that no child waits, and not one more.

Tasks of a microsecond want hundreds in hand, tasks of a minute none beyond the free children. The
run time is measured, so nobody has to choose. A multiplier that the user set still wins; 1 is a message for each free
child and none beside, which `worker_disable_prefetch` asks for.
"""

from __future__ import annotations

LOOKAHEAD_S = 0.02
"""Work to have in hand per child: a few broker turns, yet too little for anybody to wait behind."""
SMOOTHING = 0.3
QUICK_S = 0.0002
"""A task in a process that was just woken takes some 100 us, whatever it does; waking it costs 60 more."""
MOST_PASSING = 500
"""Deliveries that are asked for beyond the window while all that comes is for later: none of them takes a child."""


class Prefetch:
    """The window of deliveries in hand, from measured run times.

    Example:
        >>> window = Prefetch(children=2, most=1024)
        >>> window.observe(runs=1000, busy_s=0.001)
        >>> window.size
        1024
        >>> for _ in range(20): window.observe(runs=1, busy_s=60.0)
        >>> window.size
        2
    """

    def __init__(self, children: int, most: int, multiplier: int | None = None) -> None:
        self.children = children
        self.most = max(most, children)
        self._fixed = None if multiplier is None else (children * multiplier or self.most)
        self._mean_s: float | None = None
        self._more = 0
        self.size = min(self.most, self._fixed if self._fixed is not None else 2 * children)

    def observe(self, runs: int, busy_s: float) -> None:
        """Take note that *runs* tasks took *busy_s* seconds together."""
        if self._fixed is not None or runs <= 0:
            return
        mean = busy_s / runs
        # Slower is believed at once, since holding too much makes others wait; faster step by step.
        if self._mean_s is None or mean > self._mean_s:
            self._mean_s = mean
        else:
            self._mean_s += (mean - self._mean_s) * SMOOTHING
        ahead = int(LOOKAHEAD_S / self._mean_s) if self._mean_s > 0 else self.most
        self.size = min(self.most, self.children * (1 + ahead))

    def resize(self, children: int) -> None:
        """Work for another number of children from now on."""
        if self._fixed is not None:
            self._fixed = self._fixed // self.children * children
            self.size = min(self.most, self._fixed)
        self.children = children
        self.most = max(self.most, children)
        self.size = max(self.size, min(self.most, children))

    def limit(self, most: int) -> None:
        """Never hold more than *most* from now on."""
        self.most = min(self.most, most)
        self.size = min(self.size, self.most)

    def widen(self, passed: int, before: int, in_hand: int) -> bool:
        """Take note that of the last deliveries *passed* were for later, and the rest made *in_hand* of *before*.

        While all of them are for later many are asked for at once. Returns whether those for now have to go back: more
        of them than the user wants to have in hand.
        """
        more, self._more = self._more, min(MOST_PASSING, self._more + 2 * passed) if in_hand == before else 0
        return more > 0 and self.is_fixed and in_hand > max(self.size, before)

    @property
    def is_fixed(self) -> bool:
        """True when the user chose the window: nothing makes it smaller then, and what it holds stays."""
        return self._fixed is not None

    @property
    def is_quick(self) -> bool:
        """True when the tasks of late were shorter than a wake-up takes."""
        return self._mean_s is not None and self._mean_s < QUICK_S

    def narrow(self) -> None:
        """Hold only what the children run: they have been busy for too long."""
        if self._fixed is None:
            self._mean_s = LOOKAHEAD_S * 2
            self.size = self.children

    def credit(self, in_hand: int) -> int:
        """Return how many deliveries to ask for; 0 until half of the window is used up."""
        return self.size + self._more - in_hand if in_hand <= self.size // 2 or in_hand < self.children else 0
