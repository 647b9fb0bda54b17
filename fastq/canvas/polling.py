"""Chords whose store counts no members: a message looks again and again whether all have ended, as Celery has it."""

from __future__ import annotations

from typing import Any

from fastq.canvas.plan import Call
from fastq.canvas.signature import Signature, listed
from fastq.wire.chord import UNLOCK

# As for the body: there, and not where the members go, a worker is wanted when they have ended.
_OF_THE_BODY = ("queue", "exchange", "routing_key", "priority", "serializer")
# What chord.apply_async takes for the message that looks, in seconds and times.
OPTIONS = ("interval", "max_retries", "eager")


def unlocking(plan: Any, joined: Any, body: Signature[Any], told: dict[str, Any]) -> Call:
    """Return the message that sends *body* when all in *joined*, a `GroupResult`, have ended.

    *told* may have ``interval``, the seconds between two looks (default: setting ``result_chord_retry_interval``), and
    ``max_retries``, after so many looks the chord fails (default: never).
    """
    interval, most = told.get("interval"), told.get("max_retries")
    options = {name: body.options[name] for name in _OF_THE_BODY if body.options.get(name) is not None}
    options.update(countdown=plan.app.conf.result_chord_retry_interval if interval is None else interval,
                   route_name=_first_task(body),
                   **{name: told[name] for name in ("parent_id", "root_id") if told.get(name)})
    kwargs = {"interval": interval, "max_retries": most, "result": [member.as_tuple() for member in joined.results],
              "_chord_unlock_exchange_type": "direct"}
    return Call(UNLOCK, plan.app.tasks.get(UNLOCK), (joined.id, told["chord"]), kwargs, options, plan.new_id(), None)


def _first_task(sig: Any) -> str:
    """Return the name of the first task of a workflow: by it the message finds its way."""
    while True:
        inner = sig["kwargs"].get("header" if sig.get("subtask_type") == "chord" else "tasks") \
            if sig.get("subtask_type") else None
        if isinstance(inner, dict):
            sig = inner
        elif listed(inner):
            sig = listed(inner)[0]
        else:
            return str(sig["task"])
