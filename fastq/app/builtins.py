"""The tasks that every worker has, under the names that Celery's clients and schedules know."""

from __future__ import annotations

from typing import Any

from fastq.app.parts import GO_ON
from fastq.app.rest import go_on
from fastq.app.unlock import chord_unlock
from fastq.canvas.signature import Signature, signature
from fastq.exceptions import Unsupported
from fastq.wire import rest


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


def chunks(self: Any, task: Any, it: Any, n: int) -> Any:
    """Call one task for every list of arguments, *n* of them in a message."""
    return Signature.part("maps").chunks.apply_chunks(task, it, n, app=self.app).as_tuple()


def group(self: Any, tasks: Any, result: Any = None, group_id: Any = None, partial_args: Any = (),
          add_to_parent: bool = True) -> Any:
    """Send many tasks, as an old client asks for it."""
    members = Signature.part("groups").group(tasks, app=self.app)
    sent = members.apply_async(partial_args, task_id=group_id, add_to_parent=add_to_parent)
    return sent.as_tuple() if result is None else result


def chain(self: Any, *args: Any, **kwargs: Any) -> Any:
    """Refuse: a chain is no task, its first step is."""
    raise Unsupported("celery.chain is not a task: send the first step of the chain, which carries the others")


def chord(self: Any, header: Any, body: Any, partial_args: Any = (), interval: Any = None, countdown: Any = 1,
          max_retries: Any = None, eager: bool = False, **kwargs: Any) -> Any:
    """Send a header and its body, as an old client asks for it."""
    made = Signature.part("chords").chord(header, signature(body, app=self.app), app=self.app)
    return made.apply_async(partial_args, kwargs).as_tuple()


TASKS = {
    "celery.backend_cleanup": backend_cleanup,
    "celery.map": xmap,
    "celery.starmap": xstarmap,
    "celery.accumulate": accumulate,
    "celery.chord_unlock": chord_unlock,
    "celery.chunks": chunks,
    "celery.group": group,
    "celery.chain": chain,
    "celery.chord": chord,
    rest.TASK: go_on,
}


_SILENT = GO_ON | {"celery.backend_cleanup"}
# What it sends leaves with its ack; and it looks for results as long as it takes.
_OPTIONS: dict[str, Any] = {name: {"acks_late": True, "max_retries": None} for name in GO_ON}


def add_builtins(app: Any) -> None:
    """Register them with *app*, which keeps those of its own that have such a name."""
    for name, fun in TASKS.items():
        if name not in app._tasks:
            app.task_from_fun(fun, name=name, bind=True, ignore_result=name in _SILENT, **_OPTIONS.get(name, {}))
