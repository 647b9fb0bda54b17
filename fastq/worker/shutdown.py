"""What each signal does to a worker: one table, and the object that carries the wish to stop.

| signal  | first time | again |
|---------|------------|-------|
| SIGTERM | warm: fetch nothing, finish what runs | warm |
| SIGINT  | warm       | cold  |
| SIGQUIT | cold: kill the children, hand their tasks back | cold |
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from types import FrameType
from typing import Any

logger = logging.getLogger("celery.worker")


class Stop(IntEnum):
    """How a worker ends; the higher wins."""

    NOT = 0
    WARM = 1
    COLD = 2
    FAILED = 3

    @property
    def exit_code(self) -> int:
        """0 after a warm shutdown, 1 after any other."""
        return 0 if self is Stop.WARM else 1


FIRST = {signal.SIGTERM: Stop.WARM, signal.SIGINT: Stop.WARM, signal.SIGQUIT: Stop.COLD}
AGAIN = {signal.SIGTERM: Stop.WARM, signal.SIGINT: Stop.COLD, signal.SIGQUIT: Stop.COLD}


class StopWish:
    """The wish to stop, from signals or from `ask`; it only ever gets stronger."""

    def __init__(self) -> None:
        self.now = Stop.NOT
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
        how = FIRST[name] if self.now is Stop.NOT else AGAIN[name]
        # os.write, since a handler may interrupt a log call that holds the stream's lock
        os.write(2, f"\nworker: {name.name}: {how.name.lower()} shutdown"
                    f"{' (again for a cold one)' if name is signal.SIGINT and how is Stop.WARM else ''}\n".encode())
        self.ask(how)
