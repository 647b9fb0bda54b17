"""The built-in task that goes on with a chain whose rest the result store keeps, or fails it.

As with `fastq.app.unlock`, what it does is left to its run, so it leaves in one step with its ack.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastq import states
from fastq.app import links, workflow
from fastq.app.parts import Place, failures
from fastq.app.replacing import renested
from fastq.app.unlock import Leave, Leaving, fail
from fastq.backends.meta import exception_from_meta
from fastq.canvas.signature import signature
from fastq.exceptions import BackendError, ConnectionLost
from fastq.request import Request
from fastq.wire import serializers
from fastq.wire.rest import is_pointer

logger = logging.getLogger("celery.app.chain")
PAUSE_S = 1.0
"""A store that is away is asked again so much later."""


def go_on(self: Any, value: Any = None, ref: str | None = None, block: int = 0, task_id: str | None = None,
          doom: Mapping[str, Any] | None = None, end: Mapping[str, Any] | None = None) -> None:
    """Send the first step of *block* of the chain *ref* with *value*, or fail all its steps for what *doom* tells.

    *task_id* is that step's, *end* are the options of the chain's last one, if it is a member of a chord.
    """
    app, request = self.app, self.request
    task_id = task_id or request.id
    # To who sends it, a step follows the one before.
    last = Request(id=request.parent_id or request.id, root_id=request.root_id or request.id, called_directly=False,
                   reply_to=request.reply_to)
    delivery = request.delivery_info or {}
    place = Place(delivery.get("routing_key") or app.conf.task_default_queue, delivery.get("priority") or 0)
    try:
        raw = None if ref is None else app.backend.rest_get(ref, block, workflow.rest_expires_at(app))
    except (BackendError, ConnectionLost) as error:
        logger.warning("The rest of chain %s waits for the result store: %s", ref, error)
        raise self.retry(countdown=PAUSE_S, max_retries=None) from error
    if raw is None:
        lost = BackendError(f"the result store has lost the rest of the chain (block {block} of {ref})" if ref else
                            "a worker that cannot follow a pointer to the body of a chord has sent it as a task")
        logger.error("Task %s cannot be sent: %s", task_id, lost)
        ends = [{"options": each} for each in ({"task_id": task_id}, end) if each]
        results, members, messages = failures(app.result_codec, ends, states.FAILURE, lost, None, place)
        raise Leave(Leaving(results=results, parts=members, messages=messages))
    steps = renested(serializers.loads(raw, "application/json", "utf-8"), request.replaced_task_nesting)
    leaving = Leaving(joined="" if is_pointer(steps[0]) and steps[0]["args"][:1] == [ref] else str(ref))
    if doom is not None:
        _doom(app, steps, doom, place, leaving)
    else:
        _start(app, steps, value, last, place, leaving)
    raise Leave(leaving)


def _start(app: Any, steps: list[Any], value: Any, last: Request, place: Place, leaving: Leaving) -> None:
    *behind, head = steps
    try:
        leaving.messages = links.going_on(app, signature(head, app=app), value, behind, last)
    except Exception as error:
        logger.error("The chain cannot go on with task %s: %r", head.get("task"), error)
        fail(app, head, error, last, place, leaving)
        results, parts, messages = failures(app.result_codec, behind, states.FAILURE, error, None, place)
        leaving.results += results
        leaving.parts += parts
        leaving.messages += messages


def _doom(app: Any, steps: list[Any], doom: Mapping[str, Any], place: Place, leaving: Leaving) -> None:
    error = exception_from_meta(doom["error"])
    leaving.results, leaving.parts, leaving.messages = failures(
        app.result_codec, steps, str(doom["state"]), error, doom.get("traceback"), place)
