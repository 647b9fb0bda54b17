"""A worker that was stopped for longer than its lease: what it held is others' now, and it knows."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from fastq import transport
from tests.project import Project

Make = Callable[..., Project]

TASKS = """
@app.task
def late(name):
    note("late", os.getpid())
    wait_for(name)
    return name

@app.task(acks_late=False)
def early(name):
    note("early", os.getpid())
    wait_for(name)
    return name
"""


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def make(request: pytest.FixtureRequest, make_project: Make, tmp_path: Path) -> Make:
    """Make a project on a broker with leases, which has the results as well."""
    url = f"sqlite:///{tmp_path}/tasks.db" if request.param == "sqlite" else request.getfixturevalue("redis_url")
    return partial(make_project, broker_read_url=url, broker_write_url=url, result_backend=url)


def take_over(project: Project) -> None:
    """Give the stopped worker up, as another worker would, and hold nothing of what it held."""
    other = transport.open(project.app.conf.broker_read_url)
    other.attach("other", ["elsewhere"], 30.0)
    project.wait_for(other.keep)
    other.close()


def test_a_worker_that_lost_its_lease_runs_again_what_it_held_and_goes_on_with_what_it_had_acked(
    make: Make,
) -> None:
    project = make(TASKS, broker_lease=0.3)
    results = [project.tasks.late.delay("gate"), project.tasks.early.delay("gate")]
    worker = project.start(concurrency=2)
    project.wait_for(lambda: len(project.notes) == 2)
    worker.send(signal.SIGSTOP)
    take_over(project)
    assert project.queue.ready == 1
    worker.send(signal.SIGCONT)
    project.wait_for(lambda: len(project.notes) == 3)
    assert "silent for longer than its lease" in worker.said()
    project.allow("gate")
    assert [result.get(timeout=10) for result in results] == ["gate", "gate"]
    pids = [line.split() for line in project.notes]
    assert sorted(kind for kind, _ in pids) == ["early", "late", "late"]
    project.wait_for(project.is_idle)
    assert (project.dead, worker.stop()) == ([], 0)


def test_a_zombie_stores_no_result_for_what_others_hold(make: Make) -> None:
    """Its child ends while the supervisor is stopped: that run does not count, and the next one's does."""
    project = make(TASKS.replace("return name", "return os.getpid()"), broker_lease=0.3)
    result = project.tasks.late.delay("gate")
    zombie = project.start()
    project.wait_for(lambda: len(project.notes) == 1)
    zombie.send(signal.SIGSTOP)
    project.allow("gate")
    take_over(project)
    second = project.start()
    runner = result.get(timeout=10)
    assert runner in second.children()
    zombie.send(signal.SIGCONT)
    project.wait_for(lambda: "silent for longer than its lease" in zombie.said())
    project.wait_for(project.is_idle)
    assert project.app.AsyncResult(result.id).get(timeout=5) == runner
    assert [line.split()[0] for line in project.notes] == ["late", "late"]
    assert [worker.stop() for worker in (zombie, second)] == [0, 0]


@pytest.mark.redis
def test_a_zombie_asks_the_broker_before_it_stores_elsewhere(make_project: Make, redis_url: str,
                                                             tmp_path: Path) -> None:
    """A solo worker goes straight from its task to the store: there is no beat on which it would hear of its end."""
    project = make_project("""
@app.task
def twice():
    first = not os.path.exists("gate")
    note("twice", os.getpid())
    wait_for("gate" if first else "second gate")
    if first:
        raise ValueError("the zombie's")
    return "the other's"
""", broker_lease=0.3, broker_url=redis_url, result_backend=f"sqlite:///{tmp_path}/results.db")
    result = project.tasks.twice.delay()
    zombie = project.start(pool="solo")
    project.wait_for(lambda: len(project.notes) == 1)
    zombie.send(signal.SIGSTOP)
    project.allow("gate")
    take_over(project)
    second = project.start()
    project.wait_for(lambda: len(project.notes) == 2)
    zombie.send(signal.SIGCONT)
    project.wait_for(lambda: "silent for longer than its lease" in zombie.said())
    assert result.state == "PENDING"
    project.allow("second gate")
    assert result.get(timeout=10) == "the other's"
    project.wait_for(project.is_idle)
    assert [worker.stop() for worker in (zombie, second)] == [0, 0]


def test_a_worker_that_finds_the_file_locked_when_it_begins_anew_tries_again(make_project: Make) -> None:
    project = make_project(TASKS, broker_lease=0.3, broker_transport_options={"timeout": 0.05})
    project.tasks.late.delay("gate")
    worker = project.start()
    project.wait_for(lambda: len(project.notes) == 1)
    worker.send(signal.SIGSTOP)
    take_over(project)
    gate = project.app.transport._file
    with gate.transaction():
        worker.send(signal.SIGCONT)
        project.wait_for(lambda: "trying again" in worker.said())
        assert worker.process.poll() is None
    project.allow("gate")
    project.wait_for(project.is_idle)
    assert os.path.exists(f"/proc/{worker.pid}")
    assert worker.stop() == 0
