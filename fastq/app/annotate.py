"""``task_annotations``: options that the settings lay over tasks, whatever the tasks say themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fastq.exceptions import ConfigError


def annotate(task: Any, annotations: Any, resolve: Callable[[str], Any]) -> None:
    """Set on *task* what the setting *annotations* has for it, in order.

    The setting is a mapping of task names (``"*"``: every task) to options, an object with
    ``annotate(task)`` and ``annotate_any()``, the dotted path of one, or a list of these. An option
    ``"@name"`` is a function that the task's method *name* is wrapped in.
    """
    for annotation in annotations if isinstance(annotations, (list, tuple)) else (annotations,):
        for options in _found(annotation, task, resolve):
            for name, value in (options or {}).items():
                if name.startswith("@"):
                    name = name[1:]
                    value = value(getattr(task, name))
                setattr(task, name, value)


def _found(annotation: Any, task: Any, resolve: Callable[[str], Any]) -> Iterator[Mapping[str, Any] | None]:
    if isinstance(annotation, str):
        annotation = resolve(annotation)
    if isinstance(annotation, type):
        annotation = annotation()
    if isinstance(annotation, Mapping):
        yield annotation.get("*")
        yield annotation.get(task.name)
    elif hasattr(annotation, "annotate"):
        if hasattr(annotation, "annotate_any"):
            yield annotation.annotate_any()
        yield annotation.annotate(task)
    elif annotation is not None:
        raise ConfigError(f"task_annotations takes mappings and objects with annotate(task), not {annotation!r}")
