"""What the members of chords leave when they end, and what fails along with a task.

1. `part_of`: what one member leaves.
2. `doomed`: the signatures that will never run because something before them failed.
3. `failures`: what is stored and counted for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from fastq.backends.meta import MetaCodec, exception_to_meta
from fastq.exceptions import ChordError
from fastq.request import Request
from fastq.states import FAILURE
from fastq.types import Message, Part
from fastq.wire import chord, rest

GO_ON = frozenset((chord.UNLOCK, rest.TASK))
"""The tasks that go on with a workflow: what they stand for fails when they are given up."""

Stored = tuple[str, str, bytes]
"""(task id, state, document)"""


class Member(NamedTuple):
    """A task as its chord knows it; *body* is the signature that follows when all have ended."""

    group_id: str
    task_id: str
    place: int | None
    body: Any
    root_id: str | None = None

    @classmethod
    def of_request(cls, request: Request) -> Member | None:
        """Return the member that *request* is the run of; None when it is none."""
        if not request.chord or not request.group or not request.id:
            return None
        return cls(request.group, request.id, request.group_index, request.chord, request.root_id)

    @classmethod
    def of_signature(cls, sig: Mapping[str, Any]) -> Member | None:
        """Return the member that *sig* would be the run of; None when it is none."""
        options = sig.get("options") or {}
        if not options.get("chord") or not options.get("group_id") or not options.get("task_id"):
            return None
        return cls(options["group_id"], options["task_id"], options.get("group_index"), options["chord"],
                   options.get("root_id"))


class Place(NamedTuple):
    """Where a member's message came from: there the message that completes its chord goes."""

    queue: str
    priority: int = 0
    serializer: str = "json"


def part_of(codec: MetaCodec, member: Member, state: str, value: Any, place: Place) -> Part:
    """Return what *member* leaves. Raises EncodeError for a value that cannot be stored."""
    plan = chord.plan(member.group_id, member.body, serializer=place.serializer, queue=place.queue,
                      priority=place.priority)
    return Part(member.group_id, member.task_id, member.place, state, codec.encode_part(member.task_id, state, value),
                member.root_id, plan)


def doomed(sigs: Iterable[Any]) -> Iterator[Mapping[str, Any]]:
    """Go through the tasks that will not run when none of *sigs* is sent: of a chord its body, of a chain all."""
    left = deque(sigs)
    while left:
        sig = left.popleft()
        if not isinstance(sig, Mapping):
            continue
        kwargs, kind = sig.get("kwargs") or {}, sig.get("subtask_type")
        if kind in ("chain", "group"):
            left.extend(kwargs.get("tasks") or ())
        elif kind == "chord":
            left.append(kwargs.get("body"))
        else:
            yield sig
        left.extend((sig.get("options") or {}).get("chain") or ())


class Fate(NamedTuple):
    """What is left of all that will not run; *messages* go on with what the store keeps of it."""

    results: list[Stored]
    parts: list[Part]
    messages: list[Message]

    def add(self, other: Fate) -> None:
        """Take in *other*."""
        self.results.extend(other.results)
        self.parts.extend(other.parts)
        self.messages.extend(other.messages)


def failures(codec: MetaCodec, sigs: Iterable[Any], state: str, error: BaseException, traceback: str | None,
             place: Place) -> Fate:
    """Return the documents and the parts of all that will not run as *sigs* are not sent."""
    results: list[Stored] = []
    parts: list[Part] = []
    messages: list[Message] = []
    for sig in doomed(sigs):
        task_id = (sig.get("options") or {}).get("task_id")
        if sig.get("task") == rest.TASK and sig.get("args"):
            doom = {"state": state, "error": exception_to_meta(error), "traceback": traceback}
            messages.append(rest.message(sig, None, doom=doom, queue=place.queue, priority=place.priority,
                                         root_id=None, parent_id=None))
        if task_id:
            results.append((task_id, state, codec.encode(task_id, state, error, traceback)))
        member = Member.of_signature(sig)
        if member is not None:
            parts.append(part_of(codec, member, state, error, place))
    return Fate(results, parts, messages)


def given_up(codec: MetaCodec, task: str | None, args: Any, kwargs: Any, error: BaseException, place: Place) -> Fate:
    """Return what fails when a message of one of the tasks is given up that go on with a workflow."""
    if not isinstance(args, (list, tuple)) or len(args) < 2:
        return Fate([], [], [])
    if task == chord.UNLOCK:
        # Whoever waits for the body of that chord must not wait for ever.
        sig, lost = args[1], ChordError(f"the message that completes the chord is given up: {error!r}")
    else:
        _, *where, task_id = args if len(args) > 3 else (*args, None)
        # One that was to fail all of it is not tried once more.
        said = kwargs or {}
        end = said.get("end")
        lost = ChordError(f"the message that goes on with the chain is given up: {error!r}")
        if said.get("doom"):
            sigs = [rest.pointer(task_id), *([{"options": end}] if isinstance(end, Mapping) else [])]
            return failures(codec, sigs, FAILURE, lost, None, place)
        sig = rest.pointer(task_id, *where, end=end if isinstance(end, Mapping) else None)
    return failures(codec, (sig,), FAILURE, lost, None, place)


def fates(codec: MetaCodec, request: Request, state: str, error: BaseException, traceback: str | None,
          place: Place, *, is_read: bool = True) -> Fate:
    """Return what is left of all that fails along with the task of *request*, with its own part.

    Where the body of its message could not be read, a task that is in a group counts for a chord that others tell of.
    """
    fate = failures(codec, request.chain or (), state, error, traceback, place)
    member = Member.of_request(request)
    if member is not None:
        fate.parts.append(part_of(codec, member, state, error, place))
    elif request.group and not is_read:
        fate.parts.append(Part(request.group, str(request.id), request.group_index, state,
                               codec.encode_part(str(request.id), state, error), request.root_id))
    return fate
