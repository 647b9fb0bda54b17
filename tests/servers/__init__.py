"""Servers that tests talk to, and what stands between: each started once, on first use, and ended with the run."""

from __future__ import annotations

from typing import Protocol


class Server(Protocol):
    """A server that outlives a test."""

    @property
    def pids(self) -> list[int]:
        """Of the processes that pytest started for it."""


STANDING: list[Server] = []
"""Those that run now; their processes are not left behind by a test."""
