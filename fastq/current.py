"""Slots that say where the code stands: the current app, and the task that runs here.

1. The current app is one slot per process, set by whoever creates an app.
2. Tasks that are called in place (``add(2, 3)``, ``add.apply()``) are frames on a stack per context.
3. The task that the compiled loop of a worker's child runs is asked for through ``running``.

Nothing here knows what an app or a task is, so that values such as results and signatures,
which live below the app, can find it without importing it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, NamedTuple
from weakref import WeakSet

from fastq.exceptions import ImproperlyConfigured
from fastq.request import Request


class Frame(NamedTuple):
    """A task that was called in place, and the frame below it."""

    task: Any
    request: Request
    below: Frame | None


frames: ContextVar[Frame | None] = ContextVar("fastq_frames", default=None)
"""The innermost call in place of this context."""

ended: ContextVar[Request | None] = ContextVar("fastq_ended", default=None)
"""The request that has ended, while what follows it is made: who awaits that, awaits what follows."""

running: Callable[[Any], Request | None] | None = None
"""Set by a worker's child. Given a task: its request, if that is the task the loop now runs, else
None. Given None: the request of whatever runs."""

running_task: Callable[[], Any] | None = None
"""Set by a worker's child: the task that the loop now runs, or None."""

on_finalize: list[Callable[[Any], object]] = []
"""Called with every app when it is finalized: what `shared_task` registers."""

apps: WeakSet[Any] = WeakSet()
"""Every app that was not closed."""

_app: Any = None


def app() -> Any:
    """Return the current app.

    Raises ImproperlyConfigured when there is none: an app made by a mere read would have no broker
    that anybody meant.
    """
    if _app is None:
        raise ImproperlyConfigured("no app is current: create one with Fastq('name') before this, or pass app=")
    return _app


def app_or_none() -> Any:
    """Return the current app, or None."""
    return _app


def set_app(app: Any) -> None:
    """Make *app* the current one of this process."""
    global _app
    _app = app


def push(task: Any, request: Request) -> Token[Frame | None]:
    """Enter a call in place; give the token to `pop`."""
    return frames.set(Frame(task, request, frames.get()))


def pop(token: Token[Frame | None]) -> None:
    """Leave the call that `push` entered."""
    frames.reset(token)


def request_of(task: Any) -> Request | None:
    """Return the innermost request of *task* in this context, or None when it does not run here."""
    frame = frames.get()
    while frame is not None:
        if frame.task is task:
            return frame.request
        frame = frame.below
    return running(task) if running is not None else None


def task() -> Any:
    """Return the innermost task that runs in this context, or None."""
    top = frames.get()
    if top is not None:
        return top.task
    return running_task() if running_task is not None else None


def parent() -> Request | None:
    """Return the request that what is sent now descends from, or None outside tasks.

    A task called like a function is part of its caller, so it is nobody's parent.
    """
    frame = frames.get()
    while frame is not None:
        if not frame.request.called_directly:
            return frame.request
        frame = frame.below
    return running(None) if running is not None else None

