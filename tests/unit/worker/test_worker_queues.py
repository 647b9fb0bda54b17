"""A worker that is told, while it works, which queues to consume and to have new children: through the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tests.project import Project

TASKS = """
@app.task
def mark(name):
    note("mark", name)

@app.task
def gated(name):
    note("began", name)
    wait_for(name)
    note("ended", name)
"""
SERVERS = [pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("redis", "rabbitmq")]
Make = Callable[..., Project]


def on(engine: str, request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings for a broker of *engine*, new and empty."""
    if engine == "sqlite":
        return {}
    url = request.getfixturevalue("redis_url" if engine == "redis" else "amqp_url")
    return {"broker_url": url, "broker_read_url": url, "broker_write_url": url, "result_backend": None}


@pytest.fixture(params=["sqlite", *SERVERS])
def project(make_project: Make, request: pytest.FixtureRequest) -> Project:
    return make_project(TASKS, **on(request.param, request))


def told(project: Project, *words: str) -> Any:
    """What the one worker answers to a command of the command line."""
    command = [sys.executable, "-m", "fastq", "-A", "proj", *words, "-t", "10", "-d", node(project), "--json"]
    ran = subprocess.run(command, cwd=project.folder, text=True, capture_output=True, timeout=60, check=False)
    (answer,) = json.loads(ran.stdout).values()
    return answer


def node(project: Project) -> str:
    (answer,) = project.app.control.ping(timeout=10, limit=1)
    return str(next(iter(answer)))


def queues(project: Project) -> list[str]:
    return [queue["name"] for queue in told(project, "inspect", "active_queues")]


def test_queues_are_consumed_and_left_while_it_works(project: Project) -> None:
    worker = project.start(concurrency=1)
    project.tasks.mark.apply_async(("early",), queue="other")
    assert told(project, "control", "add_consumer", "other") == {"ok": "add consumer other"}
    project.wait_for_note("mark early")
    assert told(project, "control", "add_consumer", "other") == {"ok": "add consumer other"}
    assert sorted(queues(project)) == ["celery", "other"]
    project.tasks.gated.apply_async(("gate",), queue="other")
    project.wait_for_note("began gate")
    assert told(project, "control", "cancel_consumer", "other") == {"ok": "no longer consuming from other"}
    assert queues(project) == ["celery"]
    project.tasks.mark.apply_async(("late",), queue="other")
    project.tasks.mark.delay("own")
    project.allow("gate")
    project.wait_for_note("ended gate", "mark own")
    told(project, "control", "cancel_consumer", "celery")
    project.tasks.mark.delay("last")
    assert queues(project) == []
    assert "mark late" not in project.notes and "mark last" not in project.notes
    told(project, "control", "add_consumer", "celery")
    told(project, "control", "add_consumer", "other")
    project.wait_for_note("mark late", "mark last")
    assert worker.stop() == 0
    assert project.is_idle() and not project.dead
    assert sorted(project.notes) == ["began gate", "ended gate", "mark early", "mark last", "mark late", "mark own"]


def test_an_exchange_and_a_routing_key_may_be_named(project: Project) -> None:
    project.start(concurrency=1)
    assert "ok" in told(project, "control", "add_consumer", "videos", "media", "topic", "video.*")
    (found,) = [queue for queue in told(project, "inspect", "active_queues") if queue["name"] == "videos"]
    assert (found["exchange"]["name"], found["exchange"]["type"], found["routing_key"]) == ("media", "topic", "video.*")


@pytest.mark.parametrize("engine", SERVERS)
def test_they_outlive_a_reconnect(make_project: Make, request: pytest.FixtureRequest, engine: str) -> None:
    project = make_project(TASKS, **on(engine, request))
    worker = project.start(concurrency=1)
    told(project, "control", "add_consumer", "other")
    told(project, "control", "cancel_consumer", "celery")
    server = request.getfixturevalue(engine)
    if engine == "redis":
        server.ask("CLIENT", "KILL", "TYPE", "normal")
    else:
        server.close_all_connections()
    project.wait_for(lambda: "connected again" in worker.said())
    project.tasks.mark.apply_async(("other",), queue="other")
    project.tasks.mark.delay("own")
    project.wait_for_note("mark other")
    assert queues(project) == ["other"] and "mark own" not in project.notes


@pytest.mark.rabbitmq
def test_a_queue_that_the_broker_refuses_changes_nothing(make_project: Make, request: pytest.FixtureRequest) -> None:
    project = make_project(TASKS, **on("rabbitmq", request))
    worker = project.start(concurrency=1)
    project.tasks.gated.delay("gate")
    project.wait_for_note("began gate")
    answer = told(project, "control", "add_consumer", "odd", "odd", "no-such-type", "odd")
    assert "no-such-type" in answer["error"] and "odd" in answer["error"]
    assert queues(project) == ["celery"]
    assert told(project, "control", "add_consumer", "odd", "odd", "direct", "odd") == {"ok": "add consumer odd"}
    project.tasks.mark.apply_async(("odd",), queue="odd")
    project.allow("gate")
    project.wait_for_note("ended gate", "mark odd")
    assert worker.stop() == 0
    assert project.notes.count("began gate") == 1 and "connection" not in worker.said()


def test_all_children_are_replaced_where_that_is_allowed(make_project: Make) -> None:
    project = make_project(TASKS, worker_pool_restarts=True)
    worker = project.start(concurrency=2)
    before = set(worker.children())
    project.tasks.gated.delay("gate")
    project.wait_for_note("began gate")
    assert told(project, "control", "pool_restart") == {"ok": "reload started"}
    project.wait_for(lambda: len(before & set(worker.children())) == 1 and len(worker.children()) == 2)
    project.allow("gate")
    project.wait_for(lambda: not before & set(worker.children()) and len(worker.children()) == 2)
    project.tasks.mark.delay("after")
    project.wait_for_note("ended gate", "mark after")
    (answer,) = project.app.control.pool_restart(modules=["proj"], reload=True, reply=True, timeout=10, limit=1) or ()
    assert "SIGHUP" in next(iter(answer.values()))["error"]
    assert worker.stop() == 0 and not project.dead


def test_children_are_replaced_only_where_that_is_allowed(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start(concurrency=1)
    assert "worker_pool_restarts" in told(project, "control", "pool_restart")["error"]
