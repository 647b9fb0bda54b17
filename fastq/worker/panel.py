"""What the commands of remote control may see and touch of a worker."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastq._ext.ring import Ring
from fastq.control.mailbox import Revoked
from fastq.pool.children import Children
from fastq.worker.chosen import Consume
from fastq.worker.decide import Decider
from fastq.worker.options import WorkerOptions
from fastq.worker.rate import Rates
from fastq.worker.revocation import Revocations
from fastq.worker.settle import Settler
from fastq.worker.shutdown import StopWish
from fastq.worker.staff import Staff


def _forget(revoked: list[Revoked]) -> None:
    """Keep nothing: there is no mailbox yet."""


@dataclass
class Panel:
    """A worker, as its commands have it."""

    app: Any
    options: WorkerOptions
    tasks: Sequence[Any]
    ring: Ring
    settler: Settler
    decider: Decider
    staff: Staff | None
    revocations: Revocations
    rates: Rates
    wish: StopWish
    queues: Callable[[], Sequence[str]]
    """The queues that it consumes."""
    consume: Consume
    keep: Callable[[list[Revoked]], object] = _forget
    """Has the broker keep revocations; the mailbox puts itself here."""
    started_at: float = field(default_factory=time.time)

    @property
    def children(self) -> Children | None:
        """Its children; a solo worker has none."""
        return self.staff.children if self.staff is not None else None

    def take_back(self) -> None:
        """Give back what has not started, so that it is decided about once more."""
        self.decider.soon.give_back(self.settler.endings)
        self.settler.take_back()

    @property
    def node(self) -> str:
        """The node name."""
        return self.options.hostname

    hostname = node
    """Its name in Celery's own commands."""

    def row_of(self, name: str) -> int | None:
        """The row of a task in the ring's table."""
        return next((row for row, task in enumerate(self.tasks) if task.name == name), None)
