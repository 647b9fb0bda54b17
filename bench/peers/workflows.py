"""Workflows of a Celery app, or of one that has its API: the same lines for both."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Workflows = tuple[Callable[[int], None], Callable[[int], None]]
WAIT_S = 120


def furnish(app: Any, canvas: Any) -> Workflows:
    """Give *app* the tasks, and return how to send a group and how to run a chain (see produce.py)."""

    @app.task(name="add", ignore_result=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    def send_group(n: int) -> None:
        canvas.group(add.s(number, number) for number in range(n)).apply_async()

    def run_chain(n: int) -> None:
        result = canvas.chain([add.s(0, 1), *(add.s(1) for _ in range(n - 1))]).apply_async()
        assert result.get(timeout=WAIT_S, follow_parents=False) == n

    return send_group, run_chain
