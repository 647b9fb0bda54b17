"""SAQ: no-op jobs leave nothing behind (ttl -1) and are never tried again."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-any-return"

from __future__ import annotations

import os
import time
from typing import Any

import naps
from bell import ring
from eventual import Caller
from saq import Queue

HOUR_S = 3600
CONCURRENCY = int(os.environ["BENCH_CONCURRENCY"])
# A connection for each job that runs, and those of the worker itself: redis-py's own limit is 100.
queue = Queue.from_url(f"{os.environ['BENCH_BROKER_URL']}?max_connections={2 * CONCURRENCY + 50}")


async def noop(_context: Any) -> None:
    pass


async def answer(_context: Any) -> int:
    return 42


async def marker(_context: Any, *, name: str) -> None:
    ring(name)


async def nap(_context: Any, *, total: int) -> None:
    await naps.nap(total)


settings = {
    "queue": queue, "functions": [noop, answer, marker, nap], "concurrency": CONCURRENCY,
}  # fmt: skip
caller = Caller(queue.connect)


async def calling() -> None:
    await queue.enqueue("noop", ttl=-1)


def call() -> None:
    caller.run(calling())


def call_each(n: int) -> None:
    caller.each(calling, n)


def call_naps(n: int) -> None:
    caller.each(lambda: queue.enqueue("nap", total=n, ttl=-1), n)


def call_later() -> None:
    caller.run(queue.enqueue("noop", scheduled=time.time() + HOUR_S, ttl=-1))


def mark(name: str) -> None:
    caller.run(queue.enqueue("marker", name=name, ttl=-1))


def ask() -> None:
    assert caller.run(queue.apply("answer", timeout=10, poll_interval=0.001)) == 42


def backlog() -> int:
    return caller.run(waiting())


async def waiting() -> int:
    return await queue.count("queued") + await queue.count("active")
