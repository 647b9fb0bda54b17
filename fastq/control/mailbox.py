"""The seam between remote control and whatever carries it. Imports no implementation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

REQUEST_S, QUEUE_S = 300.0, 10.0
"""Seconds after which a request that nobody took is dropped, and a queue that nobody consumes."""
KEPT_S = 10_800.0
"""How long a revocation is kept, in seconds: Celery's default."""


class Revoked(NamedTuple):
    """One revocation: of the task *value*, or with a *header* of all tasks that are stamped so; for *until*."""

    value: str
    header: str
    until: float


class Mailbox(Protocol):
    """Carries packed requests to every worker and packed answers back, and keeps revocations.

    One thread uses it. It connects in its constructor's place, `open`; everything raises TransportError when the
    connection is lost, and then it is of no use any more.
    """

    def listen(self, node: str) -> None:
        """Hear requests from now on, as the worker *node*."""

    def expect(self, address: str) -> None:
        """Hear the answers to *address* from now on."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when there may be something to receive."""

    def receive(self, timeout_s: float = 0.0) -> list[bytes]:
        """Return the contents that have come, and wait for some at most *timeout_s*."""

    def request(self, content: bytes) -> None:
        """Send a request to all workers."""

    def answer(self, exchange: str, address: str, content: bytes) -> None:
        """Send an answer to whoever asked."""

    def revoke(self, revoked: Sequence[Revoked]) -> None:
        """Keep revocations in the broker until they expire."""

    def revoked(self) -> list[Revoked]:
        """Every revocation that is kept."""

    def abandon(self) -> None:
        """Let go of everything without a word, of a connection that may lead nowhere."""

    def close(self) -> None:
        """Let go of everything. Safe to call twice."""
