"""What is left when a whole worker, a server's data or a server itself is gone."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fastq.bench.servers.redis import Redis
from fastq.bench.servers.sentinel import Sentinels
from tests.deadline import wait_until
from tests.project import Program, Project

pytestmark = pytest.mark.redis
Make = Callable[..., Project]

TASKS = """
@app.task(ignore_result=True)
def plain(n):
    note("plain", n)

@app.task(ignore_result=True)
def steady(n):
    note("steady", n)
    time.sleep(0.003)

@app.task(ignore_result=True)
def gated(name):
    note("gated", name)
    wait_for(name)
"""
LEASE_S = 1.5
IN_HAND = 1000


def on(url: str) -> dict[str, str]:
    """The settings that put a project there."""
    return {"broker_read_url": url, "broker_write_url": url, "result_backend": url}


def kill(worker: Program) -> None:
    """Kill a worker with all its children, so that nothing of it writes a note from now on."""
    for pid in (*worker.children(), worker.pid):
        os.kill(pid, signal.SIGKILL)
    worker.process.wait()


def test_a_thousand_messages_of_a_killed_worker_run_within_its_lease(make_project: Make, redis_url: str) -> None:
    """Those run twice that had begun and were not acked: the supervisor was stopped meanwhile. The others run once."""
    project = make_project(TASKS, broker_lease=LEASE_S, worker_prefetch_multiplier=IN_HAND, **on(redis_url))
    tasks = project.tasks
    tasks.gated.delay("first")
    tasks.plain.map_delay(range(IN_HAND // 2))
    tasks.gated.delay("second")
    tasks.plain.map_delay(range(IN_HAND // 2, IN_HAND - 2))
    worker = project.start()
    project.wait_for_note("gated first")
    project.wait_for(lambda: (project.queue.ready, project.queue.held) == (0, IN_HAND))
    worker.send(signal.SIGSTOP)
    project.allow("first")
    project.wait_for_note("gated second")
    kill(worker)
    died_at = time.monotonic()
    project.allow("second")
    second = project.start()
    project.wait_for(lambda: len(set(project.notes)) == IN_HAND)
    project.wait_for(project.is_idle)
    assert time.monotonic() - died_at < LEASE_S + 5
    runs = Counter(project.notes)
    begun = {"gated first", "gated second", *(f"plain {n}" for n in range(IN_HAND // 2))}
    assert runs == Counter(runs.keys()) + Counter(begun)
    assert "was silent for longer than its lease: what it held goes back" in second.said()
    assert (project.dead, second.stop()) == ([], 0)


def test_a_worker_whose_server_lost_its_data_says_so_and_goes_on(make_project: Make, tmp_path: Path) -> None:
    with Redis(tmp_path / "server") as server:
        project = make_project(TASKS, **on(server.url))
        project.tasks.gated.delay("gate")
        worker = project.start(concurrency=2)
        project.wait_for_note("gated gate")
        server.kill()
        project.wait_for(lambda: "trying again" in worker.said())
        server.start()
        project.wait_for(lambda: "has lost its data" in worker.said())
        project.tasks.plain.delay(1)
        project.wait_for_note("plain 1")
        project.wait_for(project.is_idle)
        assert worker.said().count("has lost its data") == 1
        assert worker.stop() == 0


def test_nothing_that_a_replica_has_is_lost_by_a_failover(make_project: Make, sentinels: Sentinels) -> None:
    total = 400
    url = f"{sentinels.url}?master_name={sentinels.name}"
    old = sentinels.primary
    project = make_project(TASKS, broker_lease=LEASE_S, **on(url))
    project.tasks.steady.map_delay(range(total))
    wait_until(partial(has_all, old, sentinels.replica))
    worker = project.start(concurrency=2)
    project.wait_for(lambda: len(project.notes) > total // 8)
    old.kill()
    try:
        sentinels.wait_for_failover(old)
        project.wait_for(lambda: len(set(project.notes)) == total)
        project.wait_for(project.is_idle)
        assert worker.stop() == 0
    finally:
        old.start()
        wait_until(sentinels.is_whole, 30)
    runs = Counter(project.notes)
    assert set(runs) == {f"steady {n}" for n in range(total)}
    assert sum(runs.values()) - total < total // 2      # what the replica had not heard of yet
    assert project.dead == []


def has_all(primary: Redis, replica: Redis) -> bool:
    """Whether *replica* has all that *primary* has."""
    return replica.info("replication")["slave_repl_offset"] == primary.info("replication")["master_repl_offset"]
