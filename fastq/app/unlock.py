"""The built-in task ``celery.chord_unlock``: it sends the body of a chord whose members have all ended, or fails it.

A worker sends it when a store says that a chord is complete; clients whose store cannot count send it with the chord,
and then it looks again and again. What it does is not done here, but left to its run (`Leave`): so body, results and
errbacks are sent and stored in one step with its ack, and never twice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastq import points, states
from fastq.app import links
from fastq.app.parts import Place, Stored, doomed, failures
from fastq.exceptions import ChordError, TaskPredicate, TimeoutError
from fastq.request import Request
from fastq.result import allow_join_result, result_from_tuple
from fastq.result.group import look_at
from fastq.types import Message, Part
from fastq.wire.chord import COUNTED
from fastq.wire.rest import is_pointer

logger = logging.getLogger("celery.app.chord")


@dataclass
class Leaving:
    """What leaves with the ack of a run, besides its own outcome."""

    messages: list[Message] = field(default_factory=list)
    results: list[Stored] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    joined: str = ""
    """The chord whose body is among it, or the chain whose last block."""


class Leave(TaskPredicate):
    """Raised by a built-in task to end well, and to leave things behind."""

    def __init__(self, leaving: Leaving) -> None:
        super().__init__("the task has ended")
        self.leaving = leaving


def chord_unlock(self: Any, group_id: str, callback: Any, interval: float | None = None,
                 max_retries: int | None = None, result: Any = None, **kwargs: Any) -> None:
    """Send *callback* with the values of the chord's members, of which *result* are the handles as tuples."""
    app, request = self.app, self.request
    # To who sends it, the body follows the member that ended last.
    last = Request(id=request.parent_id or request.id, root_id=request.root_id or request.id, called_directly=False,
                   reply_to=request.reply_to)
    place = Place((request.delivery_info or {}).get("routing_key") or app.conf.task_default_queue)
    counted = bool(kwargs.get(COUNTED)) and app.backend.joins and not app.backend.polls_chords
    chord = app.backend.chord_get(group_id, str(request.id)) if counted else None
    if chord is not None and chord.is_done:
        logger.info("The body of chord %s is sent already, or by another message", group_id)
        return
    leaving = Leaving(joined=group_id if counted else "")
    try:
        if is_pointer(callback):
            raise ChordError("the store has lost the body")
        if chord is not None and chord.members and chord.group is None:
            values = _values(app, chord.members)
        else:
            if chord is not None and chord.members:
                _values(app, chord.members)
            tree = result if chord is None or chord.group is None else \
                app.result_codec.load(chord.group)["result"][1]
            values = _joined(self, group_id, tree, interval, max_retries, may_wait=chord is None)
        leaving.messages = _start(app, callback, values, last)
    except TaskPredicate:
        raise       # to look again later
    except Exception as error:
        chord_error = error if isinstance(error, ChordError) else ChordError(f"Callback error: {error!r}")
        logger.error("Chord %s has failed: %s", group_id, chord_error)
        fail(app, callback, chord_error, last, place, leaving)
    points.reach("unlocking")
    raise Leave(leaving)


def _values(app: Any, members: Sequence[bytes]) -> list[Any]:
    """Return what the members of a chord left. Raises ChordError for the first that failed."""
    values = []
    for task_id, state, value in app.result_codec.decode_parts(members):
        if state in states.PROPAGATE_STATES:
            raise ChordError(f"Dependency {task_id} raised {value!r}") from _cause(value)
        values.append(value)
    return values


def _joined(task: Any, group_id: str, tree: Any, interval: float | None, max_retries: int | None, *,
            may_wait: bool) -> list[Any]:
    """Return the values of the results in *tree*; asks for a retry while they are not there, if it *may_wait*."""
    app = task.app
    if not isinstance(tree, (list, tuple)):
        raise ChordError("Join error: the store has lost what the members left")
    group = app.GroupResult(group_id, [result_from_tuple(member, app) for member in tree])
    if may_wait and not group.ready():
        pause = app.conf.result_chord_retry_interval if interval is None else interval
        try:
            raise task.retry(countdown=pause, max_retries=max_retries)
        except task.MaxRetriesExceededError as error:
            raise ChordError(f"chord_unlock could not be retried: {error!r}") from error
    try:
        with allow_join_result():
            values: list[Any] = group.get(timeout=app.conf.result_chord_join_timeout, propagate=True)
            return values
    except TimeoutError as error:
        raise ChordError(f"Join error: {error!r}") from error
    except Exception as error:
        culprit = _culprit(group)
        raise ChordError(f"Dependency {culprit} raised {error!r}" if culprit else f"Join error: {error!r}") from error


def _culprit(group: Any) -> str | None:
    look_at(group)
    for member in group:
        if member.children is not None and not hasattr(member, "task_id"):
            found = _culprit(member)
            if found:
                return found
        elif member._meta is not None and member._meta["status"] in states.PROPAGATE_STATES:
            return str(member.id)
    return None


def _start(app: Any, body: Mapping[str, Any], values: list[Any], last: Request) -> list[Message]:
    return links.due(app, dict(body), values, last)


def fail(app: Any, body: Mapping[str, Any], error: BaseException, last: Request, place: Place,
         leaving: Leaving) -> None:
    """Leave what a body leaves that will never run: its failure, for all who wait for it, and its errbacks."""
    # The members of a group fail with what the chord's member raised, as Celery has it.
    said = error.__cause__ or error if body.get("subtask_type") == "group" else error
    leaving.results, leaving.parts, leaving.messages = failures(
        app.result_codec, (body,), states.FAILURE, said, None, place)
    for sig in _with_errbacks(body):
        options = sig.get("options") or {}
        request = Request(id=options.get("task_id"), root_id=last.root_id, parent_id=last.id, called_directly=False,
                          task=sig.get("task"), args=sig.get("args"), kwargs=sig.get("kwargs"),
                          errbacks=_listed(options.get("link_error")), group=options.get("group_id"),
                          chord=options.get("chord"))
        try:
            leaving.messages += links.error_messages(app, request, said, None)
        except Exception:
            logger.exception("The errbacks of chord body %s could not be called or sent", request.id)


def _with_errbacks(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the signatures whose errbacks are called: the body; of a group each member."""
    own = {**body, "options": {**(body.get("options") or {})}}
    if body.get("subtask_type") is None:
        return [own]
    leaves = list(doomed((body,)))
    if not own["options"].get("task_id"):
        # It stands for its last task, and is known by that one's id.
        own["options"]["task_id"] = next(((leaf.get("options") or {}).get("task_id") for leaf in leaves[::-1]), None)
    return [own] if own["options"].get("link_error") else leaves


def _listed(links_given: Any) -> list[Any]:
    return list(links_given) if isinstance(links_given, (list, tuple)) else [links_given] if links_given else []


def _cause(value: Any) -> BaseException | None:
    return value if isinstance(value, BaseException) else None
