"""A transport as the suites see it: bodies in place of packed contents, and the patience of a worker.

A broker that pushes needs a moment until deliveries come, and tells a worker of a death by a flag that the worker has
to answer. Tests say what they expect to come; this waits for it as a worker would.
"""

from __future__ import annotations

import select
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from fastq._ext import envelope
from fastq.transport.base import Transport
from fastq.types import UNCOUNTED, DeadLetter, Endings, Message, QueueStat
from tests.conformance.engine import Engine

PATIENCE_S = 15.0
QUIET_S = 0.05
"""How long nothing has to come where nothing may. A wrong delivery on the loopback takes a hundredth of it."""


class Row(NamedTuple):
    """One delivery."""

    queue: str
    tag: int
    deaths: int
    body: bytes


def pack(body: bytes) -> bytes:
    """The content of a message that has nothing but a body."""
    return envelope.pack({}, {}, body)


def unpack(content: bytes) -> bytes:
    """The body of a message; a broker may have added headers."""
    return envelope.unpack(content)[2]


def bodies(rows: Iterable[Row]) -> list[bytes]:
    """The bodies of what came, in order."""
    return [row.body for row in rows]


def runs(rows: Iterable[Row]) -> list[tuple[int, int]]:
    """The tags of *rows*, each a run of its own."""
    return [(row.tag, row.tag) for row in rows]


class Broker:
    """One transport of the broker under test; *transport* is it, for what needs no help."""

    def __init__(self, transport: Transport, engine: Engine) -> None:
        self.transport = transport
        self.engine = engine
        self._rows: dict[int, tuple[str, int, bytes]] = {}
        self.may_see_deaths = False
        """A holder vanished, or left without a word: its deliveries may come again flagged. Else that is a failure."""
        self._uncounted: list[int] = []
        self._is_attached = False

    # -- producing -----------------------------------------------------------------------------------------------------

    def publish(self, messages: Iterable[Message]) -> int:
        """Publish messages with bodies."""
        return self.transport.publish(message._replace(content=pack(message.content)) for message in messages)

    def publish_one(self, queue: str, body: bytes, priority: int = 0, run_at: float | None = None) -> None:
        """Publish one message, and see it stored."""
        self.transport.publish_one(queue, pack(body), priority, run_at)
        self.transport.publish(())

    def send(self, *names: str, queue: str = "q", priority: int = 0) -> None:
        """Publish messages whose bodies are *names*, and see them stored."""
        for name in names:
            self.transport.publish_one(queue, pack(name.encode()), priority)
        self.transport.publish(())

    # -- working -------------------------------------------------------------------------------------------------------

    def attach(self, *queues: str, name: str = "w", lease_s: float = 30.0) -> None:
        """Consume *queues*."""
        self.transport.attach(name, queues, lease_s)
        self._is_attached = True
        self._uncounted.clear()

    def consume(self, *queues: str) -> None:
        """Consume other queues than before, from now on."""
        self.transport.consume(queues)

    def turn(self, credit: int, **endings: Any) -> list[Row]:
        """Take one turn: what came of it, with no patience at all."""
        made = Endings(**endings)
        made.publish = [message._replace(content=pack(message.content)) for message in made.publish]
        made.lost = [*made.lost, *self._uncounted]
        self._uncounted = []
        for tag in self._named(made):
            if tag in self._rows:
                made.rows[tag] = self._rows[tag]
        rows = []
        for queue, batch in self.transport.turn(made, credit):
            for tag, deaths, content in batch:
                self._rows[tag] = queue, deaths & ~UNCOUNTED, content
                if deaths & UNCOUNTED:
                    assert self.may_see_deaths, f"{unpack(content)!r} is flagged, but nobody died"
                    self._uncounted.append(tag)
                else:
                    rows.append(Row(queue, tag, deaths, unpack(content)))
        return rows

    def take(self, count: int, credit: int = 100, **endings: Any) -> list[Row]:
        """Take a turn that brings *count* deliveries; a broker that pushes gets the time it needs."""
        rows = self.turn(credit, **endings)
        if self.engine.caps.is_atomic:
            return rows
        return rows + (self.wait_for(count - len(rows), credit - len(rows)) if count else self.settle(credit))

    def wait_for(self, count: int, credit: int = 100) -> list[Row]:
        """Take turns until *count* deliveries have come, asleep in between as a worker is."""
        rows: list[Row] = []
        deadline = time.monotonic() + PATIENCE_S
        while len(rows) < count:
            assert time.monotonic() < deadline, f"{len(rows)} of {count} deliveries came in {PATIENCE_S:g} s: {rows}"
            rows += self.turn(credit - len(rows))
            if len(rows) < count and not self._uncounted:
                self.sleep(0.5)
        return rows

    def end(self, **endings: Any) -> None:
        """End deliveries, and take none."""
        assert self.turn(0, **endings) == []

    def sleep(self, seconds: float) -> bool:
        """Sleep as a worker does; returns whether there was news."""
        self.transport.keep()
        wait_s = self.transport.arm()
        if wait_s == 0.0:
            return True
        wait_s = seconds if wait_s is None else min(wait_s, seconds)
        return bool(select.select([self.transport.fileno()], [], [], wait_s)[0])

    def settle(self, credit: int = 0) -> list[Row]:
        """Take turns until there is no news: what was asked of the broker is done, and what it said is heard."""
        rows: list[Row] = []
        deadline = time.monotonic() + PATIENCE_S
        while self.sleep(QUIET_S):
            assert time.monotonic() < deadline, f"the broker never falls silent; so far {rows}"
            rows += self.turn(credit)
        return rows

    def _named(self, endings: Endings) -> Iterable[int]:
        yield from endings.lost
        yield from (tag for tag, _ in (*endings.dead, *endings.later))
        for first, last in endings.back:
            yield from range(first, last + 1)

    # -- looking -------------------------------------------------------------------------------------------------------

    def figures(self) -> dict[str, QueueStat]:
        """The figures of every queue that has any."""
        return {name: stat for name, stat in self.transport.queues().items() if stat != QueueStat()}

    def check(self, queue: str = "q", **figures: int) -> None:
        """Check the figures of a queue, as far as the broker knows them; those not named are 0.

        Where a turn is no single step, what it asked for is waited for.
        """
        wanted = {name: figures.get(name, 0) for name in self.engine.counted}
        deadline = time.monotonic() + PATIENCE_S
        while (found := self._look(queue)) != wanted:
            assert not self.engine.caps.is_atomic and time.monotonic() < deadline, f"{queue}: {found}, not {wanted}"
            if self._is_attached:
                self.end()

    def _look(self, queue: str) -> dict[str, int]:
        stat = self.transport.queues().get(queue, QueueStat())
        return {name: getattr(stat, name) for name in self.engine.counted}

    def dead_letters(self, queue: str | None = None, limit: int = 100) -> list[DeadLetter]:
        """The dead letters, the newest first, with bodies."""
        return [letter._replace(content=unpack(letter.content))
                for letter in self.transport.dead_letters(queue, limit)]

    def resolve_dead(self, ids: Sequence[int], *, replay: bool) -> int:
        """Replay or drop dead letters."""
        return self.transport.resolve_dead(ids, replay=replay)

    def purge(self, queue: str) -> int:
        """Drop what is ready and future."""
        return self.transport.purge(queue)

    def close(self) -> None:
        """Let go of everything."""
        self._is_attached = False
        self.transport.close()
