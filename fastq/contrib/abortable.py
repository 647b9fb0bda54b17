"""Tasks that can be asked to stop, and that ask themselves whether they were.

Example::

    from fastq.contrib.abortable import AbortableTask

    @app.task(bind=True, base=AbortableTask)
    def crunch(self, rows):
        for row in rows:
            if self.is_aborted():
                return None
            work(row)

    result = crunch.delay(rows)
    result.abort()
"""

from __future__ import annotations

from typing import Any

from fastq.app.task import Task
from fastq.result import AsyncResult

ABORTED = "ABORTED"
"""The state of a task that somebody has asked to stop."""


class AbortableAsyncResult(AsyncResult[Any]):
    """The result of a task that can be asked to stop."""

    def is_aborted(self) -> bool:
        """Return whether the task was asked to stop; one question to the store."""
        return self.state == ABORTED

    def abort(self) -> None:
        """Ask the task to stop. It does so when it next asks; one that has ended stays as it is."""
        if not self.ready():
            self.app.store_result(self.id, None, ABORTED)


class AbortableTask(Task[Any, Any]):
    """A base class for tasks that call `is_aborted` every now and then. It needs a result store."""

    abstract = True

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AbortableAsyncResult:
        """Return the handle on the result of the task *task_id*."""
        return AbortableAsyncResult(task_id, task_name=self.name, app=self.app, **kwargs)

    def is_aborted(self, task_id: str | None = None) -> bool:
        """Return whether this run, or the task *task_id*, was asked to stop; one question to the store."""
        asked = task_id or self.request.id
        return asked is not None and self.AsyncResult(asked).is_aborted()
