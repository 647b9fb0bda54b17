"""``app.tasks``: every task of an app by its name."""

from __future__ import annotations

from typing import Any

from fastq.app.task import Task
from fastq.exceptions import NotRegistered


class TaskRegistry(dict[str, Task[..., Any]]):
    """Task name -> task."""

    NotRegistered = NotRegistered

    def __missing__(self, name: str) -> Task[..., Any]:
        raise NotRegistered(name)

    def register(self, task: Task[..., Any]) -> None:
        """Add *task* under its name, in place of any other."""
        self[task.name] = task

    def unregister(self, name: Any) -> None:
        """Remove a task, given itself or its name. Raises NotRegistered."""
        name = getattr(name, "name", name)
        if name not in self:
            raise NotRegistered(name)
        del self[name]

    def regular(self) -> dict[str, Task[..., Any]]:
        """Return the tasks; Celery once had others."""
        return dict(self)
