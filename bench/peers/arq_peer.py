"""arq: no-op jobs leave nothing behind, and the queue is looked at 100 times a second, not twice."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-any-return"

from __future__ import annotations

import os
from datetime import timedelta
from itertools import count
from typing import Any

import naps
from arq import create_pool, func
from arq.connections import ArqRedis, RedisSettings
from bell import ring
from eventual import Caller

HOUR = timedelta(hours=1)
SETTINGS = RedisSettings.from_dsn(os.environ["BENCH_BROKER_URL"])
numbers = count()
pool: ArqRedis


async def noop(_context: Any) -> None:
    pass


async def answer(_context: Any) -> int:
    return 42


async def marker(_context: Any, name: str) -> None:
    ring(name)


async def nap(_context: Any, total: int) -> None:
    await naps.nap(total)


class WorkerSettings:
    functions = (*(func(job, keep_result=0) for job in (noop, marker, nap)), func(answer, keep_result=60))
    redis_settings = SETTINGS
    max_jobs = int(os.environ["BENCH_CONCURRENCY"])
    poll_delay = 0.01
    log_results = False


async def opened() -> None:
    global pool
    pool = await create_pool(SETTINGS)


caller = Caller(opened)


async def calling() -> None:
    await pool.enqueue_job("noop")


async def sending(name: str, argument: object) -> None:
    # Those of one millisecond run in the order of their ids, which are random otherwise.
    await pool.enqueue_job(name, argument, _job_id=f"{os.getpid():08}{next(numbers):08}")


async def calling_later() -> None:
    await pool.enqueue_job("noop", _defer_by=HOUR)


async def asking() -> None:
    job = await pool.enqueue_job("answer")
    assert job is not None
    assert await job.result(10, poll_delay=0.001) == 42


def call() -> None:
    caller.run(calling())


def call_each(n: int) -> None:
    caller.each(calling, n)


def call_naps(n: int) -> None:
    caller.each(lambda: sending("nap", n), n)


def call_later() -> None:
    caller.run(calling_later())


def mark(name: str) -> None:
    caller.run(sending("marker", name))


def ask() -> None:
    caller.run(asking())


def backlog() -> int:
    return caller.run(waiting())


async def waiting() -> int:
    return await pool.zcard("arq:queue")
