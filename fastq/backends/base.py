"""The seam between fastq and whatever keeps its results. Imports no implementation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
