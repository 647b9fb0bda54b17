"""Workflows of a Celery app, or of one that has its API: the same lines for both."""

# mypy: disable-error-code="untyped-decorator"

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Workflows = tuple[Callable[[int], None], Callable[[int], None], Callable[[str, int, int], None]]
WAIT_S = 120


def furnish(app: Any, canvas: Any) -> Workflows:
    """Give *app* the tasks; return how to send a group, to run a chain, and to run chords in chords (produce.py)."""

    @app.task(name="add", ignore_result=False)
    def add(x: int, y: int = 0) -> int:
        return x + y

    def send_group(n: int) -> None:
        canvas.group(add.s(number, number) for number in range(n)).apply_async()

    def run_chain(n: int) -> None:
        result = canvas.chain([add.s(0, 1), *(add.s(1) for _ in range(n - 1))]).apply_async()
        assert result.get(timeout=WAIT_S, follow_parents=False) == n

    @app.task(name="gather", ignore_result=False)
    def gather(values: list[int]) -> int:
        return sum(values)

    def header(depth: int, width: int, parts: int) -> Any:
        """Chords in the first *parts* members of their headers."""
        inner = [header(depth - 1, width, parts) for _ in range(parts)] if depth > 1 else []
        return canvas.chord([*inner, *(add.s(1, 0) for _ in range(width - len(inner)))], gather.s())

    def body(depth: int, width: int) -> Any:
        """Chords in the bodies of chords; all but the first give each member the sum so far."""
        end = gather.s() if depth == 1 else gather.s() | body(depth - 1, width)
        return canvas.group(add.s(1) for _ in range(width)) | end

    def links(depth: int, width: int) -> Any:
        """Chords that a task follows, each the first member of the header of the next."""
        inner = [links(depth - 1, width)] if depth > 1 else []
        return canvas.group([*inner, *(add.s(1, 0) for _ in range(width - len(inner)))]) | gather.s() | add.s(0)

    def run_nested(shape: str, depth: int, width: int) -> None:
        made = {"cube": lambda: header(depth, width, width), "header": lambda: header(depth, width, 1),
                "body": lambda: add.s(1, 0) | body(depth, width), "links": lambda: links(depth, width)}[shape]()
        made.apply_async().get(timeout=WAIT_S)

    return send_group, run_chain, run_nested
