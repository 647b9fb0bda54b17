"""Result documents that the supervisor writes: for tasks that never ran, or whose child is gone.

Only headers are read, so that a poisoned body stays closed here.
"""

from __future__ import annotations

import difflib
from typing import Any

from fastq._ext import envelope
from fastq.app.results import Expiry
from fastq.app.traits import Traits
from fastq.backends.meta import MetaCodec
from fastq.exceptions import WorkerLostError
from fastq.request import Request
from fastq.states import FAILURE, REVOKED
from fastq.types import Endings, Result


class Verdicts:
    """Writes the results of what the supervisor decides into `Endings`."""

    def __init__(self, codec: MetaCodec | None, tasks: dict[str, Traits], hostname: str,
                 expiry: Expiry) -> None:
        self._codec = codec
        self._tasks = tasks
        self._hostname = hostname
        self._expiry = expiry

    def nearest_task(self, name: str) -> str | None:
        """Return the registered name that *name* was perhaps meant to be."""
        near = difflib.get_close_matches(name, self._tasks, n=1)
        return near[0] if near else None

    def failed(self, properties: dict[str, Any], headers: dict[str, Any], error: BaseException,
               endings: Endings) -> None:
        """Store FAILURE with *error*."""
        self._store(properties, headers, FAILURE, error, endings)

    def revoked(self, properties: dict[str, Any], headers: dict[str, Any], error: BaseException,
                endings: Endings) -> None:
        """Store REVOKED with *error*."""
        self._store(properties, headers, REVOKED, error, endings)

    def failed_content(self, content: bytes, error: BaseException, endings: Endings) -> None:
        """Store FAILURE for the task of a packed message."""
        properties, headers, _ = envelope.unpack(content)
        self.failed(properties, headers, error, endings)

    def revoked_content(self, content: bytes, error: BaseException, endings: Endings) -> None:
        """Store REVOKED for the task of a packed message."""
        properties, headers, _ = envelope.unpack(content)
        self.revoked(properties, headers, error, endings)

    def lost(self, content: bytes, deaths: int, endings: Endings) -> None:
        """Store FAILURE for a task that killed too many children or workers."""
        self.failed_content(content, WorkerLostError(f"killed {deaths} times; see the dead letters"), endings)

    def _store(self, properties: dict[str, Any], headers: dict[str, Any], state: str, error: BaseException,
               endings: Endings) -> None:
        task_id = headers.get("id")
        if self._codec is None or not isinstance(task_id, str) or not self._wanted(headers):
            return
        request = Request.from_message(headers, {}, None, None, queue="", hostname=self._hostname)
        meta = self._codec.encode(task_id, state, error, request=request)
        endings.results.append(Result(task_id, state, meta, self._expiry.at(state), _reply_to(properties)))

    def _wanted(self, headers: dict[str, Any]) -> bool:
        explicit = headers.get("ignore_result")
        traits = self._tasks.get(str(headers.get("task")))
        if traits is not None and traits.store_errors_even_if_ignored:
            return True
        return not (explicit if explicit is not None else traits is not None and traits.ignore_result)


def _reply_to(properties: dict[str, Any]) -> str | None:
    # As the ring does: a name that is no text is nobody's.
    name: str | None = properties.get("reply_to") or None
    try:
        return None if name is None else name.encode().decode()
    except UnicodeEncodeError:
        return None
