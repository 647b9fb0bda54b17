"""Calls that a program asks for at a later moment: made by the supervisor, between two turns of its loop."""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import count
from typing import Any

logger = logging.getLogger("celery.worker")


class Entry:
    """One call; `cancel` takes it back."""

    __slots__ = ("args", "every_s", "function", "is_cancelled", "kwargs")

    def __init__(self, function: Callable[..., object], args: Iterable[Any], kwargs: Mapping[str, Any] | None,
                 every_s: float | None) -> None:
        self.function = function
        self.args = tuple(args)
        self.kwargs = dict(kwargs or {})
        self.every_s = every_s
        self.is_cancelled = False

    def cancel(self) -> None:
        """Do not make it, or not again."""
        self.is_cancelled = True

    def __call__(self) -> None:
        try:
            self.function(*self.args, **self.kwargs)
        except Exception:
            logger.exception("a call by the worker's timer failed: %r", self.function)


class Timer:
    """The calls of one worker. Any thread may ask for one.

    Times are in seconds. *priority* is Celery's and says nothing here: what is due first is called first.
    """

    def __init__(self) -> None:
        self.wake: Callable[[], object] = _nothing
        """Ends the supervisor's sleep."""
        self._lock = threading.Lock()
        self._numbers = count()
        self._waiting: list[tuple[float, int, Entry]] = []

    def call_after(self, secs: float, fun: Callable[..., object], args: Iterable[Any] = (),
                   kwargs: Mapping[str, Any] | None = None, priority: int = 0) -> Entry:
        """Call *fun* in so many seconds."""
        return self._enter(time.monotonic() + secs, Entry(fun, args, kwargs, None))

    def call_at(self, eta: float, fun: Callable[..., object], args: Iterable[Any] = (),
                kwargs: Mapping[str, Any] | None = None, priority: int = 0) -> Entry:
        """Call *fun* at *eta*, a Unix time."""
        return self.call_after(eta - time.time(), fun, args, kwargs)

    def call_repeatedly(self, secs: float, fun: Callable[..., object], args: Iterable[Any] = (),
                        kwargs: Mapping[str, Any] | None = None, priority: int = 0) -> Entry:
        """Call *fun* every so many seconds, the first time in so many from now, until the entry is cancelled."""
        return self._enter(time.monotonic() + secs, Entry(fun, args, kwargs, secs))

    def cancel(self, entry: Entry) -> None:
        """Do not make a call, or not again."""
        entry.cancel()

    def clear(self) -> None:
        """Make no call any more."""
        with self._lock:
            self._waiting.clear()

    def _enter(self, at: float, entry: Entry) -> Entry:
        with self._lock:
            heapq.heappush(self._waiting, (at, next(self._numbers), entry))
            is_next = self._waiting[0][2] is entry
        if is_next:
            self.wake()
        return entry

    @property
    def due_in(self) -> float | None:
        """Seconds until the next call; None when there is none."""
        if not self._waiting:
            return None     # without the lock: each turn of the loop asks
        with self._lock:
            return max(0.0, self._waiting[0][0] - time.monotonic()) if self._waiting else None

    def go(self) -> None:
        """Make the calls that are due, each once, however late it is."""
        if not self._waiting:
            return
        now, due = time.monotonic(), []
        with self._lock:
            while self._waiting and self._waiting[0][0] <= now:
                due.append(heapq.heappop(self._waiting))
        for at, _, entry in due:
            if entry.is_cancelled:
                continue
            entry()
            if entry.every_s is not None and not entry.is_cancelled:
                self._enter(max(at + entry.every_s, now), entry)


def _nothing() -> None:
    """There is no sleep yet."""
