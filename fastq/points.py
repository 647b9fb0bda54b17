"""Labelled points of the worker at which a fault test kills the process; nothing at any other time.

A test starts a process with ``FASTQ_KILL_AT=label:7``: it kills itself with SIGKILL when it reaches
the point for the seventh time. The points are where a death would hurt most: between two steps that
must not be torn apart.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

Publish = Callable[..., Any]

SUPERVISOR = ("collected", "counted", "before-settle", "settled", "early-acked", "staged", "released", "buried",
              "closing")
CHILD = ("claimed", "called", "recorded", "done")
BUILT_IN = ("unlocking",)
"""In a built-in task, in a child."""
PRODUCER = ("before-publish", "published")
ALL = SUPERVISOR + CHILD + BUILT_IN + PRODUCER


def _nothing(label: str) -> None:
    """Go on."""


def _deadly(label: str, count: int) -> Callable[[str], None]:
    left = [count]

    def reach(reached: str) -> None:
        if reached == label:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    return reach


def wanted() -> tuple[str, int] | None:
    """Return (label, count) from the environment, None when nothing is to be killed.

    Raises ValueError for a label that does not exist: a test that kills nothing proves nothing.
    """
    text = os.environ.get("FASTQ_KILL_AT")
    if not text:
        return None
    label, _, count = text.partition(":")
    if label not in ALL:
        raise ValueError(f"FASTQ_KILL_AT names {label!r}; there are {', '.join(ALL)}")
    return label, int(count or 1)


def _arm() -> Callable[[str], None]:
    target = wanted()
    return _deadly(*target) if target else _nothing


reach = _arm()


def _unharmed(publish: Publish) -> Publish:
    return publish


def _deadly_around(publish: Publish) -> Publish:
    def published(*message: Any) -> Any:
        reach("before-publish")
        answer = publish(*message)
        reach("published")
        return answer

    return published


around = _deadly_around if reach is not _nothing else _unharmed
"""Puts the points of a producer around what it publishes with; costs nothing where it is done once."""


def child_point() -> int:
    """Return what the compiled loop of a child takes as ``kill_at``: 0 for never, else count << 2 | point."""
    target = wanted()
    if target is None or target[0] not in CHILD:
        return 0
    return target[1] << 2 | CHILD.index(target[0])
