"""What a killed worker held on Redis comes back to one that cannot renew its lease while a task runs."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
import redis as client

from tests.project import Project

pytestmark = pytest.mark.redis

SOURCE = """
@app.task
def held(n):
    note("held", n, os.getpid())
    wait_for("go")
"""


def test_a_solo_worker_takes_over_from_a_killed_one_within_the_lease(
    make_project: Callable[..., Project], redis_url: str
) -> None:
    project = make_project(SOURCE, broker_url=redis_url, broker_lease=2)
    project.tasks.held.delay(1)
    peer = project.start(concurrency=1)
    project.wait_for(lambda: project.notes)
    solo = project.start(pool="solo")
    with client.Redis.from_url(redis_url) as look:
        lives = look.zrange("fastq.lives", 0, -1)
        assert [look.hget(b"fastq.life." + life, "lease") for life in lives] == [b"2000", b"2000"]
    peer.send(signal.SIGKILL)
    peer.process.wait()
    project.wait_for_note(f"held 1 {solo.pid}", timeout=30)
    project.allow("go")
    project.wait_for(project.is_idle)
    assert len(project.notes) == 2
