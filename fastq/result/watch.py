"""Bars that show how far tasks are, drawn from what they tell with ``update_state``."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastq import states
from fastq.exceptions import TimeoutError
from fastq.result.group import flat, look_at

LOOK_S = 0.1
"""What a task tells is looked for so often: in a store nobody can wait for what is not an end."""


def watch(result: Any, timeout: float | None, file: Any) -> Any:
    """See `AsyncResult.watch`."""
    if result.ignored:
        return None     # nothing will ever be told of it
    deadline = None if timeout is None else time.monotonic() + timeout
    with _bar(file) as bar:
        line = bar.add_task(result.task_name or result.id, total=None)
        while True:
            meta = result._look()
            if meta["status"] in states.READY_STATES:
                done = bar.tasks[0].total or 1
                bar.update(line, total=done, completed=done if meta["status"] == states.SUCCESS else None,
                           description=_described(result, meta))
                break
            _show(bar, line, result, meta)
            _until(result._store(), (result.id,), deadline, result.id)
    return result.get(disable_sync_subtasks=False)


def watch_many(results: Any, timeout: float | None, file: Any) -> Any:
    """See `ResultSet.watch`."""
    deadline = None if timeout is None else time.monotonic() + timeout
    members = [member for member in flat(results) if not member.ignored]
    with _bar(file) as bar:
        line = bar.add_task(f"{len(members)} tasks", total=len(members))
        while True:
            look_at(members)
            left = [member for member in members if member._meta is None]
            bar.update(line, completed=len(members) - len(left))
            if not left:
                break
            _until(left[0]._store(), (left[0].id,), deadline, left[0].id)
    return results.get(disable_sync_subtasks=False)


def _bar(file: Any) -> Progress:
    console = Console(stderr=True) if file is None else Console(file=file)
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
                    console=console, refresh_per_second=10)


def _show(bar: Progress, line: Any, result: Any, meta: dict[str, Any]) -> None:
    told = meta["result"] if isinstance(meta["result"], dict) else {}
    total, current = told.get("total"), told.get("current")
    bar.update(line, total=total if isinstance(total, (int, float)) else None,
               completed=current if isinstance(current, (int, float)) else None,
               description=_described(result, meta))


def _described(result: Any, meta: dict[str, Any]) -> str:
    told = meta["result"] if isinstance(meta["result"], dict) else {}
    text = told.get("description") or told.get("status")
    return f"{result.task_name or result.id} {text if isinstance(text, str) else meta['status']}"


def _until(store: Any, task_ids: tuple[str, ...], deadline: float | None, first: str) -> None:
    left = LOOK_S if deadline is None else min(LOOK_S, deadline - time.monotonic())
    if left <= 0:
        raise TimeoutError(f"task {first} has not ended in time")
    store.wait(task_ids, left)
