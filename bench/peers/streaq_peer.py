"""streaQ: results of no-ops are not kept (ttl 0)."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-any-return"

from __future__ import annotations

import os
from datetime import timedelta

import naps
from bell import ring
from eventual import Caller
from streaq import Worker

HOUR = timedelta(hours=1)
worker = Worker(redis_url=os.environ["BENCH_BROKER_URL"], concurrency=int(os.environ["BENCH_CONCURRENCY"]))


@worker.task(ttl=0)
async def noop() -> None:
    pass


@worker.task()
async def answer() -> int:
    return 42


@worker.task(ttl=0)
async def marker(name: str) -> None:
    ring(name)


nap = worker.task(ttl=0)(naps.nap)
caller = Caller(worker.__aenter__)


async def calling() -> None:
    await noop.enqueue()


async def calling_later() -> None:
    await noop.enqueue().start(delay=HOUR)


def call_naps(n: int) -> None:
    caller.run(worker.enqueue_many([nap.enqueue(n) for _ in range(n)]))


async def marking(name: str) -> None:
    await marker.enqueue(name)


async def asking() -> None:
    task = await answer.enqueue()
    assert (await task.result(10)).result == 42


def call() -> None:
    caller.run(calling())


def call_each(n: int) -> None:
    caller.each(calling, n)


def call_many(n: int) -> None:
    caller.run(worker.enqueue_many([noop.enqueue() for _ in range(n)]))


def call_later() -> None:
    caller.run(calling_later())


def mark(name: str) -> None:
    caller.run(marking(name))


def ask() -> None:
    caller.run(asking())


def backlog() -> int:
    return caller.run(worker.queue_size())
