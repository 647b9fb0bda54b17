"""The commands of remote control that only Celery's workers do whole, answered so that nobody waits."""

from __future__ import annotations

from collections import deque
from typing import Any

from fastq.worker.child import resident_kib
from fastq.worker.command_table import command
from fastq.worker.panel import Panel

KEPT = 100
_samples: deque[str] = deque(maxlen=KEPT)
"""The last samples of memory, of this process."""


@command("disable_events", "heartbeat", "election")
def enable_events(panel: Panel, **_: Any) -> object:
    """Say that there are no events yet: monitors ask every few seconds, and the log would have each as an error."""
    return {"error": "a worker of fastq's sends no events yet"}


@command()
def memsample(panel: Panel, **_: Any) -> object:
    """The resident memory of the supervisor."""
    _samples.append(f"{resident_kib() / 1024:.1f}MB")
    return _samples[-1]


@command()
def memdump(panel: Panel, samples: int = 10, **_: Any) -> object:
    """The last samples of it, with one that is taken now."""
    memsample(panel)
    return list(_samples)[-samples:]


@command()
def objgraph(panel: Panel, **_: Any) -> object:
    """Say that objects are not drawn."""
    return {"error": "a worker of fastq's draws no graph of its objects: inspect memdump tells what it takes"}
