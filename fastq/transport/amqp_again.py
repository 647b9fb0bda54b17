"""Messages that a queue refused for now: they are sent again in a moment, for as long as a producer waits.

A quorum queue without a leader refuses what it is sent. Just declared it has none: the broker tells whoever declares it
at the same time that it exists, and accepts messages for it, before its processes run.
"""

from __future__ import annotations

import time

from fastq.transport.amqp_refusal import Sent

AGAIN_S = 0.1


class Again:
    """What waits to be sent again; for *patience_s* from a message's first refusal."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._refused_at: dict[int, float] = {}
        """When a message was refused first, by the hash of its content."""
        self.waiting: list[Sent] = []
        self._due_at = 0.0

    def __len__(self) -> int:
        return len(self.waiting)

    def knows(self, sent: Sent) -> bool:
        """Whether a message was refused before."""
        return hash(sent.content) in self._refused_at

    def add(self, sent: Sent) -> bool:
        """Take a message that was refused, or return False: that has gone on for too long."""
        now = time.monotonic()
        if now - self._refused_at.setdefault(hash(sent.content), now) >= self._patience_s:
            return False
        if not self.waiting:
            self._due_at = now + AGAIN_S
        self.waiting.append(sent)
        return True

    @property
    def due_in(self) -> float | None:
        """Seconds until what waits is to be sent; None: nothing waits."""
        return max(0.0, self._due_at - time.monotonic()) if self.waiting else None

    def take(self) -> list[Sent]:
        """Return all that waits, and have it no more."""
        taken, self.waiting = self.waiting, []
        return taken

    def forget(self) -> None:
        """All that was refused has found a place meanwhile."""
        self._refused_at.clear()
