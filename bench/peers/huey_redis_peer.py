"""Huey on Redis at its fastest: it waits in BRPOP, and stores results only where they are asked for."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os

from bell import ring
from huey import RedisHuey

HOUR_S = 3600
huey = RedisHuey("bench", url=os.environ["BENCH_BROKER_URL"], results=os.environ["BENCH_RESULTS"] == "1")


@huey.task()
def noop() -> None:
    pass


@huey.task()
def answer() -> int:
    return 42


@huey.task(name="mark")
def marker(name: str) -> None:
    ring(name)


call = noop
mark = marker
backlog = huey.pending_count


def answers(n: int) -> None:
    for _ in range(n):
        answer()


def call_later() -> object:
    return noop.schedule(delay=HOUR_S)


def ask() -> None:
    # backoff 1 and a short delay: its default of 100 ms, growing, would measure the polling alone.
    assert answer().get(blocking=True, timeout=10, backoff=1, max_delay=0.001) == 42
