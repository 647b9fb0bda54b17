"""Rate limits: when the next run of a task may start in this worker.

Who has to wait, waits in the broker as a future task, each at a moment of its own: nothing is held here, and nobody
behind it waits. A moment once given is kept, so that a message that comes back runs then.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

from fastq._ext.ring import Ring
from fastq.exceptions import ConfigError

HORIZON_S = 60.0
"""Moments are given so far ahead at most, and kept."""
FAR_S = 600.0
"""Who comes later asks again at its turn, or after so long where that is further off: a new rate is obeyed by then."""
SLACK_S = 10.0
"""Who asks at its turn may find that others were before it, by so much: it starts after them."""
STEP_S = 0.0001
"""Those that are to ask after `FAR_S` do so one after the other, in the order in which they came."""
_PER = {"s": 1.0, "m": 60.0, "h": 3600.0}
_RATE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:/\s*([smh]))?\s*")


def seconds_between(rate: str | float | None) -> float | None:
    """Return the seconds between two starts at *rate*: a number a second, or text as "100/m"; None: no limit.

    Raises ConfigError.

    Example:
        >>> seconds_between("120/m")
        0.5
    """
    if not rate:
        return None
    if isinstance(rate, (int, float)) and rate > 0:
        return 1.0 / rate
    match = _RATE.fullmatch(str(rate))
    if match is None:
        raise ConfigError(f"rate limit {rate!r} is no rate: write runs a second, or as '10/s', '5/m', '5/h'")
    count = float(match[1])
    return _PER[match[2] or "s"] / count if count else None


class Rate:
    """The moments of one task."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._next = 0.0
        """The first moment that is nobody's."""
        self._later = 0.0
        """The first at which nobody asks again."""
        self._far = 0.0
        """The last at which somebody asks who was sent far off."""
        self._far_until = 0.0
        """When the first of these asks: before that all who come are sent behind them."""
        self._given: OrderedDict[str, float] = OrderedDict()

    def moment(self, task_id: str, now: float) -> float:
        """Return when the task of this message may start: not after *now*, or the moment to wait for."""
        given = self._given.get(task_id)
        if given is not None:
            if given <= now:
                del self._given[task_id]
            return given
        while self._given and next(iter(self._given.values())) < now - HORIZON_S:
            self._given.popitem(last=False)     # another worker has run it
        at = max(now, self._next)
        # While others wait behind the horizon, nobody who comes anew is given a moment before theirs.
        if at > now + (HORIZON_S if self._later <= at else max(SLACK_S, self._every_s)):
            return self._ask_at(at, now)
        self._next = at + self._every_s
        if at > now:
            self._given[task_id] = at
        return at

    def _ask_at(self, at: float, now: float) -> float:
        """Return when one has to ask again that could not start before *at*: no two ask for the same moment."""
        at = max(at, self._later)
        if now >= self._far_until and at <= now + FAR_S:
            self._later = at + self._every_s
            return at
        self._far = max(self._far, now + FAR_S) + STEP_S
        if now >= self._far_until:
            self._far_until = self._far
        return self._far


class Rates:
    """The rate limits of a worker's tasks, which may change while it runs."""

    def __init__(self, ring: Ring, names: Sequence[str], *, is_off: bool = False) -> None:
        self._ring = ring
        self._rows = {name: row for row, name in enumerate(names)}
        self._rates: dict[str, Rate] = {}
        self._is_off = is_off

    def set(self, name: str, rate: str | float | None) -> None:
        """Limit the task *name* to *rate*; None or 0 is no limit. Raises ConfigError, KeyError for an unknown task."""
        row = self._rows[name]
        try:
            every_s = seconds_between(rate)
        except ConfigError as error:
            raise ConfigError(f"task {name}: {error}") from None
        self._rates.pop(name, None)
        if every_s is not None and not self._is_off:
            self._rates[name] = Rate(every_s)
        self._ring.set_rated(row, name in self._rates)

    def moment(self, headers: Mapping[str, Any], now: float) -> float:
        """Return when the task of a message with *headers* may start."""
        rate = self._rates.get(headers["task"])
        return now if rate is None else rate.moment(headers["id"], now)
