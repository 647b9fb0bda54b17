"""FlexiQ: its Rust core on Redis, polling as often and claiming as many as its settings allow.

`push_dispatch`, on by itself here, is off: a worker with one thread then takes one task a second, else 700.
"""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os

from bell import ring
from flexiq import Queue

HOUR_S = 3600
queue = Queue(
    backend="redis",
    db_url=os.environ["BENCH_BROKER_URL"],
    workers=int(os.environ["BENCH_CONCURRENCY"]),
    scheduler_poll_interval_ms=1,
    scheduler_batch_size=100,
    push_dispatch=False,
)


@queue.task(max_retries=0)
def noop() -> None:
    pass


@queue.task(max_retries=0)
def answer() -> int:
    return 42


@queue.task(max_retries=0)
def marker(name: str) -> None:
    ring(name)


call = noop.delay
mark = marker.delay


def call_many(n: int) -> None:
    noop.map([()] * n)


def call_later() -> object:
    return noop.apply_async(delay=HOUR_S)


def ask() -> None:
    assert answer.delay().result(timeout=10, poll_interval=0.0005, max_poll_interval=0.001) == 42


def backlog() -> int:
    stats = queue.stats()
    return int(stats["pending"] + stats["running"])
