"""The child's slow path: whatever a run needs beyond decode, call, record.

The compiled loop (`fastq._ext.execute`) comes here for bodies that are not plain JSON, for tasks
with hooks, signals, tracking or links, and for every exception. What is to be sent because the task
ended is not sent here: it travels to the supervisor with the outcome and is stored in one step with
the ack, so a callback is never lost and never sent for a run that did not count.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from fastq import signals, states
from fastq._ext.envelope import unpack
from fastq._ext.execute import Executor
from fastq.app import links
from fastq.backends.meta import MetaCodec
from fastq.canvas.signature import Signature
from fastq.einfo import ExceptionInfo, format_exception
from fastq.exceptions import (
    ContentDisallowed,
    DecodeError,
    EncodeError,
    Ignore,
    Reject,
    Retry,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    WireError,
)
from fastq.pool.shared import Spill
from fastq.request import Request
from fastq.wire import compression, serializers
from fastq.worker.effects import pack_message, pack_reason, pack_result
from fastq.worker.outcome import Outcome

logger = logging.getLogger("celery.app.trace")

Finished = tuple[int, bytes]
"""(outcome, packed effects)"""
OUR_FRAMES = 0
"""Frames between the compiled loop and the user's function: extensions leave none."""


class Trace:
    """Decides how runs end, and what they leave. One per child."""

    def __init__(self, app: Any, tasks: list[Any], *, hostname: str, codec: MetaCodec | None, accept: Any,
                 spill: Spill, store_now: Callable[[str, str, bytes, str | None], None] | None) -> None:
        self._app = app
        self._tasks = tasks
        self._hostname = hostname
        self._codec = codec
        self._accept = accept
        self._spill = spill
        self._store_now = store_now
        self.pack_result = pack_result
        self.make_request = Request.from_content

    # -- before the call ------------------------------------------------------------------------

    def open(self, run: Executor, row: int) -> tuple[Any, ...]:
        """Return (args, kwargs, embed), or how the run ends because its body cannot be opened."""
        try:
            properties, headers, body = unpack(run.content)
            if headers.get("compression"):
                body = compression.decompress(body, headers["compression"])
            content = serializers.loads(
                body, properties.get("content_type") or "application/data",
                properties.get("content_encoding") or "utf-8", self._accept,
            )
            return _three_parts(content)
        except ContentDisallowed as error:
            return self._unread(run, row, Outcome.REFUSED, error)
        except WireError as error:
            return self._unread(run, row, Outcome.UNDECODABLE, error)

    def _unread(self, run: Executor, row: int, outcome: Outcome, error: Exception) -> Finished:
        logger.error("Task %s[%s] cannot be opened: %s", self._tasks[row].name, run.task_id, error)
        effects = self._result(run, row, states.FAILURE, error, None, wanted=self._wants(run, row))
        return outcome, effects + pack_reason(f"{outcome.name.lower()}: {error}")

    def before(self, run: Executor, row: int) -> None:
        """Do what comes before the call for tasks that have something there."""
        task, request = self._tasks[row], run.request_now()
        if signals.task_prerun.receivers:
            signals.task_prerun.send(sender=task, task_id=request.id, task=task, args=request.args,
                                     kwargs=request.kwargs)
        if task.traits.track_started and self._store_now is not None and self._codec is not None:
            meta = self._codec.encode(request.id, states.STARTED, _whereabouts(self._hostname), request=request)
            self._store_now(request.id, states.STARTED, meta, request.reply_to)
        task.before_start(request.id, request.args, request.kwargs)

    # -- after the call -------------------------------------------------------------------------

    def returned(self, run: Executor, row: int, value: Any, wanted: bool) -> Finished:
        """End a run that returned *value*."""
        task, request = self._tasks[row], run.request_now()
        try:
            callbacks = links.callbacks_of(self._app, request, value)
            if task.trail:
                request.children.extend(sig.freeze() for sig in callbacks)
            effects = b"".join(map(self._message, callbacks))
            effects = self._result(run, row, states.SUCCESS, value, None, wanted=wanted) + effects
        except EncodeError as error:
            # The value cannot be stored or passed on, so for everybody else the task has failed.
            return self._failed(run, row, error, wanted, Outcome.RAISED)
        self._hook(task, "on_success", value, request.id, request.args, request.kwargs)
        self._hook(task, "after_return", states.SUCCESS, value, request.id, request.args, request.kwargs, None)
        if signals.task_success.receivers:
            signals.task_success.send(sender=task, result=value, runtime=run.seconds)
        self._after(task, request, value, states.SUCCESS)
        return Outcome.RETURNED, effects

    def raised(self, run: Executor, row: int, error: BaseException, wanted: bool) -> Finished:
        """End a run that raised *error*."""
        try:
            if isinstance(error, Retry):
                return self._retried(run, row, error, wanted)
            if isinstance(error, Ignore):
                self._after(self._tasks[row], run.request_now(), error, states.IGNORED)
                return Outcome.IGNORED, b""
            if isinstance(error, Reject):
                return self._rejected(run, row, error, wanted)
            outcome = Outcome.SOFT_LIMIT if isinstance(error, SoftTimeLimitExceeded) else Outcome.RAISED
            return self._failed(run, row, error, wanted, outcome)
        finally:
            # Frames hold every local of the task; the text of the traceback is all that is kept.
            error.__traceback__ = None

    def _failed(self, run: Executor, row: int, error: BaseException, wanted: bool, outcome: Outcome) -> Finished:
        task, request = self._tasks[row], run.request_now()
        einfo = ExceptionInfo(error)
        stored = wanted or task.traits.store_errors_even_if_ignored
        effects = self._result(run, row, states.FAILURE, error, einfo.traceback, wanted=stored)
        expected = isinstance(error, task.traits.throws)
        logger.log(logging.INFO if expected else logging.ERROR, "Task %s[%s] raised %s: %r\n%s", task.name, request.id,
                   "expected" if expected else "unexpected", error, "" if expected else einfo.traceback,
                   extra={"data": {"id": request.id, "name": task.name}})
        try:
            effects += b"".join(self._message(sig) for sig in
                                links.errbacks_of(self._app, request, error, einfo.traceback))
        except Exception:
            logger.exception("The errbacks of task %s[%s] could not be called or sent", task.name, request.id)
        self._hook(task, "on_failure", error, request.id, request.args, request.kwargs, einfo)
        self._hook(task, "after_return", states.FAILURE, error, request.id, request.args, request.kwargs, einfo)
        if signals.task_failure.receivers:
            signals.task_failure.send(sender=task, task_id=request.id, exception=error, args=request.args,
                                      kwargs=request.kwargs, traceback=error.__traceback__, einfo=einfo)
        self._after(task, request, error, states.FAILURE)
        return outcome, effects

    def _retried(self, run: Executor, row: int, retry: Retry, wanted: bool) -> Finished:
        task, request = self._tasks[row], run.request_now()
        einfo = ExceptionInfo(retry)
        effects = self._result(run, row, states.RETRY, retry.exc, einfo.traceback, wanted=wanted)
        if retry.sig is not None:
            effects += self._message(retry.sig)
        logger.info("Task %s[%s] retry: %s", task.name, request.id, retry)
        self._hook(task, "on_retry", retry.exc, request.id, request.args, request.kwargs, einfo)
        if signals.task_retry.receivers:
            signals.task_retry.send(sender=task, request=request, reason=retry, einfo=einfo)
        self._after(task, request, retry, states.RETRY)
        return Outcome.RETRIED, effects

    def _rejected(self, run: Executor, row: int, reject: Reject, wanted: bool) -> Finished:
        task, request = self._tasks[row], run.request_now()
        logger.info("Task %s[%s] rejected: %s", task.name, request.id, reject.reason)
        self._after(task, request, reject, states.REJECTED)
        if reject.requeue:
            return Outcome.REQUEUED, b""
        effects = self._result(run, row, states.FAILURE, reject, None, wanted=wanted)
        return Outcome.REJECTED, effects + pack_reason(f"rejected: {reject.reason}")

    def expired(self, run: Executor, row: int) -> Finished:
        """End a run that was not begun in time."""
        logger.info("Task %s[%s] has expired", self._tasks[row].name, run.task_id)
        error = TaskRevokedError("expired")
        return Outcome.EXPIRED, self._result(run, row, states.REVOKED, error, None, wanted=self._wants(run, row))

    def internal_error(self, run: Executor, row: int, error: BaseException) -> Finished:
        """End a run in which fastq itself failed; the message is kept, with the reason."""
        task_id = run.task_id
        logger.critical("Task %s[%s] raised internal error: %r\n%s", self._tasks[row].name, task_id, error,
                        format_exception(error))
        if signals.task_internal_error.receivers:
            signals.task_internal_error.send(
                sender=self._tasks[row], task_id=task_id, args=None, kwargs=None, request=None, exception=error,
                traceback=error.__traceback__, einfo=ExceptionInfo(error))
        effects = b""
        try:
            effects = self._result(run, row, states.FAILURE, error, None, wanted=self._wants(run, row))
        except Exception:
            logger.exception("The failure of task %s[%s] cannot be stored", self._tasks[row].name, task_id)
        return Outcome.INTERNAL_ERROR, effects + pack_reason(f"internal error: {error!r}")

    def spill(self, effects: bytes) -> bytes:
        """Put effects that do not fit a slot into a file; returns its path."""
        return self._spill.put(effects)

    # -- parts ----------------------------------------------------------------------------------

    def _wants(self, run: Executor, row: int) -> bool:
        explicit = unpack(run.content)[1].get("ignore_result")
        return not (self._tasks[row].traits.ignore_result if explicit is None else explicit)

    def _result(self, run: Executor, row: int, state: str, value: Any, traceback: str | None, *, wanted: bool) -> bytes:
        if not wanted or self._codec is None:
            return b""
        request = run.request_now()
        if state == states.SUCCESS:
            meta = self._codec.encode_success(request.id, value, request)
        else:
            meta = self._codec.encode(request.id, state, value, traceback, request=request)
        return pack_result(request.id, state, meta)

    def _message(self, sig: Signature[Any]) -> bytes:
        return pack_message(self._app.message_of(sig))

    def _hook(self, task: Any, name: str, *args: Any) -> None:
        # The outcome stands whatever a hook does; its error must still be seen.
        if name not in task.traits.hooks:
            return
        try:
            getattr(task, name)(*args)
        except Exception:
            logger.exception("%s of task %s raised", name, task.name)

    def _after(self, task: Any, request: Request, value: Any, state: str) -> None:
        if signals.task_postrun.receivers:
            signals.task_postrun.send(sender=task, task_id=request.id, task=task, args=request.args,
                                      kwargs=request.kwargs, retval=value, state=state)


def _three_parts(content: Any) -> tuple[tuple[Any, ...], dict[str, Any], dict[str, Any]]:
    if not isinstance(content, (list, tuple)) or len(content) != 3:
        raise DecodeError(f"the body is {type(content).__name__}, not [args, kwargs, embed]")
    args, kwargs, embed = content
    if not isinstance(args, (list, tuple)):
        raise DecodeError(f"the arguments are {type(args).__name__}, not a list")
    if not isinstance(kwargs, dict) or not all(isinstance(key, str) for key in kwargs):
        raise DecodeError(f"the keyword arguments are {type(kwargs).__name__}, not a mapping with text keys")
    if embed is not None and not isinstance(embed, dict):
        raise DecodeError(f"the third part of the body is {type(embed).__name__}, not a mapping")
    return tuple(args), kwargs, embed or {}


def _whereabouts(hostname: str) -> dict[str, Any]:
    return {"pid": os.getpid(), "hostname": hostname}
