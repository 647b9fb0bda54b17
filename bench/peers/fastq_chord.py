"""A chord on fastq, for the peers whose result store joins: they differ in nothing but their addresses."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from fastq import chord as group_of


def furnish(app: Any) -> Callable[[int], float]:
    """Give *app* the tasks; return what sends a chord of so many, waits, and says when all was sent (seconds)."""

    @app.task(name="chord_add")
    def add(x: int, y: int) -> int:
        return x + y

    @app.task(name="chord_total")
    def total(values: list[int]) -> int:
        return sum(values)

    def chord(size: int) -> float:
        result = group_of((add.s(place, place) for place in range(size)), total.s()).apply_async()
        sent = time.perf_counter()
        assert result.get(timeout=300) == size * (size - 1)
        return sent

    return chord
