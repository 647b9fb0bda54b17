"""How the keys of results are called: as Celery calls them, so that both find each other's."""

from __future__ import annotations

TASK = "celery-task-meta-"
"""Before the id of a task: the key of its document, and the channel on which each new document is published."""

GROUP = "celery-taskset-meta-"
"""Before the id of a group: the key of what was saved of it, and of what is counted of a chord."""

_ENDS = ":_-."


def task_prefix(given: str | None) -> str:
    """Return what stands before a task's id, with the ``global_keyprefix`` *given* to the result store.

    >>> task_prefix("shop"), task_prefix("shop:"), task_prefix(None)
    ('shop_celery-task-meta-', 'shop:celery-task-meta-', 'celery-task-meta-')
    """
    return _prefixed(given, TASK)


def group_prefix(given: str | None) -> str:
    """Return what stands before a group's id; see `task_prefix`."""
    return _prefixed(given, GROUP)


def _prefixed(given: str | None, kind: str) -> str:
    return f"{given}{'' if given[-1] in _ENDS else '_'}{kind}" if given else kind
