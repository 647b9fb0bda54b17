"""What the commands of remote control may see and touch of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastq._ext.ring import Ring
from fastq.control.mailbox import Revoked
from fastq.pool.prefork import Prefork
from fastq.worker.options import WorkerOptions
from fastq.worker.rate import Rates
from fastq.worker.revocation import Revocations
from fastq.worker.settle import Settler
from fastq.worker.shutdown import StopWish


@dataclass
class Panel:
    """A worker, as its commands have it."""

    app: Any
    options: WorkerOptions
    tasks: Sequence[Any]
    ring: Ring
    settler: Settler
    children: Prefork | None
    revocations: Revocations
    rates: Rates
    wish: StopWish
    keep: Callable[[list[Revoked]], None]
    take_back: Callable[[], object]
    """Gives back what has not started, so that it is decided about once more."""
    started_at: float = field(default_factory=time.time)

    @property
    def node(self) -> str:
        """The node name."""
        return self.options.hostname

    def row_of(self, name: str) -> int | None:
        """The row of a task in the ring's table."""
        return next((row for row, task in enumerate(self.tasks) if task.name == name), None)
