"""One long task among many short ones: it occupies its child and holds nobody up, whatever carries the messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.project import Project

TASKS = """
@app.task
def long():
    note("began")
    deadline = time.monotonic() + 100
    while not os.path.exists(os.path.join(os.path.dirname(__file__), "gate")):
        if time.monotonic() > deadline:
            raise TimeoutError("the gate")
        time.sleep(0.005)
    note("ended")

@app.task
def short():
    note("short")
"""
SHORT = 1_000


@pytest.fixture(params=[
    "sqlite", pytest.param("redis", marks=pytest.mark.redis), pytest.param("cluster", marks=pytest.mark.cluster),
    *(pytest.param(kind, marks=pytest.mark.rabbitmq) for kind in ("classic", "quorum"))])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of a broker."""
    if request.param == "sqlite":
        return {}
    if request.param in ("redis", "cluster"):
        return {"broker_url": request.getfixturevalue(f"{request.param}_url")}
    return {"broker_url": request.getfixturevalue("amqp_url"), "task_default_queue_type": request.param}


@pytest.mark.parametrize("first", [True, False], ids=["it-came-first", "it-came-in-the-middle"])
def test_short_tasks_end_while_a_long_one_runs(make_project: Callable[..., Project], engine: dict[str, Any],
                                               first: bool) -> None:
    project = make_project(TASKS, **engine)
    before = 0 if first else SHORT // 2
    project.tasks.short.starmap_delay([()] * before)
    project.tasks.long.delay()
    project.tasks.short.starmap_delay([()] * (SHORT - before))
    worker = project.start(concurrency=2)
    project.wait_for(lambda: project.notes.count("short") == SHORT, 60)
    assert project.notes.count("began") == 1
    assert "ended" not in project.notes
    project.allow("gate")
    project.wait_for_note("ended")
    assert worker.stop() == 0
    assert (project.notes.count("began"), project.notes.count("short")) == (1, SHORT)
