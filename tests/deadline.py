"""How tests wait: on a condition, with a deadline, never for a time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], timeout: float = 10.0, *, what: str = "") -> T:
    """Ask *condition* until it answers with something true, and return that.

    Raises AssertionError after *timeout* seconds; *what* says in the message what was awaited.
    """
    deadline, pause_s = time.monotonic() + timeout, 0.0005
    while not (answer := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout} s in vain for {what or getattr(condition, '__name__', condition)}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.02)
    return answer
