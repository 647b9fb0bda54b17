"""What stands in a message for the rest of a workflow that the result store keeps."""

from __future__ import annotations

from typing import Any

TASK = "fastq.rest_is_in_the_store"
"""The task that a pointer names. No worker has it: who cannot follow a pointer and sends it stores that as a failure,
under the id of what it stands for."""


def pointer(task_id: str | None) -> dict[str, Any]:
    """Return what stands for a signature with the id *task_id*. A plain dict: it travels as it is.

    Example:
        >>> pointer("5a1")
        {'task': 'fastq.rest_is_in_the_store', 'args': [], 'options': {'task_id': '5a1'}}
    """
    return {"task": TASK, "args": [], "options": {"task_id": task_id}}


def is_pointer(sig: Any) -> bool:
    """Return whether *sig* only stands for a signature."""
    return isinstance(sig, dict) and sig.get("task") == TASK
