"""What bounds a child and a run: time, tasks, memory; and what bounds how much a worker holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastq.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from tests.project import Project

Make = Callable[..., Project]

TASKS = """
@app.task
def pid():
    return os.getpid()

@app.task(soft_time_limit=0.1)
def soft():
    wait_for("never")

@app.task(soft_time_limit=0.1)
def tidy():
    try:
        wait_for("never")
    except SoftTimeLimitExceeded:
        return "tidied up"

@app.task(soft_time_limit=0.1, time_limit=0.3)
def stubborn():
    while True:
        try:
            wait_for("never")
        except SoftTimeLimitExceeded:
            note("warned")

hoard = []

@app.task
def eat(mib):
    hoard.append(b"x" * (mib << 20))
    return os.getpid()

@app.task
def wait(name):
    note("started", name, os.getppid())
    wait_for(name)
    return name

@app.task
def boss(n):
    note("boss", os.getppid())
    return os.getppid()
"""


def test_a_soft_limit_is_raised_inside_the_task(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start()
    with pytest.raises(SoftTimeLimitExceeded):
        project.tasks.soft.delay().get(timeout=10)
    assert project.tasks.tidy.delay().get(timeout=10) == "tidied up"
    [child] = worker.children()
    assert project.tasks.pid.delay().get(timeout=10) == child      # the child has survived both


def test_a_task_that_ignores_its_soft_limit_meets_the_hard_one(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start()
    with pytest.raises(TimeLimitExceeded):
        project.tasks.stubborn.delay().get(timeout=10)
    assert project.notes == ["warned"]
    assert worker.said().count("Hard time limit (0.3s) exceeded for proj.stubborn") == 1
    assert worker.said().count("Soft time limit (0.1s) exceeded for proj.stubborn") == 1
    project.wait_for(project.is_idle)
    assert project.dead == []


def test_the_limit_of_the_worker_holds_for_tasks_without_one(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start(time_limit=0.2)
    with pytest.raises(TimeLimitExceeded):
        project.tasks.wait.delay("never").get(timeout=10)


def test_the_limit_of_a_message_wins(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start(time_limit=60.0)
    with pytest.raises(TimeLimitExceeded):
        project.tasks.wait.apply_async(("never",), time_limit=0.2).get(timeout=10)


def test_a_child_leaves_after_its_share_of_tasks(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start(max_tasks_per_child=3)
    pids = [project.tasks.pid.delay().get(timeout=10) for _ in range(9)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]
    assert "ERROR" not in worker.said()


def test_a_child_leaves_after_its_share_of_memory(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start(max_memory_per_child=200 << 10)
    first = project.tasks.pid.delay().get(timeout=10)
    assert project.tasks.eat.delay(10).get(timeout=10) == first
    assert project.tasks.eat.delay(200).get(timeout=10) == first
    assert project.tasks.pid.delay().get(timeout=10) != first
    assert "more than the 204800 allowed" in worker.said()


def test_a_long_task_blocks_nobody(make_project: Make) -> None:
    """What one worker holds behind its long tasks goes back, and another worker gets it within a second."""
    project = make_project(TASKS)
    for name in ("gate-1", "gate-2"):
        project.tasks.wait.delay(name)
    first = project.start(concurrency=2)
    project.wait_for_note(f"started gate-1 {first.pid}", f"started gate-2 {first.pid}")
    results = project.tasks.boss.map_delay(range(50))
    second = project.start(concurrency=1)
    assert {result.get(timeout=2) for result in results} == {second.pid}
    for name in ("gate-1", "gate-2"):
        project.allow(name)
    project.wait_for(project.is_idle)
    assert [worker.stop() for worker in (first, second)] == [0, 0]


def test_work_fetched_behind_a_long_task_goes_to_another_worker_within_a_second(make_project: Make) -> None:
    project = make_project(TASKS)
    project.tasks.boss.map_delay(range(2000))
    project.tasks.wait.delay("gate")
    results = project.tasks.boss.map_delay(range(100))
    first = project.start(concurrency=1)    # fetches hundreds ahead of the gate, and much that stands behind it
    project.wait_for_note(f"started gate {first.pid}", timeout=30)
    second = project.start(concurrency=1)
    assert {result.get(timeout=2) for result in results} == {second.pid}
    project.allow("gate")
    project.wait_for(project.is_idle)
    assert [worker.stop() for worker in (first, second)] == [0, 0]


def test_deaths_without_number_are_allowed(make_project: Make) -> None:
    project = make_project(TASKS, task_max_deaths=None)
    project.start()
    assert project.tasks.pid.delay().get(timeout=10)
