"""The tasks that every worker has, under the names that Celery's clients and schedules know."""

from __future__ import annotations

from typing import Any

from fastq.app.unlock import chord_unlock
from fastq.canvas.signature import signature


def backend_cleanup(self: Any) -> int:
    """Drop expired results, and say how many."""
    dropped = 0
    while pruned := self.app.backend.prune():
        dropped += pruned
    return dropped


def xmap(self: Any, task: Any, it: Any) -> list[Any]:
    """Call one task for every item."""
    run = signature(task, app=self.app).type
    return [run(item) for item in it]


def xstarmap(self: Any, task: Any, it: Any) -> list[Any]:
    """Call one task for every list of arguments."""
    run = signature(task, app=self.app).type
    return [run(*item) for item in it]


def accumulate(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Return the arguments, or the one that *index* names."""
    index = kwargs.get("index")
    return args if index is None else args[index]


TASKS = {
    "celery.backend_cleanup": backend_cleanup,
    "celery.map": xmap,
    "celery.starmap": xstarmap,
    "celery.accumulate": accumulate,
    "celery.chord_unlock": chord_unlock,
}


_SILENT = frozenset(("celery.backend_cleanup", "celery.chord_unlock"))
# What it sends leaves with its ack; and it looks for results as long as it takes.
_OPTIONS: dict[str, Any] = {"celery.chord_unlock": {"acks_late": True, "max_retries": None}}


def add_builtins(app: Any) -> None:
    """Register them with *app*, which keeps those of its own that have such a name."""
    for name, fun in TASKS.items():
        if name not in app._tasks:
            app.task_from_fun(fun, name=name, bind=True, ignore_result=name in _SILENT, **_OPTIONS.get(name, {}))
