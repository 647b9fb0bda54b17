"""What the supervisor itself says of how a task ended: of those that never ran, or whose child is gone.

The state that is stored, and the signals of messages that no child sees. Only headers are read, so that a poisoned body
stays closed here.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from typing import Any

from fastq import signals
from fastq._ext import envelope
from fastq.app.results import Expiry
from fastq.app.traits import Traits
from fastq.backends.meta import MetaCodec
from fastq.request import Request
from fastq.types import Endings, Result
from fastq.worker.outcome import FATES, Keep, Outcome
from fastq.worker.tell import End, Received, tell, tell_refused

logger = logging.getLogger("celery.worker.request")


class Verdicts:
    """Writes the results of what the supervisor decides into `Endings`."""

    def __init__(self, codec: MetaCodec | None, tasks: dict[str, Traits], hostname: str,
                 expiry: Expiry, registry: Mapping[str, Any] | None = None) -> None:
        self._codec = codec
        self._registry = registry or {}
        self.sender: Any = None
        """Who receivers are told it was that refused a message."""
        self._tasks = tasks
        self._hostname = hostname
        self._expiry = expiry

    def nearest_task(self, name: str) -> str | None:
        """Return the registered name that *name* was perhaps meant to be."""
        near = difflib.get_close_matches(name, self._tasks, n=1)
        return near[0] if near else None

    def refuse(self, outcome: Outcome, content: bytes, queue: str, error: BaseException | None,
               endings: Endings) -> None:
        """Store what *outcome* stores for a message that is no run of a task, and send its signal."""
        properties, headers, body = envelope.unpack(content)
        if error is not None:
            self._store(outcome, properties, headers, error, endings)
        tell_refused(self.sender, outcome, Received(properties, headers, body, queue), error)

    def revoke(self, outcome: Outcome, properties: dict[str, Any], headers: dict[str, Any], error: BaseException,
               endings: Endings) -> None:
        """Store what *outcome* stores for a task that is not to run (REVOKED, EXPIRED), log it and send its signal."""
        logger.info("Task %s[%s] %s", headers.get("task"), headers.get("id"), FATES[outcome].says)
        self._store(outcome, properties, headers, error, endings)
        task = self._registry.get(str(headers.get("task")))
        if task is not None and signals.task_revoked.receivers:
            tell(End(task, self._request(headers, properties), outcome, error))

    def end(self, outcome: Outcome, content: bytes, error: BaseException, endings: Endings) -> None:
        """Store what *outcome* stores for the task of a packed message."""
        properties, headers, _ = envelope.unpack(content)
        self._store(outcome, properties, headers, error, endings)

    def revoke_content(self, content: bytes, error: BaseException, endings: Endings) -> None:
        """As `revoke` for the task of a packed message, which ran."""
        properties, headers, _ = envelope.unpack(content)
        self.revoke(Outcome.REVOKED, properties, headers, error, endings)

    def _request(self, headers: dict[str, Any], properties: dict[str, Any]) -> Request:
        return Request.from_message(headers, properties, None, None, queue="", hostname=self._hostname)

    def _store(self, outcome: Outcome, properties: dict[str, Any], headers: dict[str, Any], error: BaseException,
               endings: Endings) -> None:
        task_id, state = headers.get("id"), FATES[outcome].stored
        if self._codec is None or not state or not isinstance(task_id, str) or not self._wanted(outcome, headers):
            return
        meta = self._codec.encode(task_id, state, error, request=self._request(headers, {}))
        endings.results.append(Result(task_id, state, meta, self._expiry.at(state), _reply_to(properties)))

    def _wanted(self, outcome: Outcome, headers: dict[str, Any]) -> bool:
        explicit = headers.get("ignore_result")
        traits = self._tasks.get(str(headers.get("task")))
        if FATES[outcome].keep is Keep.ERROR and traits is not None and traits.store_errors_even_if_ignored:
            return True
        return not (explicit if explicit is not None else traits is not None and traits.ignore_result)


def _reply_to(properties: dict[str, Any]) -> str | None:
    # As the ring does: a name that is no text is nobody's.
    name: str | None = properties.get("reply_to") or None
    try:
        return None if name is None else name.encode().decode()
    except UnicodeEncodeError:
        return None
