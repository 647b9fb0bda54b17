"""fastq on RabbitMQ: its defaults, late acknowledgement and confirms among them."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os
from itertools import repeat

from bell import ring

from fastq import Fastq

app = Fastq(
    "bench", broker=os.environ["BENCH_BROKER_URL"], backend="rpc://",
    task_default_queue_type=os.environ["BENCH_QUEUE_TYPE"],
    task_default_delivery_mode=int(os.environ["BENCH_DELIVERY_MODE"]),
)  # fmt: skip
HOUR_S = 3600


@app.task(ignore_result=True)
def noop() -> None:
    pass


@app.task
def answer() -> int:
    return 42


@app.task(ignore_result=True)
def marker(name: str) -> None:
    ring(name)


@app.task(ignore_result=True)
def deep(frames: int) -> None:
    down(frames)


def down(frames: int) -> None:
    if frames == 0:
        raise ValueError("too deep")
    down(frames - 1)


call = noop.delay
mark = marker.delay


def call_many(n: int) -> None:
    noop.starmap_delay(repeat((), n))


def fail(n: int) -> None:
    deep.starmap_delay(repeat((29,), n))


def call_later() -> None:
    noop.apply_async(countdown=HOUR_S)


def flush() -> None:
    app.transport.publish(())  # a call returns when its message is on its way: this waits for the confirms


def ask() -> None:
    assert answer.delay().get(timeout=10) == 42
