"""WakaQ: a list that is popped one by one, in children; it keeps no results."""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import logging
import os
from datetime import timedelta
from urllib.parse import urlsplit

from bell import ring
from wakaq import WakaQ

HOUR = timedelta(hours=1)
URL = urlsplit(os.environ["BENCH_BROKER_URL"])
wakaq = WakaQ(
    queues=["default"], host=URL.hostname, port=URL.port, db=int(URL.path[1:]),
    concurrency=int(os.environ["BENCH_CONCURRENCY"]), worker_log_level=logging.ERROR,
)  # fmt: skip


@wakaq.task
def noop() -> None:
    pass


@wakaq.task
def marker(name: str) -> None:
    ring(name)


call = noop.delay
mark = marker.delay


def call_later() -> None:
    noop.delay(eta=HOUR)


def backlog() -> int:
    return sum(int(wakaq.broker.llen(key)) for key in wakaq.broker_keys)
