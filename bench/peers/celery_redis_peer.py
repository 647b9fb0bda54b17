"""Celery on Redis, through redis-py with hiredis; results on Redis too."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os

from celery import Celery
from celery_tasks import furnish
from redis import Redis

URL = os.environ["BENCH_BROKER_URL"]

app = Celery("bench", broker=URL, backend=URL)
app.conf.task_acks_late = os.environ["BENCH_ACKS_LATE"] == "1"
call, mark, ask, call_later, answers = furnish(app)


def backlog() -> int:
    with Redis.from_url(URL) as client:
        return int(client.llen("celery") + client.hlen("unacked"))
