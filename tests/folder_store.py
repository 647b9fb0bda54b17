"""Results in a folder, as the files of Celery's ``file://``: a store that cannot count the members of chords."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

from fastq import backends
from fastq.backends.joinless import Uncounting
from fastq.states import READY_STATES, SUCCESS
from fastq.types import Result

STEP_S = 0.02


def use() -> None:
    """Make ``file:///folder`` a store, in this process and in those that are forked from it."""
    backends.SCHEMES["file"] = __name__


def open_url(url: str, options: Mapping[str, object]) -> FolderStore:
    """Open the store at a ``file://`` address."""
    return FolderStore(Path(urlsplit(url).path))


class FolderStore(Uncounting):
    """Documents as files. Their folder goes when the test has ended, and they with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()

    def _path(self, task_id: str, kind: str = "task") -> Path:
        return self._folder / f"celery-{kind}-meta-{task_id}"

    def _write(self, path: Path, raw: bytes) -> None:
        part = path.with_name(f"part-{uuid4().hex}")
        part.write_bytes(raw)
        os.replace(part, path)

    def put(self, results: Sequence[Result]) -> None:
        with self._lock:
            for result in results:
                known = self.get((result.task_id,)).get(result.task_id)
                if known is None or json.loads(known)["status"] != SUCCESS:
                    self._write(self._path(result.task_id), result.meta)

    def get(self, task_ids: Sequence[str]) -> dict[str, bytes]:
        paths = {task_id: self._path(task_id) for task_id in task_ids}
        # Celery writes in place: what is empty is being written.
        found = {task_id: path.read_bytes() for task_id, path in paths.items() if path.exists()}
        return {task_id: raw for task_id, raw in found.items() if raw}

    def wait(self, task_ids: Sequence[str], timeout: float | None) -> dict[str, bytes]:
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            found = {task_id: raw for task_id, raw in self.get(task_ids).items()
                     if json.loads(raw)["status"] in READY_STATES}
            if found or (deadline is not None and time.monotonic() >= deadline):
                return found
            threading.Event().wait(STEP_S)

    def forget(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            self._path(task_id).unlink(missing_ok=True)

    def prune(self, limit: int = 1000) -> int:
        return 0    # nothing expires

    def group_put(self, group_id: str, raw: bytes, expires_at: float | None) -> None:
        self._write(self._path(group_id, "taskset"), raw)

    def group_get(self, group_id: str) -> bytes | None:
        path = self._path(group_id, "taskset")
        return path.read_bytes() if path.exists() else None

    def group_forget(self, group_id: str) -> None:
        self._path(group_id, "taskset").unlink(missing_ok=True)

    def close(self) -> None:
        """Nothing is held open."""
