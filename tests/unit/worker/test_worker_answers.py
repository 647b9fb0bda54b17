"""What a caller has of a task while it runs, and of one that failed: progress, a way to stop it, its traceback."""

from __future__ import annotations

import io
import traceback
from collections.abc import Callable

import pytest

from fastq.contrib.abortable import ABORTED
from fastq.exceptions import TimeoutError
from tests.project import Project

Make = Callable[..., Project]

TASKS = """
from fastq.contrib.abortable import AbortableTask

@app.task(bind=True, base=AbortableTask)
def crunch(self, name):
    note("begun", name)
    deadline = time.monotonic() + 60
    while not self.is_aborted():
        if time.monotonic() > deadline:
            raise TimeoutError("nobody asked it to stop")
        time.sleep(0.005)
    note("stopped", name)
    return "partial"

@app.task(bind=True)
def bake(self):
    for current in range(1, 4):
        self.update_state(state="PROGRESS", meta={"current": current, "total": 4, "status": "baking"})
        wait_for(f"step-{current}")
    return "cake"

@app.task
def deep(level):
    if level:
        return deep.run(level - 1)
    raise LookupError("down here")
"""


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_task_that_runs_is_asked_to_stop_and_stops(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    project.start(pool=pool, concurrency=2)
    first, second = project.tasks.crunch.delay("first"), project.tasks.crunch.delay("second")
    project.wait_for_note("begun first", "begun second", timeout=60)
    first.abort()
    assert first.get(timeout=60) == "partial"
    assert (second.is_aborted(), second.ready(), "stopped second" in project.notes) == (False, False, False)
    second.abort()
    assert second.state in (ABORTED, "SUCCESS")
    assert second.get(timeout=60) == "partial"
    first.abort()       # too late
    assert first.get(timeout=60) == "partial" and not first.is_aborted()


def test_one_that_was_asked_to_stop_before_it_began_ends_at_once(make_project: Make) -> None:
    project = make_project(TASKS)
    result = project.tasks.crunch.delay("late")
    result.abort()
    project.start()
    assert result.get(timeout=60) == "partial"


def test_a_bar_shows_how_far_a_task_is(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    result = project.tasks.bake.delay()
    for current in (1, 2, 3):
        project.wait_for(lambda current=current: (result.info or {}).get("current") == current, 60)
        file = io.StringIO()
        with pytest.raises(TimeoutError):
            result.watch(timeout=0.05, file=file)
        assert f"proj.bake baking {current}/4" in " ".join(file.getvalue().replace("━", " ").split())
        project.allow(f"step-{current}")
    assert result.watch(timeout=60, file=io.StringIO()) == "cake"


@pytest.mark.parametrize("is_remote", [False, True])
def test_an_error_is_raised_with_the_traceback_of_its_worker_where_that_is_asked_for(
        make_project: Make, is_remote: bool) -> None:
    project = make_project(TASKS, task_remote_tracebacks=is_remote)
    project.start()
    result = project.tasks.deep.delay(2)
    with pytest.raises(LookupError, match="down here") as raised:
        result.get(timeout=60)
    frames = [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert frames.count("deep") == (3 if is_remote else 0)
    assert result.traceback.count("in deep") == 3
