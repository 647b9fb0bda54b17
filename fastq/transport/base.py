"""The seam between fastq and whatever carries its messages. Imports no implementation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from fastq.types import DeadLetter, Deliveries, Endings, Message, QueueStat


class Caps(NamedTuple):
    """What a transport can do; the worker asks here, never for a class."""

    stores_results: bool = False
    """Endings.results are stored in the same atomic step as the acks."""
    lean_headers: bool = False
    """Only fastq reads these messages: headers that are null may be left out."""
    is_atomic: bool = False
    """A turn is one step: all of it happens, or nothing. Hand-backs return to their old places."""
    pushes: bool = False
    """The broker sends deliveries by itself, as far as the window goes."""
    has_leases: bool = False
    """A worker that is silent for longer than its lease loses what it holds, while its connection stands."""
    ranks: int = 10
    """How many priorities are told apart; 1: none."""
    serves_low_first: bool = False
    """The low number is the urgent one, as kombu has it on Redis: the opposite of RabbitMQ."""
    routes: bool = False
    """It has exchanges; without, a message goes straight to its queue, whatever exchange was named."""
    defers: bool = False
    """A delivery that is not due yet becomes a future message in the broker, by its tag: Endings.later."""
    future_grain_s: float = 0.0
    """Future messages come out up to so much late; those that say when they are due in a header ``eta``, so much
    early, and whoever gets one holds it for the rest."""
    hold_s: float = math.inf
    """A delivery that is held for so long has to be delivered anew: Endings.anew."""


class Transport(Protocol):
    """Moves packed messages. One object serves one process; `after_fork` makes it usable in a child.

    The producer side is thread-safe. The consumer side (`attach` to `keep`) belongs to one thread.
    """

    caps: Caps

    @property
    def is_choked(self) -> bool:
        """Whether the broker takes no messages for now: what is given back would count as left by one who died."""

    @property
    def is_doubtful(self) -> bool:
        """Whether the lease may be over, and what is held be others' by now; `keep` finds out."""

    @property
    def has_settled(self) -> bool:
        """Whether the broker has done all that the turns so far said, as far as is known."""

    def publish_one(self, queue: str, content: bytes, priority: int = 0, run_at: float | None = None,
                    exchange: str = "") -> None:
        """Store one message: when this returns it is stored, or on its way and sent again until it is.

        Raises TransportError.
        """

    def publish(self, messages: Iterable[Message], timeout_s: float | None = None) -> int:
        """Store many messages in few steps; all before and among them are stored when this returns.

        *timeout_s* is how long to wait for that, None as long as the transport's options say. Returns how many there
        were. Raises TransportError, and `Undeliverable` for messages, also earlier ones, that the broker gave back.
        """

    def attach(self, worker: str, queues: Sequence[str], lease_s: float = 30.0) -> None:
        """Become a consumer of *queues* under the node name *worker*."""

    def consume(self, queues: Sequence[str]) -> None:
        """Consume exactly *queues* from now on; what is held of others stays held, and no more of them comes.

        Raises BrokerRefused for a queue that the broker will not have, and then nothing has changed; ConnectionLost.
        """

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        """Settle what ended and take up to *credit* new deliveries, in one atomic step if it can.

        Rows of one queue may be a packed batch (``ext/rows.pxd``), which makes tuples only when asked.
        Held deliveries plus *credit* is how many the worker wants in hand; a turn that says nothing and asks for
        nothing wants none from now on. Raises LeaseLost or ConnectionLost when this worker's deliveries are given to
        others: attach again.
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
