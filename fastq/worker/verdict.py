"""What the supervisor itself says of how a task ended: of those that never ran, or whose child is gone.

The state that is stored, and the signals of messages that no child sees. Of a body only what follows the task is read,
and only if that runs nothing: a poisoned one stays closed here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from fastq import signals
from fastq._ext import envelope
from fastq.app.parts import GO_ON, Place, fates, given_up
from fastq.app.results import Expiry
from fastq.app.traits import Traits
from fastq.backends.meta import MetaCodec
from fastq.exceptions import WireError
from fastq.request import Request
from fastq.types import Endings, Result
from fastq.wire import compression, serializers
from fastq.worker.outcome import FATES, Keep, Outcome
from fastq.worker.tell import End, Received, tell, tell_refused

logger = logging.getLogger("celery.worker.request")

_HARMLESS = serializers.content_types(("json", "msgpack"))
"""To decode these creates nothing but plain values; a pickle is a program, and runs in a child or nowhere."""


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
        import difflib  # noqa: PLC0415  only errors pay for it

        near = difflib.get_close_matches(name, self._tasks, n=1)
        return near[0] if near else None

    def refuse(self, outcome: Outcome, content: bytes, queue: str, error: BaseException | None,
               endings: Endings) -> None:
        """Store what *outcome* stores for a message that is no run of a task, and send its signal."""
        properties, headers, body = envelope.unpack(content)
        if error is not None:
            self._store(outcome, properties, headers, error, endings)
            self._doom(outcome, queue, content, error, endings)
        tell_refused(self.sender, outcome, Received(properties, headers, body, queue), error)

    def revoke(self, outcome: Outcome, queue: str, content: bytes, error: BaseException, endings: Endings,
               signum: int | None = None) -> None:
        """Store what *outcome* stores for a task that is not to run (REVOKED, EXPIRED), log it and send its signal."""
        properties, headers, _ = envelope.unpack(content)
        logger.info("Task %s[%s] %s", headers.get("task"), headers.get("id"), FATES[outcome].says)
        self._store(outcome, properties, headers, error, endings)
        self._doom(outcome, queue, content, error, endings)
        task = self._registry.get(str(headers.get("task")))
        if task is not None and signals.task_revoked.receivers:
            tell(End(task, self._request(headers, properties), outcome, error, signum=signum), is_over=True)

    def end(self, outcome: Outcome, queue: str, content: bytes, error: BaseException, endings: Endings) -> None:
        """Store what *outcome* stores for the task of a packed message of *queue*, and for what depends on it."""
        properties, headers, _ = envelope.unpack(content)
        self._store(outcome, properties, headers, error, endings)
        self._doom(outcome, queue, content, error, endings)

    def _request(self, headers: dict[str, Any], properties: dict[str, Any]) -> Request:
        return Request.from_message(headers, properties, None, None, queue="", hostname=self._hostname)

    def _store(self, outcome: Outcome, properties: dict[str, Any], headers: dict[str, Any], error: BaseException,
               endings: Endings) -> None:
        task_id, state = headers.get("id"), FATES[outcome].stored
        if self._codec is None or not state or not isinstance(task_id, str) or not self._wanted(outcome, headers):
            return
        meta = self._codec.encode(task_id, state, error, request=self._request(headers, {}))
        endings.results.append(Result(task_id, state, meta, self._expiry.at(state), _reply_to(properties)))

    def _doom(self, outcome: Outcome, queue: str, content: bytes, error: BaseException, endings: Endings) -> None:
        """Fail what depends on a task that will not run: its chord, and the rest of its chain."""
        state = FATES[outcome].stored
        if self._codec is None or not state:
            return
        properties, headers, body = envelope.unpack(content)
        parts_read = _parts_in(properties, headers, body)
        links = None if parts_read is None else parts_read[2] or {}
        request = Request.from_message(headers, properties, None, None, links, queue=queue, hostname=self._hostname)
        if not isinstance(request.id, str):
            return
        priority = properties.get("priority") or 0
        fate = fates(self._codec, request, state, error, None, Place(queue, priority), is_read=links is not None)
        if request.task in GO_ON and parts_read is not None:
            fate.add(given_up(self._codec, request.task, parts_read[0], parts_read[1], error, Place(queue, priority)))
        at = self._expiry.at(state)
        endings.results += [Result(*stored, at, _reply_to(properties)) for stored in fate.results]
        endings.parts += fate.parts
        endings.publish += fate.messages

    def _wanted(self, outcome: Outcome, headers: dict[str, Any]) -> bool:
        explicit = headers.get("ignore_result")
        traits = self._tasks.get(str(headers.get("task")))
        if FATES[outcome].keep is Keep.ERROR and traits is not None and traits.store_errors_even_if_ignored:
            return True
        return not (explicit if explicit is not None else traits is not None and traits.ignore_result)


def _parts_in(properties: dict[str, Any], headers: dict[str, Any], body: bytes) -> list[Any] | None:
    """Return arguments, keywords and what follows, if they can be read without running anything; else None."""
    try:
        if headers.get("compression"):
            body = compression.decompress(body, headers["compression"])
        parts = serializers.loads(body, properties.get("content_type"), properties.get("content_encoding"), _HARMLESS)
        is_whole = isinstance(parts, list) and len(parts) == 3 and isinstance(parts[0], list)
        return parts if is_whole and isinstance(parts[2], (dict, type(None))) else [[], {}, {}]
    except (WireError, RecursionError):
        return None


def _reply_to(properties: dict[str, Any]) -> str | None:
    # As the ring does: a name that is no text is nobody's.
    name: str | None = properties.get("reply_to") or None
    try:
        return None if name is None else name.encode().decode()
    except UnicodeEncodeError:
        return None
