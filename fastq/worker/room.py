"""Where supervisor and children meet: shared memory with the ring in it, spill files, descriptors that wake."""

from __future__ import annotations

import os

from fastq._ext.ring import Ring, ring_size
from fastq.app.traits import Traits
from fastq.pool.shared import SLOT_BYTES, SLOTS, Spill, bell, named_block, shared_block, wake_pair
from fastq.worker import outcome
from fastq.worker.options import WorkerOptions

GRACE_S = 1.0
"""A task over its hard limit among others has so long to end by itself before its child is killed."""


class Room:
    """Made before the first child, and freed after the last."""

    def __init__(self, told: WorkerOptions, tasks: dict[str, Traits]) -> None:
        self.rows = [outcome.endings(outcome.rules_of(traits)) for traits in tasks.values()]
        table = [(name.encode(), row, not traits.acks_late, traits.time_limit or told.time_limit,
                  traits.soft_time_limit or told.soft_time_limit)
                 for (name, traits), row in zip(tasks.items(), self.rows, strict=True)]
        most = told.autoscale[0] if told.autoscale else told.children
        self.slots = max(SLOTS, 2 * told.concurrency * most)
        seats, most = told.kind.seats(told.concurrency), told.most_children + told.kind.is_together
        self.trial = most - 1 if told.kind.is_together else -1
        """Which child runs what one more death condemns; -1: any."""
        size = ring_size(self.slots, SLOT_BYTES, seats * most)
        self.memory, self.memory_fd = (shared_block(size), -1) if told.start_method == "fork" else named_block(size)
        self.spill = Spill()
        self.bells = [bell() for _ in range(most)] if told.kind.is_together and not told.kind.threads else []
        self.ring = Ring(self.memory, slots=self.slots, slot_bytes=SLOT_BYTES, children=most, tasks=table,
                         spill=self.spill.put, unspill=Spill.drop, max_deaths=told.max_deaths, seats=seats,
                         grace_s=GRACE_S if told.kind.is_together else 0.0, trial_child=self.trial,
                         wake_fds=[wake for _, wake in self.bells] or None)
        self.wake_in, self.wake_out = wake_pair()

    def free(self) -> None:
        """Remove the spill files and close the descriptors."""
        self.spill.close()
        fds = {self.wake_in, self.wake_out, *(fd for pair in self.bells for fd in pair)}
        for fd in fds | ({self.memory_fd} if self.memory_fd >= 0 else set()):
            os.close(fd)
