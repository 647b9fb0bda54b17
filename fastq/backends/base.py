"""The seam between fastq and whatever keeps its results. Imports no implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol, runtime_checkable

from fastq.types import Chord, Claim, Complete, Opening, Part, Result


class Documents(Protocol):
    """Keeps one encoded document per task id. Once a SUCCESS is stored, later writes are ignored."""

    def put(self, results: Sequence[Result]) -> None:
        """Store documents, all or nothing. Raises BackendError."""

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        """The documents that exist and have not expired."""

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, bytes]:
        """Block until one of *task_ids* has a document in a ready state, without polling.

        Returns those that are ready; an empty dict when *timeout* seconds have passed.
        """

    def forget(self, task_ids: Iterable[str]) -> None:
        """Drop documents; unknown ids are fine."""

    def prune(self, limit: int = 1000) -> int:
        """Drop up to *limit* expired documents; returns how many."""

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""


class Chords(Protocol):
    """Keeps which members of chords have ended, and groups. Every store has it.

    Of one that cannot count `polls_chords` is true, of one that can keep no groups `joins` is false.
    """

    joins: bool
    """Whether members can be joined here; else all of this raises Unsupported."""
    polls_chords: bool
    """Whether it counts no members, though it joins: a message of `celery.chord_unlock`, sent with the chord, looks
    whether all have results. Then only groups are kept here, and the rest raises Unsupported."""

    def chord_open(self, group_id: str, size: int, *, group: bytes | None = None, plan: bytes = b"",
                   expires_at: float | None = None, renew: bool = False) -> None:
        """Say of how many members the chord *group_id* is, before the last of them is sent; and keep its *group*.

        A *plan* is kept in place of what the members bring. A chord that has sent its body stays done, unless *renew*:
        then it counts anew. Raises BackendError.
        """

    def chord_open_all(self, opens: Sequence[Opening], *, expires_at: float | None = None, renew: bool = False) -> None:
        """`chord_open` for many, in few steps. Raises BackendError; some may be open then."""

    def chord_add(self, group_id: str, count: int = 1) -> None:
        """Say that the chord has *count* members more. Raises BackendError."""

    def chord_count(self, parts: Sequence[Part], expires_at: float | None = None) -> list[Complete]:
        """Note that members have ended, each counted once; return the chords that the caller has to complete.

        A chord is given to one caller, and to it again when the same member is told again. Raises BackendError.
        """

    def chord_get(self, group_id: str, taker: str = "") -> Chord:
        """What is known of a chord. Raises BackendError.

        With *taker*, the id of a message that is to send the body, the chord is its own from now on: to all others it
        is done, and no member completes it again.
        """

    def chord_hold(self, claims: Sequence[Claim], expires_at: float | None = None) -> None:
        """Note that what completes chords is with the broker: they are given to nobody else. Raises BackendError."""

    def chord_close(self, group_ids: Sequence[str]) -> None:
        """Note that the bodies of chords, or ends of chains, were sent, and drop the rest. Raises BackendError."""

    def rest_put(self, ref: str, blocks: Sequence[bytes], expires_at: float | None) -> None:
        """Keep the rest of a chain, in *blocks* with numbers from 1 on, until it is closed like a chord.

        Raises BackendError.
        """

    def rest_get(self, ref: str, number: int, expires_at: float | None) -> bytes | None:
        """One block of it, if it is there; what is left of it is kept anew. Raises BackendError."""

    def group_put(self, group_id: str, raw: bytes, expires_at: float | None) -> None:
        """Keep the members of a group. Raises BackendError."""

    def group_get(self, group_id: str) -> bytes | None:
        """The members of a group that were kept. Raises BackendError."""

    def group_forget(self, group_id: str) -> None:
        """Drop the members of a group. Raises BackendError."""


class ResultStore(Documents, Chords, Protocol):
    """What keeps results."""


@runtime_checkable
class Listened(Protocol):
    """A store with a thread of its own that reads for those who cannot wait in one."""

    def listen(self, task_id: str, call: Callable[[bytes | Exception], object]) -> None:
        """Call *call* once with the document of a task that has ended, or the error, from any thread, or at once."""

    def unlisten(self, task_id: str, call: Callable[[bytes | Exception], object]) -> None:
        """Forget what `listen` was told."""


class Replies(ResultStore, Listened, Protocol):
    """A store whose documents come to the sender of the task, in messages, and to nobody else."""

    @property
    def address(self) -> str:
        """What messages carry as ``reply_to``."""

    def expect(self) -> str:
        """See to it that documents can come, before a task is sent; returns `address`. Raises TransportError."""

    def lost_since(self, began: float) -> str | None:
        """Say what was lost since *began* (of the monotonic clock) that a wait may have been for; None for nothing."""
