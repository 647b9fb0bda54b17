"""What completes a chord: a plan that its members carry to the store, and the message that is made of it.

The message is one of Celery's own task ``celery.chord_unlock``: whoever gets it reads what the members left, and sends
the body. Celery's workers take the members' ids from it and do the same with the stored results.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastq._ext.envelope import dumps, new_id, pack
from fastq.exceptions import DecodeError
from fastq.ids import origin
from fastq.types import Complete, Message
from fastq.wire import serializers

UNLOCK = "celery.chord_unlock"
COUNTED = "_fastq_counted"
"""Keyword argument that says: the store has counted the members, so all of them have ended."""
_PLAN = msgspec.msgpack.Decoder(tuple[str, int, str, str, bytes])
_MEMBERS = "fastq members"
_NO_LINKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def plan(group_id: str, body: Any, *, serializer: str, queue: str = "", priority: int = 0) -> bytes:
    """Return what `message` makes the message of that completes the chord with this *body*, in one of its queues.

    Without *queue* it goes where the last member's plan says. Raises EncodeError.
    """
    kwargs = {"interval": None, "max_retries": None, "result": _MEMBERS, "_chord_unlock_exchange_type": "direct",
              COUNTED: True}
    parts = [[group_id, body], kwargs, _NO_LINKS]
    content = dumps(parts) if serializer == "json" else None
    kind, encoding = "application/json", "utf-8"
    if content is None:
        kind, encoding, content = serializers.dumps(parts, serializer)
    return msgspec.msgpack.encode((queue, priority, kind, encoding, content))


def _read(raw: bytes) -> tuple[str, int, str, str, bytes]:
    try:
        return _PLAN.decode(raw)
    except msgspec.DecodeError as error:
        raise DecodeError(f"no plan of a chord: {raw[:80]!r}") from error


def message(complete: Complete) -> Message:
    """Return the message that completes a chord. Raises DecodeError for a plan that is none."""
    queue, priority, kind, encoding, body = _read(complete.plan)
    if not queue:
        # Who sent the members knew no queue; the last of them came from one.
        queue, priority = _read(complete.last.plan)[:2]
    if kind == "application/json":
        # Nobody but Celery's workers reads them; so of another serializer they are left out, rather than opened here.
        tuples = dumps([[[task_id, None], None] for task_id in complete.task_ids]) or b"[]"
        body = body.replace(b'"%b"' % _MEMBERS.encode(), tuples, 1)
    task_id = new_id()
    headers = {
        "lang": "py", "task": UNLOCK, "id": task_id, "retries": 0, "timelimit": [None, None], "ignore_result": True,
        "root_id": complete.last.root_id or complete.last.task_id, "parent_id": complete.last.task_id,
        "origin": origin(), "argsrepr": None, "kwargsrepr": None, "group": None, "group_index": None, "eta": None,
        "expires": None, "shadow": None, "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {},
    }
    properties = {"content_type": kind, "content_encoding": encoding, "delivery_mode": 2, "priority": priority,
                  "correlation_id": task_id}
    return Message(queue, pack(properties, headers, body), priority)
