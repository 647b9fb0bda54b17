"""The seam between fastq and whatever carries its messages. Imports no implementation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from fastq.types import DeadLetter, Deliveries, Endings, Message, QueueStat


class Caps(NamedTuple):
    """What a transport can do; the worker asks here, never for a class."""

    stores_results: bool = False
    """Endings.results are stored in the same atomic step as the acks."""
    lean_headers: bool = False
    """Only fastq reads these messages: headers that are null may be left out."""


class Transport(Protocol):
    """Moves packed messages. One object serves one process; `after_fork` makes it usable in a child.

    The producer side is thread-safe. The consumer side (`attach` to `keep`) belongs to one thread.
    """

    caps: Caps

    def publish_one(self, queue: str, content: bytes, priority: int = 0, run_at: float | None = None) -> None:
        """Store one message; it is durable when this returns. Raises TransportError."""

    def publish(self, messages: Iterable[Message]) -> int:
        """Store many messages in few steps, each step all or nothing. Returns how many."""

    def attach(self, worker: str, queues: Sequence[str], lease_s: float = 30.0) -> None:
        """Become a consumer of *queues* under the node name *worker*."""

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        """Settle what ended and take up to *credit* new deliveries, in one atomic step if it can.

        Raises LeaseLost when this worker's deliveries were given to others meanwhile.
        """

    def fileno(self) -> int:
        """The descriptor that becomes readable when there may be work."""

    def arm(self) -> float | None:
        """Say that the caller is about to sleep on `fileno`.

        Returns 0.0 when there is work already, else the seconds until something falls due, or None.
        """

    def keep(self) -> int:
        """Renew the lease and bring back what dead workers held; returns how many came back."""

    def queues(self) -> dict[str, QueueStat]:
        """Every queue that exists, with its figures."""

    def purge(self, queue: str) -> int:
        """Drop every ready and future message of *queue*; returns how many."""

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The newest messages that were given up."""

    def resolve_dead(self, ids: Sequence[int], *, replay: bool) -> int:
        """Put dead messages back in their queues (`replay`), or drop them; returns how many."""

    def close(self) -> None:
        """Let go of everything; held deliveries go back at once. Safe to call twice."""
