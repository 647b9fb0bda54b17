"""The child's slow path: whatever a run needs beyond decode, call, record.

The compiled loop (`fastq._ext.execute`) comes here for bodies that are not plain JSON, for tasks
with hooks, signals, tracking or links, and for every exception. What is to be sent because the task
ended is not sent here: it travels to the supervisor with the outcome and is stored in one step with
the ack, so a callback is never lost and never sent for a run that did not count.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from typing import Any

from fastq import current, signals, states
from fastq._ext.envelope import unpack
from fastq._ext.execute import Executor
from fastq._ext.ring import parse_effects
from fastq.app import links, workflow
from fastq.app.parts import GO_ON, Member, Place, fates, given_up, part_of
from fastq.app.retry import signature_of
from fastq.app.unlock import Leave
from fastq.backends.meta import MetaCodec
from fastq.canvas.signature import Signature
from fastq.einfo import ExceptionInfo, format_exception
from fastq.exceptions import (
    BackendError,
    ContentDisallowed,
    DecodeError,
    Ignore,
    InvalidTaskError,
    Reject,
    Replaced,
    Retry,
    SoftTimeLimitExceeded,
    TaskRevokedError,
    TimeLimitExceeded,
    WireError,
)
from fastq.pool.crew import HARD, RAISED, Terminating
from fastq.pool.shared import Spill
from fastq.request import Request
from fastq.saferepr import saferepr
from fastq.wire import compression, serializers
from fastq.wire.message import parse_v1
from fastq.worker.effects import pack_joined, pack_message, pack_part, pack_reason, pack_result
from fastq.worker.outcome import FATES, Ending, Keep, Outcome, Send, ending_of, error_of, rules_of
from fastq.worker.tell import End, Received, log, tell, tell_refused

logger = logging.getLogger("celery.app.trace")

Finished = tuple[int, bytes]
"""(outcome, packed effects)"""
_FINAL = frozenset((states.FAILURE, states.REVOKED))


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
        self.tells_success = False
        """Whether each success has its line in the log."""

    # -- before the call ------------------------------------------------------------------------

    def open(self, run: Executor, row: int) -> tuple[Any, ...]:
        """Return (args, kwargs, embed), or how the run ends because its body cannot be opened."""
        try:
            return self._opened(run)
        except ContentDisallowed as error:
            return self._unread(run, row, Outcome.REFUSED, error)
        except (WireError, InvalidTaskError) as error:
            return self._unread(run, row, Outcome.UNDECODABLE, error)

    def _opened(self, run: Executor) -> tuple[Any, ...]:
        properties, headers, body = unpack(run.content)
        if headers.get("compression"):
            body = compression.decompress(body, headers["compression"])
        content = serializers.loads(
            body, properties.get("content_type") or "application/data",
            properties.get("content_encoding") or "utf-8", self._accept,
        )
        if isinstance(content, dict) and "task" in content:
            # A hybrid: headers of protocol 2, and the arguments in a body of protocol 1.
            content = parse_v1(content, headers)[1:]
        return _three_parts(content)

    def _unread(self, run: Executor, row: int, outcome: Outcome, error: Exception) -> Finished:
        task, request = self._tasks[row], run.request_now()
        logger.error("Task %s[%s] %s: %s", task.name, request.id, FATES[outcome].says, error)
        tell_refused(task, outcome, Received(*unpack(run.content), run.queue), error)
        effects = self._result(task, request, outcome, error, None, _is_ignored(task, request))
        effects += self._doom(request, outcome, error, None, is_read=False)
        return outcome, effects + pack_reason(f"{outcome.name.lower()}: {error}")

    def again(self, run: Executor, row: int) -> Finished | None:
        """Return how a run ends that comes again although its task has succeeded; None for one that is to begin.

        Its result is stored before the message is acked, and what follows may be lost in between: that is sent again.
        """
        task, task_id = self._tasks[row], run.task_id
        assert self._codec is not None
        try:
            raw = self._app.backend.get([task_id]).get(task_id)
            meta = {} if raw is None else self._codec.decode(raw)
        except (BackendError, ContentDisallowed, WireError) as error:
            logger.warning("Task %s[%s] runs again, as nobody knows whether it has succeeded: %s", task.name, task_id,
                           error)
            return None
        if meta.get("status") != states.SUCCESS:
            return None
        logger.info("Task %s[%s] has succeeded before: not run again", task.name, task_id)
        opened = self.open(run, row)
        if len(opened) != 3:
            return opened
        request = self.make_request(run.content, task_id, run.queue, self._hostname, run.deaths, *opened, math.nan,
                                    math.nan)
        token = current.push(task, request)
        try:
            effects = b""
            if request.callbacks or request.chain:
                effects = b"".join(map(pack_message, links.messages(self._app, request, meta["result"])[0]))
            return Outcome.RETURNED, effects + (self._part(request, states.SUCCESS, meta["result"])
                                                if request.chord else b"")
        finally:
            current.pop(token)

    def before(self, run: Executor, row: int) -> None:
        """Do what comes before the call for tasks that have something there."""
        task, request = self._tasks[row], run.request_now()
        if signals.task_prerun.receivers:
            signals.task_prerun.send(sender=task, task_id=request.id, task=task, args=request.args,
                                     kwargs=request.kwargs)
        if task.traits.track_started and self._store_now and self._codec and not _is_ignored(task, request):
            try:
                meta = self._codec.encode(request.id, states.STARTED, _whereabouts(self._hostname), request=request)
                self._store_now(request.id, states.STARTED, meta, request.reply_to)
            except Exception as error:      # only of the store: no limit is raised before the task itself runs
                logger.warning("Task %s[%s] begins, and STARTED is not stored: %s", task.name, request.id, error)
        task.before_start(request.id, request.args, request.kwargs)

    # -- after the call -------------------------------------------------------------------------

    def returned(self, run: Executor, row: int, value: Any, wanted: bool) -> Finished:
        """End a run that returned *value*."""
        task, request = self._tasks[row], run.request_now()
        try:
            effects = b""
            if request.callbacks or request.chain:
                messages, children = links.messages(self._app, request, value)
                if task.trail:
                    request.children.extend(children)
                effects = b"".join(map(pack_message, messages))
            effects = self._result(task, request, Outcome.RETURNED, value, None, not wanted) + effects
            if request.chord:
                effects += self._part(request, states.SUCCESS, value)
        except Exception as error:
            # The value cannot be stored or passed on, so for everybody else the task has failed.
            return self.raised(run, row, error, wanted)
        end = End(task, request, Outcome.RETURNED, value, seconds=run.seconds)
        if self.tells_success:
            log(end)
        tell(end)
        return Outcome.RETURNED, effects

    def raised(self, run: Executor, row: int, error: BaseException, wanted: bool) -> Finished:
        """End a run that raised *error*."""
        task = self._tasks[row]
        try:
            if isinstance(error, Leave):
                return self._left(task, run.request_now(), error)
            if isinstance(error, Terminating) and run.signum:
                return self._end(task, run.request_now(), Outcome.REVOKED, TaskRevokedError("terminated"), run.seconds,
                                 is_ignored=not wanted, signum=run.signum)
            outcome = outcome_of(error, task.traits.throws)
            if isinstance(error, TimeLimitExceeded) and run.was_told == HARD:
                outcome, error.args = Outcome.HARD_LIMIT, (run.hard_limit,)
                if ending_of(outcome, rules_of(task.traits)) is Ending.LOSE:
                    # It comes back, unless the supervisor says that it has done so too often: then that is its end.
                    tell(End(task, run.request_now(), outcome, error), is_back=True)
                    return outcome, pack_reason(str(run.hard_limit))
            return self._end(task, run.request_now(), outcome, error, run.seconds, is_ignored=not wanted)
        finally:
            # Frames hold every local of the task; the text of the traceback is all that is kept.
            error.__traceback__ = None

    def interruption(self, run: Executor) -> BaseException:
        """Return what is raised in a run that was told something of it before its task was called."""
        return RAISED[run.was_told]()

    def follow(self, run: Executor, row: int) -> Finished:
        """Do what follows from a run that is over without its child; it is not run again."""
        outcome, why = Outcome(run.outcome), parse_effects(run.effects, [], []) or ""
        task, args, kwargs, embed = self._tasks[row], (), {}, {}
        try:
            args, kwargs, embed = self._opened(run)
        except (WireError, InvalidTaskError) as closed:
            logger.error("Task %s[%s] %s, so its errbacks are unknown: %s", task.name, run.task_id,
                         FATES[Outcome.UNDECODABLE].says, closed)
        request = self.make_request(run.content, run.task_id, run.queue, self._hostname, run.deaths, args, kwargs,
                                    embed, math.nan, math.nan)
        token = current.push(task, request)
        try:
            error: BaseException = error_of(outcome, why)
            if outcome is Outcome.LOST and _may_retry(task, request):
                delay_s = task.default_retry_delay
                sig = signature_of(task, request, countdown=delay_s, retries=request.retries + 1)
                outcome, error = Outcome.RETRIED, Retry(exc=error, when=delay_s, sig=sig)
            return self._end(task, request, outcome, error, is_ignored=_is_ignored(task, request), is_over=True)
        finally:
            current.pop(token)

    def _end(self, task: Any, request: Request, outcome: Outcome, error: BaseException, seconds: float = 0.0, *,
             is_ignored: bool, is_over: bool = False, is_read: bool = True, signum: int | None = None) -> Finished:
        fate = FATES[outcome]
        einfo = ExceptionInfo(error) if fate.keep is not Keep.NEVER and fate.state != states.REVOKED else None
        effects = b""
        try:
            if fate.send is Send.RETRY and isinstance(error, Retry) and error.sig is not None:
                effects = self._message(error.sig)
            elif isinstance(error, Replaced):
                effects = b"".join(map(pack_message, workflow.messages(self._app, error.sig, (), {}, {})[0]))
        except Exception as unsendable:
            # What is left of the task is this message: it fails, and says why.
            return self._end(task, request, Outcome.RAISED, unsendable, seconds, is_ignored=is_ignored, is_over=is_over)
        if fate.stored:
            text = einfo.traceback if einfo else None
            effects = self._result(task, request, outcome, error, text, is_ignored) + effects
            effects += self._doom(request, outcome, error, text, is_read=is_read)
        end = End(task, request, outcome, error, einfo, seconds, signum)
        log(end)
        if fate.send is Send.ERRBACKS:
            effects += self._errbacks(end)
        tell(end, is_over=is_over)
        if fate.late is Ending.DEAD or fate.otherwise is Ending.DEAD:
            effects += pack_reason(_reason(outcome, error))
        return outcome, effects

    def _errbacks(self, end: End) -> bytes:
        text = end.einfo.traceback if end.einfo else None
        try:
            return b"".join(map(pack_message, links.error_messages(self._app, end.request, end.value, text)))
        except Exception:
            logger.exception("The errbacks of task %s[%s] could not be called or sent", end.task.name, end.request.id)
            return b""

    def _left(self, task: Any, request: Request, leave: Leave) -> Finished:
        left = leave.leaving
        tell(End(task, request, Outcome.RETURNED, None))
        return Outcome.RETURNED, (
            b"".join(pack_result(*stored) for stored in left.results) + b"".join(map(pack_message, left.messages))
            + b"".join(map(pack_part, left.parts)) + (pack_joined(left.joined) if left.joined else b""))

    def expired(self, run: Executor, row: int) -> Finished:
        """End a run that was not begun in time."""
        task, request, is_read = self._tasks[row], run.request_now(), True
        if request.chord is None and not request.chain:
            # What follows it stands in the body, which nobody has opened: it was not begun.
            opened = self.open(run, row)
            is_read = len(opened) == 3
            links = opened[2] if is_read else {}
            request.update(chain=links.get("chain"), chord=links.get("chord"))
        return self._end(task, request, Outcome.EXPIRED, TaskRevokedError("expired"),
                         is_ignored=_is_ignored(task, request), is_read=is_read)

    def internal_error(self, run: Executor, row: int, error: BaseException) -> Finished:
        """End a run in which fastq itself failed; the message is kept, with the reason."""
        task, request, outcome = self._tasks[row], run.request_now(), Outcome.INTERNAL_ERROR
        logger.critical("Task %s[%s] %s: %s\n%s", task.name, request.id, FATES[outcome].says, saferepr(error),
                        format_exception(error))
        tell(End(task, request, outcome, error, ExceptionInfo(error)))
        effects = b""
        try:
            effects = self._result(task, request, outcome, error, None, _is_ignored(task, request))
            effects += self._doom(request, outcome, error, None)
        except Exception:
            logger.exception("The failure of task %s[%s] cannot be stored", task.name, request.id)
        return outcome, effects + pack_reason(_reason(outcome, error))

    def spill(self, effects: bytes) -> bytes:
        """Put effects that do not fit a slot into a file; returns its path."""
        return self._spill.put(effects)

    # -- parts ----------------------------------------------------------------------------------

    def _result(self, task: Any, request: Request, outcome: Outcome, value: Any, traceback: str | None,
                is_ignored: bool) -> bytes:
        fate = FATES[outcome]
        if is_ignored and request.chord and self._codec is not None and self._app.backend.polls_chords:
            is_ignored = False      # where nobody counts, the chord looks for it
        if self._codec is None or request.id is None or (
                is_ignored and not (fate.keep is Keep.ERROR and task.traits.store_errors_even_if_ignored)):
            return b""
        if fate.stored == states.SUCCESS:
            meta = self._codec.encode_success(request.id, value, request)
        else:
            value = value.exc if isinstance(value, Retry) else value
            meta = self._codec.encode(request.id, fate.stored, value, traceback, request=request)
        return pack_result(request.id, fate.stored, meta)

    def _part(self, request: Request, state: str, value: Any) -> bytes:
        """Pack what a member of a chord leaves."""
        member = Member.of_request(request)
        if member is None:
            return b""
        if self._codec is None:
            logger.error("Task %s[%s] has ended as a member of chord %s, whose body will never run: there is no result "
                         "store to count its members in; set result_backend", request.task, request.id, request.group)
            return b""
        return pack_part(part_of(self._codec, member, state, value, self._place(request)))

    def _doom(self, request: Request, outcome: Outcome, error: BaseException, traceback: str | None, *,
              is_read: bool = True) -> bytes:
        """Pack what fails along with a task: its chord counts it, and the rest of its chain will never run."""
        state = FATES[outcome].stored
        if self._codec is None or state not in _FINAL:
            return b""
        place = self._place(request)
        if request.task in GO_ON:
            fate = given_up(self._codec, request.task, request.args, request.kwargs, error, place)
        elif request.chord or request.chain or not is_read:
            fate = fates(self._codec, request, state, error, traceback, place, is_read=is_read)
        else:
            return b""
        return (b"".join(pack_result(*stored) for stored in fate.results) + b"".join(map(pack_part, fate.parts))
                + b"".join(map(pack_message, fate.messages)))

    @staticmethod
    def _place(request: Request) -> Place:
        delivery, properties = request.delivery_info or {}, request.properties or {}
        known = serializers.registry.name_of(properties.get("content_type"))
        return Place(delivery.get("routing_key") or "", delivery.get("priority") or 0, known or "json")


    def _message(self, sig: Signature[Any]) -> bytes:
        return pack_message(self._app.message_of(sig))


def outcome_of(error: BaseException, throws: tuple[type[BaseException], ...]) -> Outcome:
    """Return the outcome of a run that raised *error*."""
    if isinstance(error, Retry):
        return Outcome.RETRIED
    if isinstance(error, Ignore):
        return Outcome.IGNORED
    if isinstance(error, Reject):
        return Outcome.REQUEUED if error.requeue else Outcome.REJECTED
    if isinstance(error, SoftTimeLimitExceeded):
        return Outcome.SOFT_LIMIT
    return Outcome.EXPECTED if isinstance(error, throws) else Outcome.RAISED


def _is_ignored(task: Any, request: Request) -> bool:
    explicit = request.ignore_result
    return bool(task.traits.ignore_result if explicit is None else explicit)


def _may_retry(task: Any, request: Request) -> bool:
    if not task.traits.retry_on_worker_lost:
        return False
    return task.max_retries is None or request.retries < task.max_retries


def _reason(outcome: Outcome, error: BaseException) -> str:
    if outcome is Outcome.POISONED:
        return str(error)
    cause = error.reason if isinstance(error, Reject) else error
    return f"{FATES[outcome].says}: {cause if isinstance(cause, str) else saferepr(cause)}"


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
