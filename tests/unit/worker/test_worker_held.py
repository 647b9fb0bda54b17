"""Whole workers on a RabbitMQ that does not wait for an ack for as long as their tasks run."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from tests.project import Program, Project

TASKS = """
from fastq.transport import amqp_stand_in
amqp_stand_in.WAIT_S = 2

@app.task(acks_late=True)
def long(name):
    note("started", name)
    while True:
        try:
            wait_for(name)
            break
        except TimeoutError:
            pass
    note("ended", name)
"""
HOLD_S = 0.5
RENEWED = "still runs here"
"""What the log says of a run whose message was delivered anew."""
OFTEN = 14
"""Longer in all than the broker waits for an ack."""


@pytest.fixture
def project(make_project: Callable[..., Project], impatient: None, amqp_url: str) -> Project:
    return make_project(TASKS, broker_read_url=amqp_url, broker_write_url=amqp_url,
                        broker_transport_options={"hold_s": HOLD_S})


def start(project: Project) -> Program:
    """Start a worker that runs a task."""
    project.tasks.long.delay("gate")
    worker = project.start(concurrency=1)
    project.wait_for_note("started gate")
    return worker


def test_a_task_longer_than_the_broker_waits_runs_once(project: Project) -> None:
    worker = start(project)
    other = project.start(concurrency=1)
    project.wait_for(lambda: worker.said().count(RENEWED) >= OFTEN, 60)
    project.allow("gate")
    project.wait_for_note("ended gate")
    assert worker.stop() == other.stop() == 0
    assert project.is_idle() and project.notes == ["started gate", "ended gate"]
    assert "consumer_timeout" not in worker.said()


def test_a_long_task_whose_worker_is_killed_runs_again(project: Project) -> None:
    worker = start(project)
    project.wait_for(lambda: worker.said().count(RENEWED) >= 2, 30)
    worker.send(signal.SIGKILL)
    worker.process.wait()
    other = project.start(concurrency=1)
    project.wait_for(lambda: project.notes == ["started gate"] * 2, 30)
    project.allow("gate")
    project.wait_for_note("ended gate")
    assert other.stop() == 0
    assert project.is_idle() and not project.dead


def test_what_waits_behind_a_long_task_in_a_window_that_was_chosen_is_kept_for_no_longer(
    make_project: Callable[..., Project], impatient: None, amqp_url: str,
) -> None:
    project = make_project(TASKS, broker_read_url=amqp_url, broker_write_url=amqp_url, worker_prefetch_multiplier=4,
                           broker_transport_options={"hold_s": HOLD_S})
    worker = start(project)
    for _ in range(3):
        project.tasks.long.delay("gate")
    project.wait_for(lambda: worker.said().count(RENEWED) >= OFTEN, 60)
    project.allow("gate")
    project.wait_for(lambda: project.notes.count("ended gate") == 4)
    assert worker.stop() == 0
    assert project.is_idle() and project.notes.count("started gate") == 4
    assert "consumer_timeout" not in worker.said()
