"""Workers on Redis whose connections break, and a look behind them."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

import redis as client

from fastq import transport
from fastq._ext import envelope, kombu
from fastq.types import Endings, Message

PATIENCE_S = 20.0
_names = count()
Row = tuple[str, int, int, bytes]


def pack(body: str) -> bytes:
    """The content of a message with nothing but a body."""
    return envelope.pack({}, {}, body.encode())


def said(envelope_: bytes) -> str:
    """The body of what is in a list."""
    return envelope.unpack(kombu.parse(envelope_))[2].decode()


class Server:
    """The database behind *url*, looked at by another client."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = client.Redis.from_url(url)

    def put(self, *bodies: str, queue: str = "q") -> None:
        """Publish bodies, the first to be served first."""
        for body in bodies:
            self.client.lpush(queue, self.packed(body, queue))

    @staticmethod
    def packed(body: str, queue: str = "q") -> bytes:
        """What lies in a list."""
        return kombu.dump(pack(body), "", queue)

    def bodies(self, queue: str = "q") -> list[str]:
        """What is ready, the next one first."""
        return [said(each) for each in reversed(self.client.lrange(queue, 0, -1))]

    def lives(self) -> list[str]:
        """Who has a lease."""
        return [life.decode() for life in self.client.zrange("fastq.lives", 0, -1)]

    def held(self) -> list[str]:
        """What all lives have in their hashes."""
        return [said(each) for life in self.lives() for each in self.client.hvals(f"fastq.held.{life}")]


class Worker:
    """One attached transport, with the patience of a worker."""

    def __init__(self, url: str, *queues: str, lease_s: float = 30.0, **options: Any) -> None:
        self.transport = transport.open(url, options)
        self.name = f"w{next(_names)}"
        self.queues: Sequence[str] = queues or ("q",)
        self.lease_s = lease_s
        self.transport.attach(self.name, self.queues, lease_s)

    def turn(self, credit: int = 0, **endings: Any) -> list[Row]:
        """One turn, as it is."""
        given = self.transport.turn(Endings(**endings), credit)
        return [(queue, *row) for queue, rows in given for row in rows]

    def take(self, wanted: int, credit: int | None = None, **endings: Any) -> list[Row]:
        """Turns until *wanted* deliveries have come, asleep in between."""
        credit = wanted if credit is None else credit
        rows = self.turn(credit, **endings)
        deadline = time.monotonic() + PATIENCE_S
        while len(rows) < wanted:
            assert time.monotonic() < deadline, f"{len(rows)} of {wanted} came: {rows}"
            self.sleep()
            rows += self.turn(credit - len(rows))
        return rows

    def sleep(self, most_s: float = 0.2) -> bool:
        """Sleep as a worker does."""
        wait_s = self.transport.arm()
        if wait_s == 0.0:
            return True
        wait_s = most_s if wait_s is None else min(most_s, wait_s)
        return bool(select.select([self.transport.fileno()], [], [], wait_s)[0])

    def until(self, condition: Callable[[], object]) -> None:
        """Take turns, and nothing, until *condition* holds."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it did not come true"
            assert self.turn() == []
            self.sleep(0.01)

    def idle(self, credit: int = 5) -> None:
        """Find nothing, and listen to all there is."""
        def listens() -> bool:
            ears = self.desk.ears
            return bool(ears._bell.is_armed and all(watch.waits for watch in ears._watches))

        deadline = time.monotonic() + PATIENCE_S
        while not listens():
            assert time.monotonic() < deadline, "it does not fall silent"
            assert self.turn(credit) == []
            self.sleep(0.01)

    @property
    def desk(self) -> Any:
        """What is behind it."""
        return self.transport._desk  # type: ignore[attr-defined]

    def die(self) -> None:
        """End as after kill -9: without a word, and without a renewal."""
        self.transport._keeper = None  # type: ignore[attr-defined]
        self.desk.close()
        if self.transport._fanout is not None:  # type: ignore[attr-defined]
            self.transport._fanout.close()  # type: ignore[attr-defined]
        self.transport._desk = None  # type: ignore[attr-defined]


@contextmanager
def working(url: str, *queues: str, **options: Any) -> Iterator[Worker]:
    """A worker that is closed at the end."""
    worker = Worker(url, *queues, **options)
    try:
        yield worker
    finally:
        worker.transport.close()


def bodies(rows: Sequence[Row]) -> list[str]:
    """The bodies of deliveries."""
    return [envelope.unpack(content)[2].decode() for _, _, _, content in rows]


def runs(rows: Sequence[Row]) -> list[tuple[int, int]]:
    """The tags of deliveries."""
    return [(tag, tag) for _, tag, _, _ in rows]


def message(queue: str, body: str, **fields: Any) -> Message:
    """A message to publish."""
    return Message(queue, pack(body), **fields)
