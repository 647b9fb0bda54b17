"""Whole workers and chains whose rest the store keeps: how they go on, and how they fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from fastq import chain, chord, group
from fastq.exceptions import BackendError, ChordError, TaskRevokedError
from fastq.wire.rest import TASK, message, pointer
from tests.project import Project

Make = Callable[..., Project]
TASKS = """
from fastq import chain, chord, group

@app.task
def add(x, y=0):
    return x + y

@app.task
def total(xs):
    return sum(xs)

@app.task
def fail(*args):
    raise ValueError("no good")

@app.task
def gate(value):
    note("gate")
    wait_for("open")
    return value

@app.task(bind=True, max_retries=3)
def again(self, value):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return value + 1

@app.task(bind=True)
def become(self, value):
    return self.replace(add.si(value, 1) | add.s(0))

@app.task(bind=True)
def place(self, value):
    request = self.request
    return [request.id, request.parent_id, request.root_id, request.replaced_task_nesting]

@app.task(ignore_result=True)
def errback(request, exc, traceback):
    note("errback", request.id, type(exc).__name__)

@app.task(ignore_result=True)
def odd(value):
    return {1, 2}
"""


@pytest.fixture
def project(make_project: Make) -> Project:
    made = make_project(TASKS)
    made.start()
    return made


def ones(project: Project, count: int) -> list[Any]:
    return [project.tasks.add.s(1) for _ in range(count)]


def ids(result: Any) -> list[str]:
    """The ids of a chain's steps, the first first."""
    found = []
    while result is not None:
        found.append(result.id)
        result = result.parent
    return found[::-1]


def rests(project: Project) -> list[tuple[str, bool]]:
    """Of each chain that the store keeps: its id, and whether it is to go soon."""
    with project.app.backend._file.transaction() as conn:
        return list(conn.execute("SELECT DISTINCT id, expires_at < unixepoch() + 3600 FROM rest"))


@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_long_chain_of_everything_runs_to_its_end(make_project: Make, pool: str):
    project = make_project(TASKS)
    project.start(pool=pool)
    t = project.tasks
    result = chain([
        t.add.s(0, 1), *ones(project, 60), t.again.s(), *ones(project, 30), group(t.add.s(0), t.add.s(0)), t.total.s(),
        *ones(project, 60), t.become.s(), *ones(project, 60), chord([t.add.s(0), t.add.s(1)], t.total.s()),
        *ones(project, 60)]).apply_async()
    assert result.get(timeout=30) == ((93 - 1) * 2 + 60 + 1 + 60) * 2 + 1 + 60
    project.wait_for(project.is_idle)
    project.wait_for(lambda: rests(project) and all(is_going for _, is_going in rests(project)))
    assert project.dead == []


def test_a_step_follows_the_one_before_it_wherever_it_was(project: Project):
    t = project.tasks
    result = chain([t.add.s(0, 1), *(t.place.s() for _ in range(80))]).apply_async()
    told = ids(result)
    values = [project.app.AsyncResult(task_id).get(timeout=20) for task_id in told[1:]]
    assert values == [[task_id, before, told[0], 0] for before, task_id in pairwise(told)]
    replaced = chain([t.become.s(1), *(t.place.s() for _ in range(80))]).apply_async()
    assert replaced.get(timeout=20)[3] == 1


def test_long_chains_are_members_of_chords(project: Project):
    t = project.tasks
    members = [chain([t.add.s(number, 0), *ones(project, 60)]) for number in range(3)]
    assert chord(members, t.total.s()).apply_async().get(timeout=30) == 183
    body = chain([t.total.s(), *ones(project, 60)])
    assert chord([t.add.s(1, 1), t.add.s(2, 2)], body).apply_async().get(timeout=30) == 66


def test_blocks_may_begin_with_chords(project: Project):
    t = project.tasks
    wide = [step for _ in range(12) for step in (group(t.add.s(0) for _ in range(9)), t.total.s())]
    assert chain([t.add.s(0, 1), *wide]).apply_async().get(timeout=30) == 9 ** 12
    failing = chain([t.add.s(0, 1), *wide, t.fail.s(), *wide]).apply_async()
    with pytest.raises(ValueError, match="no good"):
        project.app.AsyncResult(failing.id).get(timeout=30)


def test_a_failure_reaches_the_steps_in_the_store_and_the_chord_behind_them(project: Project):
    t = project.tasks
    long = chain([t.add.s(0, 1), t.fail.s(), *ones(project, 100)])
    result = long.apply_async()
    told = ids(result)
    for task_id in (*told[1:5], told[50], told[-1]):
        with pytest.raises(ValueError, match="no good"):
            project.app.AsyncResult(task_id).get(timeout=20)
    outer = chord([chain([t.fail.s(), *ones(project, 100)]), t.add.s(1, 1)], t.total.s()).apply_async()
    with pytest.raises(ChordError, match="no good"):
        project.app.AsyncResult(outer.id).get(timeout=20)
    project.wait_for(project.is_idle)
    assert project.dead == [] and all(is_going for _, is_going in rests(project))


