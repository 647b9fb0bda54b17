"""RQ, whose worker runs jobs in its own process (SimpleWorker): its fastest. Results of no-ops are not kept."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os
from datetime import timedelta

from bell import ring
from redis import Redis
from rq import Queue
from rq.registry import StartedJobRegistry

HOUR = timedelta(hours=1)
queue = Queue("default", connection=Redis.from_url(os.environ["BENCH_BROKER_URL"]))


def noop() -> None:
    pass


def answer() -> int:
    return 42


def call() -> None:
    queue.enqueue(noop, result_ttl=0)


def call_many(n: int) -> None:
    queue.enqueue_many([Queue.prepare_data(noop, result_ttl=0) for _ in range(n)])


def call_later() -> None:
    queue.enqueue_in(HOUR, noop, result_ttl=0)


def mark(name: str) -> None:
    queue.enqueue(ring, name, result_ttl=0)


def ask() -> None:
    result = queue.enqueue(answer).latest_result(timeout=10)
    assert result is not None and result.return_value == 42


def backlog() -> int:
    return int(queue.count + StartedJobRegistry(queue=queue).count)
