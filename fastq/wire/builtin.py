"""Messages of built-in tasks that a worker makes itself, without the program's routes and serializers."""

from __future__ import annotations

from fastq._ext.envelope import new_id, pack
from fastq.ids import origin
from fastq.types import Message

NO_LINKS = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def message(task: str, body: tuple[str, str, bytes], *, queue: str, priority: int, root_id: str | None,
            parent_id: str | None, reply_to: str | None = None, nesting: int = 0) -> Message:
    """Return a message of *task* to *queue*; *body* is (content type, encoding, bytes), as serializers give it."""
    kind, encoding, content = body
    task_id = new_id()
    headers = {
        "lang": "py", "task": task, "id": task_id, "retries": 0, "timelimit": [None, None], "ignore_result": True,
        "root_id": root_id or task_id, "parent_id": parent_id, "origin": origin(), "argsrepr": None,
        "kwargsrepr": None, "group": None, "group_index": None, "eta": None, "expires": None, "shadow": None,
        "replaced_task_nesting": nesting, "stamped_headers": None, "stamps": {},
    }
    properties = {"content_type": kind, "content_encoding": encoding, "delivery_mode": 2, "priority": priority,
                  "correlation_id": task_id, **({"reply_to": reply_to} if reply_to else {})}
    return Message(queue, pack(properties, headers, content), priority)
