"""Celery on Redis, through redis-py with hiredis; results on Redis too."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os
import time

from celery import Celery, canvas
from celery import chord as group_of
from celery_tasks import furnish
from redis import Redis
from workflows import furnish as furnish_workflows

URL = os.environ["BENCH_BROKER_URL"]
PROPAGATE = os.environ.get("BENCH_PROPAGATE") != "0"

app = Celery("bench", broker=URL, backend=URL)
app.conf.task_acks_late = os.environ["BENCH_ACKS_LATE"] == "1"
call, mark, ask, call_later, answers = furnish(app)
send_group, run_chain, run_nested = furnish_workflows(app, canvas)


@app.task(name="chord_add", ignore_result=False)
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="chord_total", ignore_result=False)
def total(values: list[int]) -> int:
    return sum(values)


def chord(size: int) -> float:
    result = group_of([add.s(place, place) for place in range(size)])(total.s())
    sent = time.perf_counter()
    assert result.get(timeout=600, propagate=PROPAGATE) == size * (size - 1)
    return sent


def backlog() -> int:
    with Redis.from_url(URL) as client:
        return int(client.llen("celery") + client.hlen("unacked"))
