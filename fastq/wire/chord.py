"""What completes a chord: a plan that its members carry to the store, and the message that is made of it.

The message is one of Celery's own task ``celery.chord_unlock``: whoever gets it reads what the members left, and sends
the body. Celery's workers take the members' ids from it and do the same with the stored results.
"""

from __future__ import annotations

from typing import Any

import msgspec

from fastq._ext.envelope import dumps
from fastq.exceptions import DecodeError
from fastq.types import Complete, Message
from fastq.wire import builtin, serializers

UNLOCK = "celery.chord_unlock"
COUNTED = "_fastq_counted"
"""Keyword argument that says: the store has counted the members, so all of them have ended."""
_PLAN = msgspec.msgpack.Decoder(tuple[str, int, str, str, bytes])
_MEMBERS = "fastq members"


def plan(group_id: str, body: Any, *, serializer: str, queue: str = "", priority: int = 0) -> bytes:
    """Return what `message` makes the message of that completes the chord with this *body*, in one of its queues.

    Without *queue* it goes where the last member's plan says. Raises EncodeError.
    """
    kwargs = {"interval": None, "max_retries": None, "result": _MEMBERS, "_chord_unlock_exchange_type": "direct",
              COUNTED: True}
    parts = [[group_id, body], kwargs, builtin.NO_LINKS]
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
    return builtin.message(UNLOCK, (kind, encoding, body), queue=queue, priority=priority,
                           root_id=complete.last.root_id or complete.last.task_id, parent_id=complete.last.task_id)
