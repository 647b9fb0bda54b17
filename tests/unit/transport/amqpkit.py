"""A connection to the broker under test, with what the tests of its parts have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from fastq._ext import amqp, envelope
from fastq._ext.amqp import FIELDS, METHODS
from fastq.amqp.link import Link
from fastq.amqp.target import parse
from fastq.transport.amqp import AmqpTransport
from fastq.transport.amqp_side import Refusal, SideChannel, Step, passive_queue
from fastq.types import Deliveries, Endings
from fastq.wire.entity import Queue
from tests.deadline import wait_until

Open = Callable[..., AmqpTransport]
OpenAs = Callable[[str, str], AmqpTransport]
Row = tuple[str, int, int, bytes]
"""Queue, tag, deaths, content."""
QUORUM = Queue("quorum", queue_arguments={"x-queue-type": "quorum"})
TINY = Queue("tiny", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
"""Refuses what it is sent while it has a message."""


def content(name: str = "1", body: bytes = b"[[], {}, {}]", **headers: Any) -> bytes:
    """A packed message whose id is *name*."""
    properties = {"delivery_mode": 2, "correlation_id": name}
    return envelope.pack(properties, {"task": "proj.add", "id": name, **headers}, body)


def known(*queues: Queue) -> Callable[[str], Queue | None]:
    """What an app with these queues, and with others by name, tells a transport."""
    named = {queue.name: queue for queue in queues}
    return lambda name: named.get(name) or Queue(name, name, name)


def names(count: int, first: int = 0) -> list[str]:
    """Names for messages: numbers."""
    return [str(number) for number in range(first, first + count)]


def once(found: list[str]) -> list[str]:
    """What came, in the order in which it came for the first time."""
    return list(dict.fromkeys(found))


def publish(transport: AmqpTransport, wanted: list[str], queue: str = "q") -> None:
    """Publish a message for each name."""
    for name in wanted:
        transport.publish_one(queue, content(name))


def name_of(packed: bytes) -> str:
    """The name of a message."""
    return str(envelope.unpack(packed)[1]["id"])


def flat(deliveries: Deliveries) -> list[Row]:
    """What came, one by one."""
    return [(queue, *row) for queue, rows in deliveries for row in rows]


def take(transport: AmqpTransport, count: int, credit: int | None = None) -> list[Row]:
    """Turn until *count* deliveries came, with so much credit in all."""
    found: list[Row] = []
    credit = count if credit is None else credit

    def has_come() -> bool:
        found.extend(flat(transport.turn(Endings(), credit - len(found))))
        return len(found) >= count

    wait_until(has_come, what=f"{count} deliveries")
    return found


def settle(transport: AmqpTransport, **endings: object) -> None:
    """One turn that asks for nothing, and more until what leaves is confirmed."""
    transport.turn(Endings(**endings), 0)  # type: ignore[arg-type]

    def is_settled() -> bool:
        assert transport.turn(Endings(), 0) == []
        return transport._consumer is not None and transport._consumer._at_gates == 0

    wait_until(is_settled)


def rows_of(rows: list[Row]) -> dict[int, tuple[str, int, bytes]]:
    """What `Endings.rows` is to hold of deliveries."""
    return {tag: (queue, deaths, packed) for queue, tag, deaths, packed in rows}


def tags(rows: list[Row]) -> list[tuple[int, int]]:
    """The tags of deliveries, as runs."""
    return [(tag, tag) for _, tag, _, _ in rows]


class Desk:
    """One connection, its side channel, and a channel that carries messages."""

    def __init__(self, url: str) -> None:
        self.link = Link.open(parse(url))
        self.side = SideChannel(self.link)
        self.channel = self.link.open_channel()
        self.returned: list[str] = []

    def publish(self, exchange: str, key: str, packed: bytes) -> None:
        """Publish, and wait for the confirm."""
        if self.channel not in self.link.handlers:
            self.link.call(self.channel, METHODS["confirm.select"], False)
            self.link.handlers[self.channel] = lambda event: self.returned.append(event[2][3])
        self.link.send(amqp.publish(amqp.publisher(self.channel, exchange, key, True), packed, self.link.frame_max))
        self.link.wait(self.channel, frozenset({METHODS["basic.ack"]}), 10, "no confirm")

    def get(self, queue: str) -> bytes | None:
        """The next message of *queue*, acked."""
        return self.link.call(self.channel, METHODS["basic.get"], queue, True)[3]

    def receive(self, queue: str, timeout: float = 10.0) -> tuple[dict[str, Any], dict[str, Any], bytes]:
        """The next message of *queue*, waited for, in its parts."""
        return envelope.unpack(wait_until(lambda: self.get(queue), timeout, what=f"a message in {queue}"))

    def ids(self, queue: str) -> list[str]:
        """The ids of all messages that are in *queue*; they are gone then."""
        found = []
        while (packed := self.get(queue)) is not None:
            found.append(str(envelope.unpack(packed)[1]["id"]))
        return found

    def ready(self, queue: str) -> int | None:
        """How many messages *queue* has; None when it does not exist."""
        answer, = self.side.run([passive_queue(queue)])
        return None if isinstance(answer, Refusal) else answer[1]

    def do(self, *steps: Step) -> None:
        """Run steps, none of which may be refused."""
        assert not self.side.refusals(steps)

    def delete(self, *queues: str) -> None:
        """Delete queues."""
        self.do(*(Step("queue.delete", (name, False, False, False)) for name in queues))

    def close(self) -> None:
        """Close the connection."""
        self.link.close()


def as_recorded(steps: Iterable[Step]) -> list[tuple[str, dict[str, Any]]]:
    """Steps in the form of `recorded_steps`."""
    return [(step.method, dict(zip(FIELDS[METHODS[step.method]], step.args, strict=True))) for step in steps]


def recorded_steps(declarations: Iterable[dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
    """Declarations of a vector: methods and their arguments by name, tables as mappings."""
    found = []
    for each in declarations:
        fields = {name: value for name, value in each["args"].items() if name != "ticket"}
        if "arguments" in fields:
            fields["arguments"] = {name: value for name, _, value in fields["arguments"]}
        found.append((each["method"], fields))
    return found
