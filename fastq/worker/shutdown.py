"""What each signal does to a worker: one table, and the object that carries the wish to stop.

| signal  | first time | again |
|---------|------------|-------|
| SIGTERM | warm: fetch nothing, finish what runs | warm |
| SIGINT  | warm       | cold  |
| SIGQUIT | cold: kill the children, hand their tasks back | cold |
| SIGHUP  | warm, then the same command line begins anew; in a terminal only a line in the log | the same |
| SIGUSR1 | where each thread of the supervisor is goes to the log | the same |
| SIGUSR2 | a line in the log, unless the app has a handler for it | the same |

After a SIGHUP any other wish to stop is one to stop for good. With ``worker_soft_shutdown_timeout`` the first cold one
is soft: warm for so many seconds, then cold. In the environment REMAP_SIGTERM=SIGQUIT makes a SIGTERM a SIGQUIT, for
those who send only that and then kill.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Any

from fastq import log, signals
from fastq.worker import restart

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


FIRST = {signal.SIGTERM: Stop.WARM, signal.SIGINT: Stop.WARM, signal.SIGQUIT: Stop.COLD, signal.SIGHUP: Stop.WARM}
AGAIN = {signal.SIGTERM: Stop.WARM, signal.SIGINT: Stop.COLD, signal.SIGQUIT: Stop.COLD, signal.SIGHUP: Stop.WARM}


class StopWish:
    """The wish to stop, from signals or from `ask`; it only ever gets stronger.

    *has_grace* makes the first cold stop that a signal asks for a soft one.
    """

    def __init__(self, *, has_grace: bool = False) -> None:
        self.now = Stop.NOT
        self.restarts = False
        """The worker is to begin anew when it has stopped."""
        self._can_restart = False
        self._has_grace = has_grace
        self.signal: str | None = None
        """The name of the first signal that asked."""
        self.is_silent = False
        """Nothing is written to the terminal, where all lines are a machine's."""
        self._on_wish: list[Callable[[], object]] = []

    def ask(self, how: Stop) -> None:
        """Wish for *how*; safe from signal handlers and other threads."""
        self.now = max(self.now, how)
        if how is not Stop.FAILED:
            self.restarts = False
        for wake in self._on_wish:
            wake()

    def on_wish(self, wake: Callable[[], object]) -> None:
        """Have *wake* called at every wish, so that a sleeping loop looks at it."""
        self._on_wish.append(wake)

    @contextmanager
    def signals(self) -> Iterator[None]:
        """Obey the table above inside the block; elsewhere the process's own handlers stay.

        After a SIGHUP the program begins anew when it exits.
        """
        self._can_restart = restart.is_possible()
        heard = [*FIRST, signal.SIGUSR1]
        if is_ours(signal.getsignal(signal.SIGUSR2)):
            heard.append(signal.SIGUSR2)
        before: dict[signal.Signals, Any] = {number: signal.signal(number, self._handle) for number in heard}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_IGN if self.restarts and number in restart.LEFT_ALONE else handler)
            if self.restarts:
                restart.at_exit()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        name = signal.Signals(number)
        if name is signal.SIGUSR1:
            log.write_now(logger.name, logging.WARNING, f"SIGUSR1: where each thread is\n{_stacks(frame)}")
        elif name is signal.SIGUSR2:
            log.write_now(logger.name, logging.WARNING, "SIGUSR2 means nothing to a worker; it goes on")
        elif name is signal.SIGHUP and not self._can_restart:
            log.write_now(logger.name, logging.WARNING, "SIGHUP restarts no worker that was started in a terminal, or"
                          " whose command line is unknown; it goes on")
        elif name is signal.SIGHUP and self.now is not Stop.NOT and not self.restarts:
            log.write_now(logger.name, logging.WARNING, "SIGHUP does not restart a worker that stops; it stops")
        else:
            self._obey(name)

    def _obey(self, name: signal.Signals) -> None:
        meant = _remapped(name)
        how = FIRST[meant] if self.now is Stop.NOT else AGAIN[meant]
        if how is Stop.COLD and self._has_grace and self.now < Stop.SOFT:
            how = Stop.SOFT
        self.signal = self.signal or name.name
        self.ask(how)
        self.restarts = name is signal.SIGHUP
        if not self.is_silent:
            then = {signal.SIGHUP: ", then a new start", signal.SIGINT: " (again for a cold one)"}.get(name, "")
            log.write_raw(f"\nworker: {name.name}: {how.name.lower()} shutdown{then if how is Stop.WARM else ''}\n")


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


def is_ours(handler: Any) -> bool:
    """Whether a handler of a signal is a worker's, or nobody's: then the app has none."""
    return handler in (signal.SIG_DFL, signal.SIG_IGN) or isinstance(getattr(handler, "__self__", None), StopWish)


def _remapped(name: signal.Signals) -> signal.Signals:
    told = os.environ.get("REMAP_SIGTERM", "").upper()
    return signal.SIGQUIT if name is signal.SIGTERM and told in ("SIGQUIT", "QUIT") else name


def _stacks(frame: FrameType | None) -> str:
    """Return where each thread is, the main one in *frame*."""
    frames, names = sys._current_frames(), {thread.ident: thread.name for thread in threading.enumerate()}
    if frame is not None:
        frames[threading.get_ident()] = frame       # below it there is only this
    return "\n".join(f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(where)).rstrip()}"
                     for ident, where in frames.items())
