"""Steps of your own, which a worker starts and stops along with its parts.

A class in ``app.steps["worker"]`` is made before the worker looks for its broker; one in ``app.steps["consumer"]`` is
started when it has found it, and again after each reconnect. All are stopped when the worker ends, the last one first.

Example:
    >>> class Liveness(StartStopStep):
    ...     '''Touches a file that Kubernetes looks at.'''
    ...     def start(self, worker):
    ...         self.beat = worker.timer.call_repeatedly(1.0, FILE.touch)
    ...     def stop(self, worker):
    ...         self.beat.cancel()
    >>> app.steps["worker"].add(Liveness)

Steps run in the supervisor, between two turns of its loop: what takes long keeps tasks waiting. The parts of a Celery
worker that steps may name in `requires` are there, in whatever order, when a step is made.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from fastq.exceptions import ConfigError

__all__ = ("ConsumerStep", "StartStopStep", "Step")


class Step:
    """What a worker makes once. *parent* is the worker, or its consumer; *options* are those of the worker."""

    name: ClassVar[str | None] = None
    label: ClassVar[str | None] = None
    requires: ClassVar[Iterable[Any]] = ()
    """Steps, as classes or ``"module:Class"``, that come before this one."""
    conditional: ClassVar[bool] = False
    last: ClassVar[bool] = False
    enabled = True
    """Whether the step is used; an instance may set it, or override `include_if`."""

    def __init__(self, parent: Any, **options: Any) -> None: ...

    def include_if(self, parent: Any) -> bool:
        """Return whether *parent* has this step."""
        return self.enabled

    def create(self, parent: Any) -> Any:
        """Make what the step is about; what it returns is kept as ``obj``."""
        return None

    def include(self, parent: Any) -> bool:
        """Make it part of *parent*, if it is to be; returns whether it is."""
        if not self.include_if(parent):
            return False
        self.obj = self.create(parent)
        return True

    def info(self, obj: Any) -> Any:
        """Return what ``inspect stats`` is to tell; nothing yet asks."""
        return None


class StartStopStep(Step):
    """What a worker starts and stops: by default what `create` returned, by its own methods of these names."""

    obj: Any = None

    def start(self, parent: Any) -> Any:
        """Begin."""
        return self.obj.start() if self.obj else None

    def stop(self, parent: Any) -> Any:
        """End, as the worker does."""
        return self.obj.stop() if self.obj else None

    def close(self, parent: Any) -> Any:
        """Take nothing new; before any step is stopped."""

    def terminate(self, parent: Any) -> Any:
        """End at once, in place of `stop`, where the worker does not wait for what runs."""
        return getattr(self.obj, "terminate", self.obj.stop)() if self.obj else None


class ConsumerStep(StartStopStep):
    """Celery's way to consume other messages in a worker: refused, since it takes kombu's connections."""

    def __init__(self, parent: Any, **options: Any) -> None:
        raise ConfigError(f"{type(self).__name__} is a ConsumerStep, which a fastq worker has no connection of kombu "
                          "for: consume those messages in a process of their own, by kombu or fastq.amqp")
