"""What a loop has to do while it waits for a server that does not answer.

A worker's loop has one thread. Where it waits, for a connection above all, it would let time limits pass, dead children
lie and a wish to stop unheard. So every longer wait goes in steps, with the loop's duty after each.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

STEP_S = 0.05
"""How long such a loop waits at a time."""

Duty = Callable[[bool], object]
"""Told whether the wait is for a connection that does not stand yet. What it raises ends the wait, and closes what it
was for."""

duty: ContextVar[Duty | None] = ContextVar("duty", default=None)
_is_opening: ContextVar[bool] = ContextVar("is_opening", default=False)
_awaited: ContextVar[socket.socket | None] = ContextVar("awaited", default=None)


@contextmanager
def meanwhile(of_loop: Duty) -> Iterator[None]:
    """Have this thread do its duty during all waits in the block. Example::

        with meanwhile(lambda is_opening: children.reap()):
            transport.attach("worker", ["celery"])
    """
    token = duty.set(of_loop)
    try:
        yield
    finally:
        duty.reset(token)


@contextmanager
def opening() -> Iterator[None]:
    """Mark waits in the block as those for a connection that does not stand yet."""
    token = _is_opening.set(True)
    try:
        yield
    finally:
        _is_opening.reset(token)


def relieve(of_loop: Duty, awaited: socket.socket | None) -> None:
    """Do the duty of the loop that waits for *awaited*, None when that is no socket."""
    token = _awaited.set(awaited)
    try:
        of_loop(_is_opening.get())
    finally:
        _awaited.reset(token)


def _begin_in_child() -> None:
    """Leave to the parent its duty, and the connection that it waits for; the server would take the child's for it."""
    duty.set(None)
    awaited = _awaited.get()
    if awaited is not None and (number := awaited.detach()) >= 0:
        os.close(number)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_in_child)
