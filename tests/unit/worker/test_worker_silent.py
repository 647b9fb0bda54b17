"""Whole workers whose broker takes connections and says nothing: children and signals do not wait for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.project import Program, Project
from tests.servers.proxy import Proxy

Make = Callable[..., Project]
Start = Callable[[str], tuple[Project, Program]]

TASKS = """
@app.task(acks_late=True, time_limit=1)
def limited(name):
    note("limited", os.getpid())
    wait_for("never")

@app.task(acks_late=True)
def gated(name):
    note("gated", os.getpid())
    wait_for("gate")
"""
CONNECT_S = 120.0
"""So long an attempt to connect lasts: whoever waits for its end is too late for every deadline here."""
SOON_S = 30.0


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    with Proxy(rabbitmq.port) as proxy:
        yield proxy


@pytest.fixture
def start(make_project: Make, proxy: Proxy, amqp_url: str) -> Callable[[str], tuple[Project, Program]]:
    """Start a worker that runs a task, and is connecting to a broker that says nothing."""
    def start(task: str) -> tuple[Project, Program]:
        project = make_project(TASKS, broker_read_url=proxy.url(amqp_url), broker_write_url=amqp_url,
                               broker_connection_timeout=CONNECT_S)
        project.app.tasks[f"proj.{task}"].delay("it")
        worker = project.start()
        project.wait_for(lambda: project.notes)
        proxy.half_open()
        before = proxy.accepted
        proxy.cut()
        project.wait_for(lambda: proxy.accepted > before, SOON_S)
        return project, worker

    return start


def test_a_time_limit_holds_and_the_child_is_replaced(start: Start, proxy: Proxy) -> None:
    project, worker = start("limited")
    child = int(project.notes[0].split()[1])
    project.wait_for(lambda: "Hard time limit (1.0s) exceeded" in worker.said(), SOON_S)
    project.wait_for(lambda: worker.children() and child not in worker.children(), SOON_S)
    proxy.behave()
    proxy.cut()
    project.wait_for(lambda: project.queue.ready == 0, SOON_S)
    assert worker.stop() == 0


def test_a_child_that_dies_is_replaced(start: Start) -> None:
    project, worker = start("gated")
    child = int(project.notes[0].split()[1])
    os.kill(child, signal.SIGKILL)
    project.wait_for(lambda: worker.children() and child not in worker.children(), SOON_S)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT], ids=["warm", "cold"])
def test_a_wish_to_stop_is_heard(start: Start, number: signal.Signals) -> None:
    project, worker = start("gated")
    project.allow("gate")
    worker.send(number)
    project.wait_for(lambda: worker.process.poll() is not None, SOON_S)
