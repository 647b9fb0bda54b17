"""A worker has tasks for later in the broker, and not in its memory."""

from __future__ import annotations

from collections.abc import Callable

import psutil
import pytest
import redis as client

from tests.project import Project

pytestmark = pytest.mark.redis

MANY = 5000
SOURCE = """
@app.task
def later(n):
    note("later", n)

@app.task
def now(n):
    note("now", n)
"""


def test_thousands_that_celery_sent_for_later_are_not_held_in_memory(
    make_project: Callable[..., Project], redis_url: str
) -> None:
    project = make_project(SOURCE, broker_url=redis_url)
    with project.app.batch():
        for n in range(MANY):
            project.tasks.later.apply_async((n,), countdown=3600)
    with client.Redis.from_url(redis_url) as broker:
        # Nobody serves the queue yet, so they are in the list, as Celery leaves them: each goes through the worker.
        envelopes = broker.lrange("celery", 0, -1)
        assert len(envelopes) == MANY
        worker = project.start()
        process, sizes = psutil.Process(worker.pid), []
        for round_ in "123":    # until buffers are as large as they get
            project.wait_for(lambda: broker.zcard("fastq.future.celery") == MANY and project.queue.held == 0, 60)
            sizes.append(process.memory_info().rss)
            project.tasks.now.delay(round_)
            project.wait_for_note(f"now {round_}")
            broker.delete("fastq.future.celery")
            if round_ != "3":
                broker.rpush("celery", *envelopes)
    assert sizes[2] - sizes[1] < 1 << 20, sizes
    assert [line for line in project.notes if line.startswith("later")] == []
