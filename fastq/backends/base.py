"""The seam between fastq and whatever keeps its results. Imports no implementation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from fastq.types import Result


class ResultStore(Protocol):
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


class Replies(ResultStore, Protocol):
    """A store whose documents come to the sender of the task, in messages, and to nobody else."""

    @property
    def address(self) -> str:
        """What messages carry as ``reply_to``."""

    def expect(self) -> str:
        """See to it that documents can come, before a task is sent; returns `address`. Raises TransportError."""

    def listen(self, task_id: str, call: Callable[[bytes | Exception], object]) -> None:
        """Call *call* once with the document of a task that has ended, or the error, from any thread, or at once."""

    def unlisten(self, task_id: str, call: Callable[[bytes | Exception], object]) -> None:
        """Forget what `listen` was told."""

    def lost_since(self, began: float) -> str | None:
        """Say what was lost since *began* (of the monotonic clock) that a wait may have been for; None for nothing."""
