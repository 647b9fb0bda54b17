"""Whole workers: settings that change what one takes and runs."""

from __future__ import annotations

from collections.abc import Callable

from fastq import chord
from tests.project import Project

Make = Callable[..., Project]

TASKS = """
from fastq.types import Result

@app.task
def add(x, y=1):
    return x + y

@app.task
def total(values):
    return sum(values)

@app.task
def show(value):
    note("shown", value)

@app.task(bind=True)
def falls(self, n, state="SUCCESS"):
    note("began", n)
    if self.request.deaths == 0:
        if state == "GARBAGE":
            self.app.backend.put([Result(self.request.id, "STARTED", b"{", None, None)])
        else:
            self.update_state(state=state, meta=2 * n)
        os.kill(os.getpid(), signal.SIGKILL)
    return 3 * n
"""


def test_a_task_that_has_succeeded_is_not_run_again_and_what_follows_it_comes(make_project: Make) -> None:
    project = make_project(TASKS, worker_deduplicate_successful_tasks=True)
    project.start()
    falls = project.tasks.falls
    assert (falls.s(4) | project.tasks.add.s(1)).delay().get(timeout=10) == 9
    assert falls.apply_async((5,), link=project.tasks.show.s()).get(timeout=10) == 10
    assert chord([falls.s(6), project.tasks.add.s(1)])(project.tasks.total.s()).get(timeout=10) == 14
    assert falls.delay(7, "HALF").get(timeout=10) == 21     # which it had not
    assert falls.delay(8, "GARBAGE").get(timeout=10) == 24
    project.wait_for(project.is_idle)
    assert sorted(project.notes) == ["began 4", "began 5", "began 6", "began 7", "began 7", "began 8", "began 8",
                                     "shown 10"]
    said = project.programs[0].said()
    assert (said.count("has succeeded before: not run again"), said.count("as nobody knows whether")) == (3, 1)


def test_a_task_that_has_succeeded_runs_again_unless_the_user_wants_it_asked(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    project.tasks.falls.delay(1)
    project.wait_for(lambda: len(project.notes) == 2 and project.is_idle())
    assert project.notes == ["began 1"] * 2


def test_a_task_can_be_sent_to_one_worker(make_project: Make) -> None:
    project = make_project(TASKS, worker_direct=True)
    project.start(hostname="w1@here", queues=["other"])
    assert project.tasks.add.apply_async((1, 2), queue="w1@here.dq2").get(timeout=10) == 3
    project.tasks.add.apply_async((1, 2), queue="w2@here.dq2")
    assert project.app.transport.queues()["w2@here.dq2"].ready == 1