def test_a_task_that_is_not_run_fails_the_steps_in_the_store(project: Project):
    result = chain([project.tasks.add.s(0, 1).set(expires=-1), *ones(project, 100)]).apply_async()
    with pytest.raises(TaskRevokedError, match="expired"):
        project.app.AsyncResult(result.id).get(timeout=20)


def waiting(project: Project) -> tuple[Any, list[Any]]:
    """A long chain whose first step waits for the test, and what the message of that step carries behind it."""
    t = project.tasks
    result = chain([t.gate.s(1), *ones(project, 100)]).apply_async()
    project.wait_for_note("gate")
    return result, ids(result)


def test_what_the_store_has_lost_fails_by_name(project: Project):
    result, told = waiting(project)
    ((ref, _),) = rests(project)
    with project.app.backend._file.transaction() as conn:
        conn.execute("DELETE FROM rest WHERE number > 2")
    project.allow("open")
    project.wait_for(lambda: any(project.app.AsyncResult(task_id).state == "FAILURE" for task_id in told))
    states = [project.app.AsyncResult(task_id).state for task_id in told]
    lost = states.index("FAILURE")
    assert states[:lost] == ["SUCCESS"] * lost and lost > 10
    with pytest.raises(BackendError, match=rf"has lost the rest of the chain \(block 3 of {ref}\)"):
        result.get(timeout=20)


@pytest.mark.parametrize("is_chord", [False, True], ids=["chain", "chord at its end"])
def test_a_chord_around_what_the_store_has_lost_fails(project: Project, is_chord: bool):
    t = project.tasks
    last = chord([t.add.s(1)], t.total.s()) if is_chord else t.add.s(1)
    outer = chord([chain([t.gate.s(1), *ones(project, 100), last]), t.add.s(1, 1)], t.total.s()).apply_async()
    project.wait_for_note("gate")
    with project.app.backend._file.transaction() as conn:
        assert conn.execute("DELETE FROM rest WHERE number > 2").rowcount
    project.allow("open")
    with pytest.raises(ChordError, match=r"has lost the rest of the chain \(block 3"):
        project.app.AsyncResult(outer.id).get(timeout=20)
    project.wait_for(project.is_idle)
    assert project.dead == []


@pytest.mark.parametrize(("way", "said"), [
    ({"expires": -1}, "expired"), ({"headers": {"timelimit": [1]}}, "timelimit")])
def test_when_the_message_that_goes_on_is_given_up_all_behind_it_fails(project: Project, way: Any, said: str):
    result, told = waiting(project)
    ((ref, _),) = rests(project)
    project.app.send_task(TASK, (1, ref, 1, told[12]), **way)
    project.app.send_task(TASK, (1, ref, 1, told[12]), {"doom": {}}, **way)     # which is not tried again
    project.allow("open")
    with pytest.raises(ChordError, match=f"goes on with the chain is given up.*{said}"):
        project.app.AsyncResult(result.id).get(timeout=20)


def test_a_pointer_that_a_worker_of_celery_has_sent_is_followed(project: Project):
    result, told = waiting(project)
    ((ref, _),) = rests(project)
    step = json.loads(project.app.backend.rest_get(ref, 1, None))[-1]["options"]["task_id"]
    project.app.send_task(TASK, (1000, ref, 1), task_id=step)
    # The only child waits at the gate.
    project.start()
    assert result.get(timeout=20) == 1000 + len(told) - told.index(step)
    project.allow("open")
    project.app.send_task(TASK, ([1, 2],), task_id="the body of a chord")
    with pytest.raises(BackendError, match="cannot follow a pointer to the body of a chord"):
        project.app.AsyncResult("the body of a chord").get(timeout=20)


def test_a_value_that_cannot_go_on_is_the_failure_of_its_task(project: Project):
    t = project.tasks
    behind = ones(project, 100)
    result = chain([t.add.s(0, 1), *behind]).apply_async()
    assert result.get(timeout=20) == 101
    # Sets have no JSON: so does a step find out that ends a block.
    result = chain([t.odd.s(1), *behind]).apply_async()
    with pytest.raises(Exception, match="set"):
        result.get(timeout=20)


def test_a_store_that_is_away_is_asked_again(make_project: Make):
    project = make_project(TASKS, result_backend="redis://127.0.0.1:1/0")
    project.start()
    project.app.transport.publish([message(
        pointer("next", "ref", 1), 5, queue="celery", priority=0, root_id=None, parent_id="before")])
    project.wait_for(lambda: project.queue.future == 1)
    assert project.dead == []
