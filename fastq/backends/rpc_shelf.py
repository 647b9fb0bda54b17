"""Documents that came, until somebody asks for them: bounded, the oldest dropped first."""

from __future__ import annotations

import logging
from typing import NamedTuple

logger = logging.getLogger("fastq.backends.rpc")

DOCUMENT_BYTES = 200
"""What a document takes besides its own bytes."""


class Document(NamedTuple):
    """What a task's last message said, and whether the task has ended."""

    raw: bytes
    is_final: bool


class Shelf:
    """Keeps up to *most* documents of *most_bytes* together. Not safe for two threads at once.

    Example:
        >>> shelf = Shelf(most=2)
        >>> for task_id in "abc":
        ...     _ = shelf.put(task_id, Document(b"", True))
        >>> [task_id in shelf for task_id in "abc"]
        [False, True, True]
    """

    def __init__(self, most: int = 100_000, most_bytes: int = 64 << 20, *, warns: bool = False) -> None:
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0
        self._warns = warns
        self._documents: dict[str, Document] = {}

    def put(self, task_id: str, document: Document) -> None:
        """Keep a document in place of an older one of the task."""
        self.pop(task_id)
        self._documents[task_id] = document
        self._bytes += _size(document)
        while len(self._documents) > self._most or (self._bytes > self._most_bytes and len(self._documents) > 1):
            self.pop(next(iter(self._documents)))
            if self._warns:
                self._warns = False
                logger.warning("more than %d results, or %d MiB of them, came that nobody asked for: the oldest are "
                               "dropped; send tasks whose results you do not read with ignore_result=True",
                               self._most, self._most_bytes >> 20)

    def get(self, task_id: str) -> Document | None:
        """Return the document of a task, if it is there."""
        return self._documents.get(task_id)

    def pop(self, task_id: str) -> Document | None:
        """Take the document of a task away, and return it, if it is there."""
        document = self._documents.pop(task_id, None)
        if document is not None:
            self._bytes -= _size(document)
        return document

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._documents

    def __len__(self) -> int:
        return len(self._documents)


def _size(document: Document) -> int:
    return len(document.raw) + DOCUMENT_BYTES
