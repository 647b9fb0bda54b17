"""Taskiq on Redis: a list, as most use it, or a stream, which is acknowledged. A result backend where asked for."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os
from typing import Any

import naps
from bell import ring
from eventual import Caller
from redis import Redis
from taskiq import AsyncBroker
from taskiq_redis import ListQueueBroker, RedisAsyncResultBackend, RedisStreamBroker

URL = os.environ["BENCH_BROKER_URL"]
IS_STREAM = os.environ["BENCH_STREAM"] == "1"

broker: AsyncBroker = RedisStreamBroker(URL) if IS_STREAM else ListQueueBroker(URL)
if os.environ["BENCH_RESULTS"] == "1":
    backend: RedisAsyncResultBackend[Any] = RedisAsyncResultBackend(URL)
    broker = broker.with_result_backend(backend)


@broker.task
async def noop() -> None:
    pass


@broker.task
async def answer() -> int:
    return 42


@broker.task
async def marker(name: str) -> None:
    ring(name)


nap = broker.task(naps.nap)
caller = Caller(broker.startup)


def call() -> None:
    caller.run(noop.kiq())


def call_each(n: int) -> None:
    caller.each(noop.kiq, n)


def call_naps(n: int) -> None:
    caller.each(lambda: nap.kiq(n), n)


def mark(name: str) -> None:
    caller.run(marker.kiq(name))


def ask() -> None:
    caller.run(asking())


async def asking() -> None:
    task = await answer.kiq()
    assert (await task.wait_result(check_interval=0.0005, timeout=10)).return_value == 42


def backlog() -> int:
    with Redis.from_url(URL) as client:
        if not IS_STREAM:
            return int(client.llen("taskiq"))
        return sum(group["lag"] + group["pending"] for group in client.xinfo_groups("taskiq"))
