"""What each signal does to a worker: one table, and the object that carries the wish to stop.

| signal  | first time | again |
|---------|------------|-------|
| SIGTERM | warm: fetch nothing, finish what runs | warm |
| SIGINT  | warm       | cold  |
| SIGQUIT | cold: kill the children, hand their tasks back | cold |

With ``worker_soft_shutdown_timeout`` the first cold one is soft: warm for so many seconds, then cold. In the
environment REMAP_SIGTERM=SIGQUIT makes a SIGTERM a SIGQUIT, for those who send only that and then kill.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Any

from fastq import signals

logger = logging.getLogger("celery.worker")


class Stop(IntEnum):
    """How a worker ends; the higher wins."""

    NOT = 0
    WARM = 1
    SOFT = 2
    COLD = 3
    FAILED = 4

    @property
    def exit_code(self) -> int:
        """0 when all that ran has ended, 1 when it was cut off or the worker failed."""
        return 0 if self in (Stop.WARM, Stop.SOFT) else 1


FIRST = {signal.SIGTERM: Stop.WARM, signal.SIGINT: Stop.WARM, signal.SIGQUIT: Stop.COLD}
AGAIN = {signal.SIGTERM: Stop.WARM, signal.SIGINT: Stop.COLD, signal.SIGQUIT: Stop.COLD}


class StopWish:
    """The wish to stop, from signals or from `ask`; it only ever gets stronger.

    *has_grace* makes the first cold stop that a signal asks for a soft one.
    """

    def __init__(self, *, has_grace: bool = False) -> None:
        self.now = Stop.NOT
        self._has_grace = has_grace
        self.signal: str | None = None
        """The name of the first signal that asked."""
        self.is_silent = False
        """Nothing is written to the terminal, where all lines are a machine's."""
        self._on_wish: list[Callable[[], object]] = []

    def ask(self, how: Stop) -> None:
        """Wish for *how*; safe from signal handlers and other threads."""
        self.now = max(self.now, how)
        for wake in self._on_wish:
            wake()

    def on_wish(self, wake: Callable[[], object]) -> None:
        """Have *wake* called at every wish, so that a sleeping loop looks at it."""
        self._on_wish.append(wake)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Obey the table above inside the block; elsewhere the process's own handlers stay."""
        before: dict[signal.Signals, Any] = {number: signal.signal(number, self._handle) for number in FIRST}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number)
        meant = _remapped(name)
        how = FIRST[meant] if self.now is Stop.NOT else AGAIN[meant]
        if how is Stop.COLD and self._has_grace and self.now < Stop.SOFT:
            how = Stop.SOFT
        self.signal = self.signal or name.name
        if self.is_silent:
            self.ask(how)
            return
        # os.write, since a handler may interrupt a log call that holds the stream's lock
        os.write(2, f"\nworker: {name.name}: {how.name.lower()} shutdown"
                    f"{' (again for a cold one)' if name is signal.SIGINT and how is Stop.WARM else ''}\n".encode())
        self.ask(how)


class Grace:
    """The *seconds* that a soft stop gives to what runs; then it is a cold one."""

    def __init__(self, wish: StopWish, seconds: float) -> None:
        self._wish = wish
        self._seconds = seconds
        self._until: float | None = None

    def look(self) -> None:
        """Begin to count, or end it when the time is over."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self._seconds
            logger.warning("Soft shutdown: what runs has %g s to end", self._seconds)
        elif now >= self._until:
            self._wish.ask(Stop.COLD)

    @property
    def left_s(self) -> float | None:
        """The seconds that are left; None: nothing is counted."""
        return None if self._until is None else max(0.0, self._until - time.monotonic())


class Notice:
    """Says once that the worker *hostname* stops: to the log, and to those who listen."""

    def __init__(self, wish: StopWish, hostname: str) -> None:
        self._wish = wish
        self._hostname = hostname
        self._is_told = False

    def tell(self) -> None:
        """Say it, unless that was done."""
        if not self._is_told:
            self._is_told = True
            now = self._wish.now
            logger.info("%s stops: %s (%s)", self._hostname, now.name.lower(), self._wish.signal or "asked to")
            signals.worker_shutting_down.send(sender=self._hostname, sig=self._wish.signal, how=now.name.title(),
                                              exitcode=now.exit_code)


def _remapped(name: signal.Signals) -> signal.Signals:
    told = os.environ.get("REMAP_SIGTERM", "").upper()
    return signal.SIGQUIT if name is signal.SIGTERM and told in ("SIGQUIT", "QUIT") else name
