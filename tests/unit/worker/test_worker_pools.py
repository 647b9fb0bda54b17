"""Whole workers of every kind of pool that runs several tasks in a child: what runs, what is stopped, what is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from fastq.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from tests.project import Program, Project

Make = Callable[..., Project]
POOLS = pytest.mark.parametrize("pool", ["threads", "asyncio", "gevent", "eventlet"])

TASKS = """
import asyncio
from fastq import current_task

async def look_for(name):
    while not os.path.exists(os.path.join(os.path.dirname(__file__), name)):
        await asyncio.sleep(0.005)

@app.task(bind=True)
def meet(self, name):
    note("here", name)
    wait_for("all")
    return current_task.request.id == self.request.id and current_task.name == "proj.meet" and self.request.id

@app.task(bind=True)
async def gather(self, name):
    note("here", name)
    await asyncio.gather(look_for("all"), asyncio.sleep(0))
    return current_task.request.id == self.request.id and current_task.name == "proj.gather" and self.request.id

@app.task
def pid():
    return os.getpid()

@app.task(soft_time_limit=0.2)
def soft():
    wait_for("never")

@app.task(soft_time_limit=0.2)
async def tidy():
    try:
        await asyncio.gather(look_for("never"))
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)
        return "tidied up"

@app.task(time_limit=0.2)
async def endless():
    await look_for("never")

@app.task(time_limit=0.2)
def stubborn():
    note("stubborn")
    while True:
        try:
            while True:
                pass
        except BaseException:
            note("told")

@app.task(acks_late=True)
def beside(name):
    note("began", name)
    wait_for("go")
    return name

@app.task(acks_late=True)
async def aside(name):
    note("began", name)
    await look_for("go")
    return name

@app.task
def die():
    note("dies")
    os.kill(os.getpid(), signal.SIGKILL)

@app.task
def wrong():
    raise StopIteration("odd")

@app.task
async def awry(x):
    return 1 // x
"""


def start(project: Project, pool: str, concurrency: int = 6, **options: object) -> Program:
    return project.start(pool=pool, concurrency=concurrency, **options)


@POOLS
def test_functions_and_coroutines_run_beside_each_other_each_with_its_request(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool)
    results = [task.delay(f"{task.name}-{number}") for number in range(3)
               for task in (project.tasks.meet, project.tasks.gather)]
    project.wait_for(lambda: len(project.notes) == 6)       # all six are there before one of them ends
    assert len(worker.children()) == 1
    worker.send(signal.SIGTERM)                             # what runs is finished, and its results are stored
    project.wait_for(lambda: "warm shutdown" in worker.said())
    project.allow("all")
    assert [result.get(timeout=20) for result in results] == [result.id for result in results]
    assert worker.process.wait(20) == 0
    assert "ERROR" not in worker.said()


@POOLS
def test_an_exception_ends_its_task_alone(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool)
    with pytest.raises(StopIteration, match="odd"):
        project.tasks.wrong.delay().get(timeout=20)
    with pytest.raises(ZeroDivisionError):
        project.tasks.awry.delay(0).get(timeout=20)
    assert project.tasks.awry.delay(1).get(timeout=20) == 1
    assert worker.stop() == 0


@POOLS
def test_limits_end_a_task_from_inside_and_its_child_lives(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool)
    with pytest.raises(SoftTimeLimitExceeded):
        project.tasks.soft.delay().get(timeout=20)
    soft, tidy, endless = (task.delay() for task in (project.tasks.soft, project.tasks.tidy, project.tasks.endless))
    with pytest.raises(SoftTimeLimitExceeded):
        soft.get(timeout=20)
    if pool == "asyncio":       # in the others the coroutine is waited for, and it is that wait which is interrupted
        assert tidy.get(timeout=20) == "tidied up"
    with pytest.raises(TimeLimitExceeded) as raised:
        endless.get(timeout=20)
    assert raised.value.args == (0.2,)
    assert [project.tasks.pid.delay().get(timeout=20)] == worker.children()
    assert "Hard time limit (0.2s) exceeded for proj.endless" in worker.said()
    assert "killing" not in worker.said()


@POOLS
def test_what_ran_beside_one_that_had_to_be_killed_runs_again_and_is_not_blamed(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool)
    beside = [task.delay(name) for name, task in (("a", project.tasks.beside), ("b", project.tasks.aside))]
    project.wait_for_note("began a", "began b")
    stubborn = project.tasks.stubborn.delay()
    with pytest.raises(TimeLimitExceeded):
        stubborn.get(timeout=20)
    project.wait_for(lambda: project.notes.count("began a") == project.notes.count("began b") == 2)
    project.allow("go")
    assert [result.get(timeout=20) for result in beside] == ["a", "b"]
    project.wait_for(project.is_idle)
    assert (project.dead, "death" in worker.said()) == ([], False)


@POOLS
def test_a_killed_child_costs_nobody_but_the_killer(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool)
    beside = [project.tasks.beside.delay("a"), project.tasks.aside.delay("b")]
    project.wait_for_note("began a", "began b")
    os.kill(worker.children()[0], signal.SIGKILL)
    project.wait_for(lambda: project.notes.count("began a") == project.notes.count("began b") == 2)
    assert "it ran 2 tasks" in worker.said()
    killer = project.tasks.die.delay()
    # Its second kill comes when the others, or one of them, are one death short of being condemned.
    project.wait_for(lambda: project.notes.count("dies") == 2, timeout=30)
    project.allow("go")
    assert [result.get(timeout=30) for result in beside] == ["a", "b"]
    project.wait_for(lambda: project.dead, timeout=30)
    assert [letter.reason[:6] for letter in project.dead] == ["poison"]
    assert project.notes.count("dies") == 3
    with pytest.raises(Exception, match="killed 3 children"):
        killer.get(timeout=20)


@POOLS
def test_a_child_leaves_after_its_share_when_the_others_have_ended(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool, max_tasks_per_child=3)
    long = project.tasks.beside.delay("a")
    project.wait_for_note("began a")
    [first] = worker.children()
    # Threads count those that have ended, others those that have begun.
    for _ in range(3 if pool == "threads" else 2):
        assert project.tasks.pid.delay().get(timeout=20) == first
    next_one = project.tasks.pid.delay()
    project.allow("go")
    assert long.get(timeout=20) == "a"
    assert next_one.get(timeout=20) != first
    assert "ERROR" not in worker.said()


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_a_spawned_child_imports_the_app_and_does_the_same(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool, 2, start_method="spawn", max_memory_per_child=1)
    first = project.tasks.pid.delay().get(timeout=20)
    # It is larger than the limit after any task; but that it leaves may come after its result.
    project.wait_for(lambda: project.tasks.pid.delay().get(timeout=20) != first)
    project.wait_for(lambda: "more than the 1 allowed" in worker.said())
    assert worker.stop() == 0


def test_several_children_of_many_tasks(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = start(project, "asyncio", 2, processes=2)
    results = [project.tasks.gather.delay(number) for number in range(4)]
    project.wait_for(lambda: len(project.notes) == 4)
    assert len(worker.children()) == 2
    project.allow("all")
    assert [result.get(timeout=20) for result in results] == [result.id for result in results]
