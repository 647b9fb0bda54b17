"""The yardstick on RabbitMQ: fastq's own codec alone, with the very bytes that its tasks are sent in.

Publishing waits for confirms, with at most 500 outstanding. Draining takes and acknowledges, many at once, and runs
nothing. As a program of its own it sends every message back to the one that asked.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import cycle, islice
from typing import TYPE_CHECKING

from bell import ring
from fastq_amqp_peer import app

from fastq._ext.amqp import METHODS, Held, publish, publisher
from fastq.amqp.link import Link
from fastq.amqp.target import parse

if TYPE_CHECKING:
    from fastq._ext.amqp import Event

URL = os.environ["BENCH_BROKER_URL"]
QUEUE, REPLIES = "bench", "bench-replies"
WINDOW = 500
"""Messages that may wait for their confirm."""
TOGETHER = 100
"""Messages in one write, when there are many at hand."""
PREFETCH, ACK = 2_000, 500
DISTINCT = 1_000
"""Contents that are made, each of a task of its own; they are sent in turn."""


def contents() -> list[bytes]:
    app.finalize()
    noop = app.tasks["noop"]
    made = [app.message_of(noop.s()).content for _ in range(DISTINCT)]
    app.close()
    return made


class Client:
    """One connection with one channel on the queue of the trial."""

    def __init__(self) -> None:
        self.link = Link.open(parse(URL))
        self.channel = self.link.open_channel()
        kind = {"x-queue-type": os.environ["BENCH_QUEUE_TYPE"]}
        self.call("queue.declare", QUEUE, False, True, False, False, False, kind)

    def call(self, method: str, *args: object) -> Event:
        return self.link.call(self.channel, METHODS[method], *args)

    def consume(self, queue: str, *, no_ack: bool) -> int:
        consumer = self.link.decoder.watch(self.channel, "c")
        self.call("basic.consume", queue, "c", False, no_ack, False, False, {})
        return consumer


class Publisher(Client):
    """What a producer needs at least: a window of confirms, and messages that are there already."""

    def __init__(self) -> None:
        super().__init__()
        self.call("confirm.select", False)
        self.link.handlers[self.channel] = self.on_event
        self.prefix = publisher(self.channel, "", QUEUE)
        self.contents = cycle(contents())
        self.sent = self.up_to = 0
        self.beyond: set[int] = set()
        """Confirmed one by one, before those that were sent before them."""

    def on_event(self, event: Event) -> None:
        _, method, (tag, multiple), _ = event
        if method != METHODS["basic.ack"]:
            raise RuntimeError(f"the broker said {event}")
        if multiple:
            self.up_to = tag
            self.beyond = {other for other in self.beyond if other > tag}
        else:
            self.beyond.add(tag)
        while self.up_to + 1 in self.beyond:
            self.up_to += 1
            self.beyond.remove(self.up_to)

    def publish(self, frames: bytes, count: int) -> None:
        self.link.send(frames)
        self.sent += count
        self.wait(WINDOW)

    def wait(self, most: int) -> None:
        """Wait until at most *most* are not confirmed."""
        while self.sent - self.up_to - len(self.beyond) > most:
            self.link.fill(10.0)
            self.link.pump()

    def frames(self, count: int) -> Iterable[bytes]:
        size = self.link.frame_max
        return (publish(self.prefix, content, size) for content in islice(self.contents, count))


class Asker(Client):
    def __init__(self) -> None:
        super().__init__()
        self.call("queue.declare", REPLIES, False, False, False, True, False, {})
        self.consumer = self.consume(REPLIES, no_ack=True)
        self.frames = publish(publisher(self.channel, "", QUEUE), contents()[0], self.link.frame_max)

    def ask(self) -> None:
        decoder, link = self.link.decoder, self.link
        link.send(self.frames)
        while not decoder.gathered(self.consumer):
            link.fill(10.0)
        decoder.take(self.consumer, 1)


class Ends:
    """The connections of this process, each made when it is first asked for."""

    @cached_property
    def publisher(self) -> Publisher:
        return Publisher()

    @cached_property
    def asker(self) -> Asker:
        return Asker()


ends = Ends()


def call() -> None:
    end = ends.publisher
    end.publish(next(iter(end.frames(1))), 1)


def call_many(n: int) -> None:
    end = ends.publisher
    for start in range(0, n, TOGETHER):
        count = min(TOGETHER, n - start)
        end.publish(b"".join(end.frames(count)), count)


def flush() -> None:
    if "publisher" in vars(ends):
        ends.publisher.wait(0)


def mark(_name: str) -> None:
    """The one that answers rings by itself when it is ready."""


def ask() -> None:
    ends.asker.ask()


def drain(n: int, timed: Callable[[Callable[[], None]], dict[str, float]]) -> dict[str, float]:
    call_many(n)
    flush()
    ends.publisher.link.close()
    client = Client()
    client.call("basic.qos", 0, PREFETCH, False)
    held = Held(client.channel)

    def work() -> None:
        link, decoder = client.link, client.link.decoder
        consumer, done = client.consume(QUEUE, no_ack=False), 0
        while done < n:
            if decoder.gathered(consumer) < min(ACK, n - done):
                link.fill(10.0)
                continue
            rows = decoder.take(consumer, PREFETCH)
            held.add_rows(rows)
            link.send(held.ack([(rows[0][0], rows[-1][0])]))
            done += len(rows)

    return timed(work)


def answer() -> None:
    """Send every message back, and acknowledge it."""
    client = Client()
    client.call("basic.qos", 0, PREFETCH, False)
    link, decoder, held = client.link, client.link.decoder, Held(client.channel)
    consumer = client.consume(QUEUE, no_ack=False)
    prefix = publisher(client.channel, "", REPLIES)
    ring("first")
    while True:
        if not decoder.gathered(consumer):
            link.fill(None)
            continue
        rows = decoder.take(consumer, PREFETCH)
        held.add_rows(rows)
        replies = [publish(prefix, content, link.frame_max) for _, _, content in rows]
        link.send(b"".join([*replies, held.ack([(rows[0][0], rows[-1][0])])]))


if __name__ == "__main__":
    answer()
