"""Whole workers whose results go to a Redis, while their tasks come from elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from fastq.bench.servers.redis import Redis
from tests.project import Project

TASKS = """
@app.task
def add(x, y):
    return x + y

@app.task
def fail():
    raise ValueError("no")

@app.task(track_started=True)
def shows():
    note("shown")
    wait_for("end")
    return 1
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path / "redis") as started:
        yield started


@pytest.fixture
def made(server: Redis, make_project: Callable[..., Project]) -> Project:
    return make_project(TASKS, result_backend=f"redis://127.0.0.1:{server.port}/0", result_expires=500,
                        result_failure_expires=50)


def test_results_are_kept_where_the_settings_say_and_as_long(server: Redis, made: Project) -> None:
    made.start(pool="prefork")
    result, failed = made.tasks.add.delay(2, 3), made.tasks.fail.delay()
    assert result.get(timeout=20) == 5
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=20)
    for handle, most_s in ((result, 500), (failed, 50)):
        assert most_s - 20 < server.ask("TTL", f"celery-task-meta-{handle.id}") <= most_s


def test_a_task_runs_whose_start_cannot_be_stored(server: Redis, made: Project) -> None:
    worker = made.start(pool="prefork")
    server.ask("CONFIG", "SET", "min-replicas-to-write", "1")   # every write is refused
    result = made.tasks.shows.delay()
    made.wait_for_note("shown")
    assert (result.state, worker.said().count("STARTED is not stored: ")) == ("PENDING", 1)
    server.ask("CONFIG", "SET", "min-replicas-to-write", "0")
    made.allow("end")
    assert result.get(timeout=20) == 1
    assert made.notes == ["shown"]


def test_results_leave_with_the_acks_where_the_broker_is_their_store(
        server: Redis, make_project: Callable[..., Project]) -> None:
    url = f"redis://127.0.0.1:{server.port}/0"
    made = make_project(TASKS, broker_url=url, result_backend=url, result_expires=500, result_failure_expires=50,
                        result_backend_transport_options={"global_keyprefix": "shop"})
    made.start(pool="prefork")
    result, failed = made.tasks.add.delay(2, 3), made.tasks.fail.delay()
    assert result.get(timeout=20) == 5
    with pytest.raises(ValueError, match="no"):
        failed.get(timeout=20)
    for handle, most_s in ((result, 500), (failed, 50)):
        assert most_s - 20 < server.ask("TTL", f"shop_celery-task-meta-{handle.id}") <= most_s
    ours = {f"addr=127.0.0.1:{one.laddr.port}" for one in psutil.Process().net_connections("tcp4")}
    clients = server.ask("CLIENT", "LIST", "TYPE", "NORMAL").splitlines()
    stores = [line for line in clients if "name=fastq-results" in line]
    assert [line for line in stores if line.split()[1] not in ours] == [], "the worker used the store"


def test_a_store_that_is_away_holds_the_acks_back(server: Redis, made: Project) -> None:
    made.start(pool="prefork")
    assert made.tasks.add.delay(2, 3).get(timeout=20) == 5
    server.kill()
    result = made.tasks.add.delay(3, 4)
    program = made.programs[0]
    made.wait_for(lambda: "the result store: cannot reach Redis" in program.said())
    assert made.queue.held == 1
    server.start()
    assert result.get(timeout=20) == 7
    made.wait_for(made.is_idle)
    assert program.process.poll() is None


def test_a_child_says_that_its_task_has_started(server: Redis, made: Project) -> None:
    made.start(pool="prefork")
    result = made.tasks.shows.delay()
    made.wait_for_note("shown")
    assert '"status": "STARTED"' in server.ask("GET", f"celery-task-meta-{result.id}")
    assert result.state == "STARTED"
    made.allow("end")
    assert result.get(timeout=20) == 1


def test_a_worker_that_is_not_to_connect_again_stops(server: Redis, make_project: Callable[..., Project]) -> None:
    url = f"redis://127.0.0.1:{server.port}/0"
    made = make_project(TASKS, broker_url=url, result_backend=url, broker_connection_retry=False)
    worker = made.start(pool="prefork")
    assert made.tasks.add.delay(2, 3).get(timeout=20) == 5
    server.ask("CLIENT", "KILL", "TYPE", "normal")
    made.wait_for(lambda: worker.process.poll() is not None)
    assert worker.process.poll() == 1, worker.said()
    assert "not connecting again (broker_connection_retry)" in worker.said()
