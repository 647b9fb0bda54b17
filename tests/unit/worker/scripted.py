"""A broker that pushes, in the memory of its worker, with a script that breaks it: no threads, no sockets.

The script is a generator; it goes on by one step whenever the worker turns to its broker.
"""

from __future__ import annotations

import os
import signal
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil

from fastq import transport
from fastq.exceptions import ConnectionLost, NotHeld, TransportError
from fastq.transport.base import Caps
from fastq.types import UNCOUNTED, Deliveries, Endings

EPOCH = 1 << 40
IN_WORKER = "SCRIPTED_BROKER"


class Broker:
    """One queue. ``down`` is what an attempt to attach raises; ``cut`` breaks the connection at the next step."""

    caps = Caps()

    def __init__(self, script: Callable[[Broker], Iterator[object]], note: Callable[..., None], folder: Path) -> None:
        self.note = note
        self.folder = folder
        self.ready: deque[tuple[int, bytes]] = deque()
        self.held: dict[int, tuple[int, bytes]] = {}
        self.down: Exception | None = None
        self.refuses: Exception | None = None
        self.attempts = self.attached = self.keeps = 0
        self.is_cut = False
        self.closed = False
        self._bell = os.eventfd(1, os.EFD_NONBLOCK)     # rings without end, so that the script goes on
        self._script = script(self)

    # -- what a script says

    def cut(self, down: Exception | None = None) -> None:
        """Break the connection; *down* is what the attempts to make another one meet."""
        self.is_cut, self.down = True, down

    def noted(self, line: str) -> bool:
        """Whether a task or a script has noted *line*."""
        path = self.folder / "notes"
        return path.exists() and line in path.read_text().splitlines()

    def allow(self, name: str) -> None:
        (self.folder / name).touch()

    @staticmethod
    def children() -> list[int]:
        """The worker's children, but for those that are dead and not buried."""
        children = psutil.Process().children()
        return [child.pid for child in children if child.status() != psutil.STATUS_ZOMBIE]

    @staticmethod
    def stop(number: int = signal.SIGTERM) -> None:
        os.kill(os.getpid(), number)

    @property
    def is_idle(self) -> bool:
        return not self.ready and not self.held

    # -- what a worker sees

    is_choked = is_doubtful = False

    def _step(self) -> None:
        time.sleep(0.001)       # and no faster than this
        next(self._script, None)
        if self.is_cut:
            self.is_cut = False
            for deaths, content in reversed(self.held.values()):
                self.ready.appendleft((deaths | UNCOUNTED, content))
            self.held.clear()
            raise ConnectionLost("127.0.0.1:5672: connection reset by peer")

    def attach(self, worker: str, queues: Sequence[str], lease_s: float = 30.0) -> None:
        self.attempts += 1
        next(self._script, None)
        if self.down is not None:
            raise self.down
        self.attached += 1
        self._tag = self.attached * EPOCH

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        if not self.attached:
            raise TransportError("a turn before attach")
        self._step()
        if self.refuses is not None:
            raise self.refuses
        self._settle(endings)
        rows = []
        while self.ready and len(rows) < credit:
            deaths, content = self.ready.popleft()
            self._tag += 1
            self.held[self._tag] = deaths, content
            rows.append((self._tag, deaths, content))
        return [("q", rows)] if rows else []

    def _settle(self, endings: Endings) -> None:
        for first, last in endings.ack:
            for tag in range(first, last + 1):
                if tag not in self.held:
                    raise NotHeld(f"{tag} is not held")
                del self.held[tag]
                self.note("acked")
        for first, last in endings.back:
            for tag in range(first, last + 1):
                self.held.pop(tag)
                _, deaths, content = endings.rows[tag]
                self.ready.append((deaths, content))
        for tag in endings.lost:
            self.held.pop(tag)
            _, deaths, content = endings.rows[tag]
            self.note("lost", deaths + 1)
            self.ready.append((deaths + 1, content))
        for tag, reason in endings.dead:
            self.held.pop(tag)
            self.note("dead", reason)
        for message in endings.publish:
            self.note("published", message.exchange, message.queue)
            self.ready.append((0, message.content))

    def fileno(self) -> int:
        return self._bell

    def arm(self) -> float | None:
        self._step()
        return 0.0 if self.ready else 0.005

    def keep(self) -> int:
        self.keeps += 1
        self._step()
        return 0

    def close(self) -> None:
        self.note("closed")


def play(script: Callable[[Broker], Iterator[object]], note: Callable[..., None], folder: str) -> None:
    """Let every transport of a worker's process be a new broker with *script*; nothing in the test's own."""
    if os.environ.get(IN_WORKER):
        broker = Broker(script, note, Path(folder))
        transport.open = lambda url, options=None: broker       # type: ignore[assignment,return-value]


def until(condition: Callable[[], object]) -> Iterator[None]:
    """Wait for *condition* (in a script: ``yield from``)."""
    while not condition():
        yield


AWAY = TransportError("127.0.0.1:5672: connection refused; is the broker up?")
