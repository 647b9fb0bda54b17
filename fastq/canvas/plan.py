"""A plan: the messages that a workflow starts with, worked out before the first of them is sent.

A workflow adds its messages to a plan (`Signature.plan`), and the app sends them: a client at once, and many in
few large steps; a worker together with the ack of the task that they follow.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

from fastq.result import AsyncResult


class Call(NamedTuple):
    """One message to send. Calls of one group may share *options*, which nobody changes then."""

    name: str
    type: Any
    """The task, where this process has it."""
    args: Any
    kwargs: Any
    options: dict[str, Any]
    """Without the id and the place in a group, which stand here."""
    task_id: str
    group_index: int | None


class Open(NamedTuple):
    """A chord that the store must know of before the first of its members is sent."""

    group_id: str
    size: int
    nested: Any
    """The result of the header, if a member is itself a group, so that the body gets lists in its list."""
    plan: bytes = b""
    """What the store keeps of the body (`fastq.wire.chord`), when the members only point to it."""


class Rest(NamedTuple):
    """What the store keeps of a chain under *ref*: steps as they travel, in blocks from number 1 on."""

    ref: str
    blocks: list[bytes]


class Plan:
    """What to open, and what to send, in this order.

    With *inline* each message carries the rest of the workflow; without, the store keeps it.
    """

    def __init__(self, app: Any, *, inline: bool = True) -> None:
        self.app = app
        self.inline = inline
        self.calls: list[Call] = []
        self.opens: list[Open] = []
        self.rests: list[Rest] = []
        self.trail: Any = None
        """The result that a parent remembers as its child."""
        self._ignored: dict[str, bool] = {}
        self.new_id = cast("Callable[[], str]", app.new_id)

    def call(self, name: str, task: Any, args: Any, kwargs: Any, options: dict[str, Any]) -> Any:
        """Add one task, and return its result to be."""
        options = dict(options)
        task_id = options.pop("task_id", None) or self.new_id()
        self.calls.append(Call(name, task, args, kwargs, options, task_id, options.pop("group_index", None)))
        result = self.trail = self.result(name, task, task_id, options)
        return result

    def result(self, name: str, task: Any, task_id: str, options: Mapping[str, Any]) -> Any:
        """Return the handle on a result, by the task's own `AsyncResult` if it has one."""
        if task is not None and task.has_own("AsyncResult"):
            return task.AsyncResult(task_id)
        ignored = options.get("ignore_result")
        if ignored is None:
            if name not in self._ignored:
                self._ignored[name] = task is not None and bool(task.ignore_result)
            ignored = self._ignored[name]
        return AsyncResult(task_id, None, name, self.app, None, bool(ignored))


def opening(group_id: str, size: int, result: Any, plan: bytes = b"") -> Open:
    """Return how to open a chord of *size* members, whose header has this *result*."""
    nested = any(not isinstance(member, AsyncResult) for member in result.results)
    return Open(group_id, size, result if nested else None, plan)
