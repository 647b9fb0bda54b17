"""Time limits: the supervisor looks at the clock, the child only hears about it.

Soft: the child gets SIGUSR1 and raises SoftTimeLimitExceeded inside the task. Hard: the child is
killed, its task is settled as HARD_LIMIT, and a successor takes its place. Where others run beside it in the child, the
task is first told to end by itself, and has a second for it. So it is with one that somebody terminates.
"""

from __future__ import annotations

import logging
import signal

from fastq._ext.ring import Ring
from fastq.pool.children import Children
from fastq.worker.settle import Settler

logger = logging.getLogger("celery.worker.request")

SOFT, HARD, KILL, END = 1, 2, 3, 4
"""What a limit that has passed asks for; the same numbers stand in ext/ring.pyx."""


class TimeLimits:
    """Enforces the limits of everything that runs."""

    def __init__(self, ring: Ring, children: Children, settler: Settler, names: list[str]) -> None:
        self._ring = ring
        self._children = children
        self._settler = settler
        self._names = names

    def enforce(self) -> float | None:
        """Act on every limit that has passed; returns the seconds until the next one, or None."""
        over, due = self._ring.overdue()
        for child, what, task, tag, limit_s in over:
            name = self._names[task]
            if what == END:
                number = signal.Signals(int(limit_s))
                if self._settler.condemn(child, tag, number.name):
                    logger.error("%s did not end when it was told to (%s); killing child %d", name, number.name, child)
                    self._children.signal(child, signal.SIGKILL)
            elif what == KILL:
                if self._settler.condemn(child, tag, limit_s):
                    logger.error("Hard time limit (%ss) exceeded for %s; killing child %d", limit_s, name, child)
                    self._children.signal(child, signal.SIGKILL)
            else:
                logger.warning("%s time limit (%ss) exceeded for %s", "Soft" if what == SOFT else "Hard", limit_s, name)
                self._children.signal(child, signal.SIGUSR1)
        return due
