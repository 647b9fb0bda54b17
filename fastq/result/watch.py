"""Bars that show how far tasks are, drawn from what they tell with ``update_state``."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastq import states
from fastq.exceptions import TimeoutError
from fastq.result.group import ResultSet, flat, look_at

LOOK_S = 0.1
"""What a task tells is looked for so often: in a store nobody can wait for what is not an end."""


def watch(result: Any, timeout: float | None, file: Any) -> Any:
    """See `AsyncResult.watch`, `ResultSet.watch`."""
    watching = Watching(result, timeout, file)
    with watching.bar:
        while (member := watching.look()) is not None:
            member._store().wait((member.id,), watching.left(member))
    return result.get(disable_sync_subtasks=False)


class Watching:
    """The bar of a task, or of many, and what is drawn there."""

    def __init__(self, result: Any, timeout: float | None, file: Any) -> None:
        self._result = result
        self._deadline = None if timeout is None else time.monotonic() + timeout
        self._is_one = not isinstance(result, ResultSet)
        # Of what is ignored nothing will ever be told.
        self._members = [member for member in flat((result,)) if not member.ignored]
        self.bar = _bar(file)
        name = (result.task_name or result.id) if self._is_one else f"{len(self._members)} tasks"
        self._line = self.bar.add_task(name, total=None if self._is_one else len(self._members))

    def look(self) -> Any:
        """Draw how far it is; return one that has not ended, None when all have."""
        left = self._left()
        self.bar.refresh()
        return left

    def _left(self) -> Any:
        if self._is_one and self._members:
            meta = self._result._look()
            has_ended = meta["status"] in states.READY_STATES
            (self._end if has_ended else self._show)(meta)
            return None if has_ended else self._result
        look_at(self._members)
        left = [member for member in self._members if member._meta is None]
        self.bar.update(self._line, completed=len(self._members) - len(left))
        return left[0] if left else None

    def left(self, member: Any) -> float:
        """Return for how many seconds to wait for *member* before the next look. Raises TimeoutError."""
        left = LOOK_S if self._deadline is None else min(LOOK_S, self._deadline - time.monotonic())
        if left <= 0:
            raise TimeoutError(f"task {member.id} has not ended in time")
        return left

    def _end(self, meta: dict[str, Any]) -> None:
        done = self.bar.tasks[0].total or 1
        self.bar.update(self._line, total=done, completed=done if meta["status"] == states.SUCCESS else None,
                        description=_described(self._result, meta))

    def _show(self, meta: dict[str, Any]) -> None:
        told = meta["result"] if isinstance(meta["result"], dict) else {}
        total, current = told.get("total"), told.get("current")
        self.bar.update(self._line, total=total if isinstance(total, (int, float)) else None,
                        completed=current if isinstance(current, (int, float)) else None,
                        description=_described(self._result, meta))


def _bar(file: Any) -> Progress:
    console = Console(stderr=True) if file is None else Console(file=file)
    make = _Notebook if file is None and console.is_jupyter else Progress
    return make(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                console=console, refresh_per_second=10)


class _Notebook(Progress):
    """A bar in the output of a notebook's cell, without the widgets that rich draws in there."""

    _shown: Any = None

    def start(self) -> None:
        from IPython.display import display  # noqa: PLC0415 - notebooks have it

        self._shown = display(self, display_id=True)

    def refresh(self) -> None:
        if self._shown is not None:
            self._shown.update(self)

    def stop(self) -> None:
        self.refresh()


def _described(result: Any, meta: dict[str, Any]) -> str:
    told = meta["result"] if isinstance(meta["result"], dict) else {}
    text = told.get("description") or told.get("status")
    return f"{result.task_name or result.id} {text if isinstance(text, str) else meta['status']}"
