"""Waiting until the broker has a message for good: what `AsyncResult.confirmed` does."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from fastq.app import send
from fastq.exceptions import OperationalError, Undeliverable

_KEPT = 10_000


def confirm(app: Any, task_id: str, timeout: float | None) -> None:
    """Wait until the message of *task_id*, sent by this process, is stored. Raises OperationalError, RuntimeError."""
    buffer = send.batch.get()
    if buffer is not None and buffer.app is app:
        raise RuntimeError(f"task {task_id} cannot be confirmed inside `with app.batch():`, which stores its messages "
                           "when the block ends; they are stored and confirmed right after it")
    deadline = None if timeout is None else time.monotonic() + timeout
    while task_id not in app.returned:
        try:
            app.transport.publish((), None if deadline is None else max(0.0, deadline - time.monotonic()))
            return
        except Undeliverable as error:
            # A flush waits for whatever was sent before, also by other threads. Their tasks are kept for those who ask.
            if app.returned.keys() >= set(error.task_ids):
                raise _not_stored(task_id, error) from error
            _keep(app.returned, error.task_ids)
        except OperationalError as error:
            raise _not_stored(task_id, error) from error
    raise _returned(task_id)


def _keep(returned: dict[str, None], task_ids: Iterable[str]) -> None:
    returned.update(dict.fromkeys(task_ids))
    while len(returned) > _KEPT:
        returned.pop(next(iter(returned)), None)


def _returned(task_id: str) -> Undeliverable:
    error = Undeliverable(f"task {task_id} was not stored: the broker has no queue for it and gave its message back")
    error.task_ids = (task_id,)
    return error


def _not_stored(task_id: str, error: OperationalError) -> OperationalError:
    return OperationalError(f"task {task_id} is not confirmed, it may be stored or not: {error}")
