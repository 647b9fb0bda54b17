"""Celery on RabbitMQ, through py-amqp."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os

from celery import Celery
from celery_tasks import furnish

QUORUM = os.environ["BENCH_QUEUE_TYPE"] == "quorum"

app = Celery("bench", broker=os.environ["BENCH_BROKER_URL"], backend="rpc://")
app.conf.update(
    broker_heartbeat=0,
    task_acks_late=os.environ["BENCH_ACKS_LATE"] == "1",
    task_default_delivery_mode=int(os.environ["BENCH_DELIVERY_MODE"]),
    task_default_queue_type="quorum" if QUORUM else "classic",
    # Celery can delay a task in the broker only where the exchange is not a direct one.
    task_default_exchange_type="topic" if QUORUM else "direct",
)
call, mark, ask, call_later, _ = furnish(app)
