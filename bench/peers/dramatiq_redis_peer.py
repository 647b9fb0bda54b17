"""Dramatiq on Redis, as lean as its documentation allows: of its middleware only Retries, and Results where asked for.
"""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator,no-untyped-call"

from __future__ import annotations

import os
from typing import Any

import dramatiq
from bell import ring
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import Middleware, Retries
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

URL = os.environ["BENCH_BROKER_URL"]
HAS_RESULTS = os.environ["BENCH_RESULTS"] == "1"
OPTIONS: dict[str, Any] = {"store_results": True} if HAS_RESULTS else {}
HOUR_MS = 3_600_000

middleware: list[Middleware] = [Retries()]
if HAS_RESULTS:
    middleware.append(Results(backend=RedisBackend(url=URL)))
broker = RedisBroker(url=URL, middleware=middleware)
dramatiq.set_broker(broker)


@dramatiq.actor
def noop() -> None:
    pass


@dramatiq.actor(**OPTIONS)
def answer() -> int:
    return 42


@dramatiq.actor
def marker(name: str) -> None:
    ring(name)


call = noop.send
mark = marker.send


def answers(n: int) -> None:
    for _ in range(n):
        answer.send()


def call_later() -> None:
    noop.send_with_options(delay=HOUR_MS)


def ask() -> None:
    assert answer.send().get_result(block=True, timeout=10_000) == 42


def backlog() -> int:
    """Those that wait, and those that a worker has fetched and not acknowledged."""
    held = broker.client.scan_iter("dramatiq:__acks__.*.default")
    return int(broker.client.llen("dramatiq:default") + sum(broker.client.scard(key) for key in held))
