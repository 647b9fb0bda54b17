"""A broadcast reaches every worker on Redis, of either side, whoever sends it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import kombu
import pytest

from tests.compat.sides import SIDES, Client, Worker
from tests.compat.test_redis_death import Stage
from tests.deadline import wait_until

pytestmark = pytest.mark.redis


def test_a_broadcast_is_run_by_each_worker(redis_url: str, tmp_path: Path, key: str) -> None:
    with ExitStack() as stack:
        stage = Stage(redis_url, tmp_path, stack)
        workers = [stage.start(side, compat_broadcast="news") for side in ("celery", "fastq", "preset")]
        # Each worker's, and one more by which Celery's is told what to do; other tests' workers are on the server too.
        db = redis_url.rpartition("/")[2]
        wait_until(lambda: sum(int(each["psub"]) for each in stage.keys.client_list() if each["db"] == db)
                   == len(workers) + 1, 20)
        for number, side in enumerate(SIDES):
            client = Client(SIDES[side], redis_url, {"compat_broadcast": "news"})
            stack.callback(client.close)
            # Celery's clients do not declare a broadcast, and without that take its exchange for a direct one.
            options = {"declare": [kombu.Exchange("news", "fanout")]} if side == "celery" else {}
            client.tasks.keep.apply_async((number, key), queue="news", **options)
            wait_for_three(workers[0], key, number)


def wait_for_three(worker: Worker, key: str, number: int) -> None:
    """Wait until each of the three, who write to one file, has noted *number*."""
    wait_until(lambda: worker.noted(key).count(str(number)) == 3, 20)
