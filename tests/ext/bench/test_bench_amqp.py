"""The AMQP codec beside the plain-Python one. `--benchmark-enable` measures; otherwise each runs once.

A stream or a batch has 500 messages of 540 bytes: divide by 500.
"""

from __future__ import annotations

from typing import Any

import pytest

from fastq._ext import amqp, envelope
from tests.reference import frames

N = 500
CONTENT = envelope.pack(
    {"content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2, "priority": 0},
    {"lang": "py", "task": "proj.tasks.add", "id": "0" * 36, "root_id": "0" * 36, "parent_id": None, "retries": 0},
    b"[[2, 3], {}, " + b" " * 336 + b"{}]")
STREAM = b"".join(amqp.method(1, amqp.METHODS["basic.deliver"], "None4", tag, False, "celery", "celery")
                  + amqp.content(1, CONTENT, 131072) for tag in range(1, N + 1))
PIECES = [STREAM[at:at + 65536] for at in range(0, len(STREAM), 65536)]
PREFIX = amqp.publisher(1, "celery", "celery")


def gather() -> amqp.Rows:
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "None4")
    for piece in PIECES:
        decoder.feed(piece)
    return decoder.take(consumer, N)


def events() -> int:
    decoder = amqp.Decoder()
    for piece in PIECES:
        decoder.feed(piece)
    return sum(1 for _ in iter(decoder.next, None))


def settle(rows: amqp.Rows, runs: list[Any]) -> int:
    held = amqp.Held(1)
    held.add_rows(rows)
    return sum(len(held.ack(run)) for run in runs)


def test_the_messages_have_the_size_that_is_told() -> None:
    assert len(CONTENT) == 540


@pytest.mark.benchmark(group="read 500 deliveries of a watched consumer")
def test_gather(benchmark: Any) -> None:
    assert len(benchmark(gather)) == N


@pytest.mark.benchmark(group="read 500 deliveries of a consumer that is not watched")
@pytest.mark.parametrize("how", ["compiled", "reference"])
def test_read(benchmark: Any, how: str) -> None:
    assert benchmark(events if how == "compiled" else lambda: len(list(frames.events(STREAM)))) == N


@pytest.mark.benchmark(group="write one message to publish")
@pytest.mark.parametrize("how", ["compiled", "with a priority", "reference"])
def test_publish(benchmark: Any, how: str) -> None:
    written = {
        "compiled": lambda: amqp.publish(PREFIX, CONTENT, 131072),
        "with a priority": lambda: amqp.publish(PREFIX, CONTENT, 131072, 5),
        "reference": lambda: PREFIX + frames.content(1, CONTENT, 131064),
    }[how]
    assert len(benchmark(written)) == len(PREFIX) + len(CONTENT) - 4 + 20 + 8


@pytest.mark.benchmark(group="hold 500 deliveries and settle them")
@pytest.mark.parametrize(("how", "sent"), [("at once", 21), ("one by one, the first last", 500 * 21)])
def test_settle(benchmark: Any, how: str, sent: int) -> None:
    runs = [[(1, N)]] if how == "at once" else [[(tag, tag)] for tag in [*range(2, N + 1), 1]]
    assert benchmark(settle, gather(), runs) == sent
