"""A chain too long to travel whole: the result store keeps it in blocks, and messages carry one of them.

A step carries the steps of its block that are behind it, and a pointer to the next block.
"""

from __future__ import annotations

from typing import Any

from fastq._ext.envelope import dumps
from fastq.canvas.plan import Plan, Rest
from fastq.exceptions import ImproperlyConfigured
from fastq.wire.rest import is_pointer, pointer

LEAST = 8192
"""What is behind the first step travels whole up to so many bytes: the store costs a message and two calls."""
BLOCK = 2048
"""A block has at least so many bytes, and half of it is carried on average."""


def shortened(plan: Plan, behind: list[Any]) -> list[Any]:
    """Return what the first step of a chain carries of *behind*, which travels in reverse: the next one is the last.

    What it does not carry is added to *plan*, for the store to keep.
    """
    if plan.inline or len(behind) < 3 or not _keeps(plan.app):
        return behind
    encoded = [None if _has_serializer(step) else dumps(step) for step in behind]
    if None in encoded or sum(map(len, filter(None, encoded))) <= LEAST:
        return behind
    ref, blocks = plan.new_id(), _cut(behind, [raw or b"" for raw in encoded])
    end = _membership(behind[0])
    pointers = [pointer(_id_of(behind[last]), ref, number, end=end) for number, (_, last) in enumerate(blocks)]
    kept = []
    for number, (first, last) in enumerate(blocks):
        steps = [raw or b"" for raw in encoded[first:last + 1]]
        if number + 1 < len(blocks):
            steps.insert(0, dumps(pointers[number + 1]) or b"")
        kept.append(b"[" + b", ".join(steps) + b"]")
    if len(blocks) == 1:
        return behind
    plan.rests.append(Rest(ref, kept[1:]))
    return [pointers[1], *behind[blocks[0][0]:]]


def _cut(behind: list[Any], encoded: list[bytes]) -> list[tuple[int, int]]:
    """Return the (first, last) places in *behind* of each block, in the order in which they run, so from its end."""
    blocks, last, size = [], len(behind) - 1, 0
    for at in range(len(behind) - 1, -1, -1):
        size += len(encoded[at])
        if at and size >= BLOCK and _id_of(behind[at - 1]):
            blocks.append((at, last))
            last, size = at - 1, 0
    return [*blocks, (0, last)]


def _id_of(step: Any) -> str | None:
    """Return the id under which the end of *step* is known, which is that of a pointer to it; None for a group."""
    if step.get("subtask_type") == "chord":
        step = step["kwargs"].get("body") or {}
    told: str | None = None if is_pointer(step) else (step.get("options") or {}).get("task_id")
    return None if step.get("subtask_type") == "group" else told


def _membership(step: Any) -> dict[str, Any] | None:
    """Return what makes the end of *step* a member of a chord; None when it is none."""
    if step.get("subtask_type") == "chord":
        step = step["kwargs"].get("body") or {}
    options = step.get("options") or {}
    told = {name: options.get(name) for name in ("task_id", "group_id", "group_index", "chord")}
    return told if told["chord"] and told["group_id"] and told["task_id"] else None


def _has_serializer(step: Any) -> bool:
    # What it is given passes through another message before, which is JSON.
    return bool((step.get("options") or {}).get("serializer"))


def _keeps(app: Any) -> bool:
    if app.conf.task_serializer != "json":
        return False
    try:
        store = app.backend
        return bool(store.joins and not store.polls_chords)
    except ImproperlyConfigured:
        return False
