"""The rest of a workflow that the result store keeps: what stands for it in messages, and the message that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastq._ext.envelope import dumps
from fastq.types import Message
from fastq.wire import builtin, serializers

TASK = "fastq.rest_is_in_the_store"
"""The task that a pointer names. Celery's workers do not have it: when one sends a pointer and another gets it, that is
stored as a failure under the id of what it stands for."""


def pointer(task_id: str | None, *where: Any, end: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Return what stands for a signature with the id *task_id*; *where* in the store that is, if whoever gets it asks.

    *end* are the options of the last step of that chain, if it is a member of a chord: should the store have lost what
    stands between, the chord is told all the same.

    Example:
        >>> pointer("5a1")
        {'task': 'fastq.rest_is_in_the_store', 'args': [], 'options': {'task_id': '5a1'}}
    """
    more = {} if end is None else {"kwargs": {"end": dict(end)}}
    return {"task": TASK, "args": list(where), **more, "options": {"task_id": task_id}}


def is_pointer(sig: Any) -> bool:
    """Return whether *sig* only stands for a signature."""
    return isinstance(sig, dict) and sig.get("task") == TASK


def message(to: Mapping[str, Any], value: Any, *, doom: Mapping[str, Any] | None = None, serializer: str = "json",
            **place: Any) -> Message:
    """Return the message that goes on where the pointer *to* points, with *value*; or with *doom* fails all of that.

    *place* is what `builtin.message` takes. Raises EncodeError.
    """
    options = to.get("options") or {}
    args = [value, *to["args"], options.get("task_id")]
    kwargs = {**(to.get("kwargs") or {}), **({} if doom is None else {"doom": doom})}
    parts = [args, kwargs, builtin.NO_LINKS]
    content = dumps(parts) if serializer == "json" else None
    body = serializers.dumps(parts, serializer) if content is None else ("application/json", "utf-8", content)
    return builtin.message(TASK, body, nesting=options.get("replaced_task_nesting") or 0, **place)
