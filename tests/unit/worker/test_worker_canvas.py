"""Whole workers: what follows a task leaves with its ack, be it one message or a workflow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastq import chain, chord, group
from tests.project import Project

Make = Callable[..., Project]
TASKS = """
from fastq import chain, chord, group, signature

@app.task
def add(x, y=0):
    return x + y

@app.task
def total(xs):
    return sum(xs)

@app.task
def fail(*args):
    raise ValueError("no good")

@app.task(bind=True)
def place(self, *args):
    request = self.request
    return [request.id, request.root_id, request.parent_id, request.group, request.group_index,
            request.replaced_task_nesting, request.stamps]

@app.task
def told(request, exc, traceback):
    note("told", request.task, type(exc).__name__)

@app.task
def keep(value, key="kept"):
    note(key, value)

@app.task(bind=True)
def become(self, kind, *args):
    return self.replace({
        "task": add.si(3, 4), "chain": add.si(3, 4) | add.s(5), "group": group(add.si(n, n) for n in range(3)),
        "chord": chord([add.si(n, n) for n in range(3)], total.s()), "place": place.si(),
        "object": add.si(object(), 1), "chain of a group": add.si(1, 1) | group(add.s(1), add.s(2)),
    }[kind])

@app.task(bind=True)
def become_nothing(self):
    return self.replace(chain())

@app.task(bind=True)
def sends(self):
    result = group(add.s(n, n) for n in range(3)).apply_async()
    (add.s(1, 1) | add.s(2)).apply_async()
    return [result.id, [member.id for member in result.results]]
"""


@pytest.fixture
def project(make_project: Make) -> Project:
    made = make_project(TASKS)
    made.start()
    return made


def test_a_chain_of_everything_runs_to_its_end(project: Project):
    t = project.tasks
    workflow = chain(
        t.add.s(1, 1), group(t.add.s(1), t.add.s(2)), t.total.s(), t.become.si("chain"),
        chord([t.add.s(1), t.add.s(2) | t.add.s(3)], t.total.s() | t.add.s(100)))
    assert workflow.apply_async().get(timeout=15) == (12 + 1) + (12 + 2 + 3) + 100
    project.wait_for(project.is_idle)


@pytest.mark.parametrize(("kind", "value"), [
    ("task", 7), ("chain", 12), ("group", [0, 2, 4]), ("chord", 6), ("chain of a group", [3, 4])])
def test_a_task_goes_on_as_something_else_under_its_id(project: Project, kind: str, value: Any):
    t = project.tasks
    assert t.become.apply_async((kind,), link=t.keep.s()).get(timeout=10) == value
    project.wait_for_note(f"kept {value}")
    if kind not in ("group", "chain of a group"):
        assert (t.become.s(kind) | t.add.s(1000)).apply_async().get(timeout=10) == value + 1000
        assert chord([t.become.s(kind), t.add.s(1, 1)], t.total.s()).apply_async().get(timeout=10) == value + 2


def test_what_took_its_place_knows_that_it_did(project: Project):
    result = (project.tasks.become.s("place") | project.tasks.place.s()).apply_async()
    last, replaced = result.get(timeout=10), result.parent.get(timeout=10)
    assert replaced[:3] == [result.parent.id, result.parent.id, result.parent.id] and replaced[5] == 1
    assert last[1:3] == [result.parent.id, result.parent.id] and last[5] == 1


def test_what_cannot_be_sent_in_its_place_is_the_failure_of_the_task(project: Project):
    with pytest.raises(Exception, match="object"):
        project.tasks.become.delay("object").get(timeout=10)
    project.wait_for(project.is_idle)
    assert project.dead == []


def test_an_empty_chain_cannot_take_its_place(project: Project):
    with pytest.raises(Exception, match="an empty chain cannot take the place"):
        project.tasks.become_nothing.delay().get(timeout=10)


def test_what_a_task_sends_are_its_children(project: Project):
    result = project.tasks.sends.delay()
    group_id, members = result.get(timeout=10)
    assert len(result.children) == 2
    grouped, chained = result.children
    assert (grouped.id, [member.id for member in grouped.results]) == (group_id, members)
    assert chained.get(timeout=10) == 2


def test_links_may_be_workflows(project: Project):
    t = project.tasks
    t.add.apply_async((1, 1), link=[t.add.s(1) | t.keep.s(key="chain"), group(t.add.s(2), t.add.s(3)) | t.keep.s(
        key="chord")])
    project.wait_for_note("chain 3", "chord [4, 5]")
    t.fail.apply_async((), link_error=t.keep.si("x", key="task") | t.keep.si("y", key="then"))
    project.wait_for_note("task x", "then y")


def test_a_chain_of_a_thousand_steps_runs_to_its_end(project: Project):
    add = project.tasks.add
    result = chain([add.s(0, 1), *(add.s(1) for _ in range(999))]).apply_async()
    assert result.get(timeout=60) == 1000


def test_a_chain_that_fails_fails_to_its_end(project: Project):
    t = project.tasks
    result = chain(t.add.s(1, 1), t.fail.s(), t.add.s(1), t.keep.s()).apply_async(
        link_error=t.keep.si("heard", key="error"))
    with pytest.raises(ValueError, match="no good"):
        result.get(timeout=10)
    project.wait_for_note("error heard")
    project.wait_for(project.is_idle)
    assert (result.parent.state, result.parent.parent.state) == ("FAILURE", "FAILURE")
    assert project.notes == ["error heard"]


def test_old_clients_send_workflows_as_tasks(project: Project):
    t, send = project.tasks, project.app.send_task
    (group_id, _), members = send("celery.group", ([t.add.s(1), t.add.s(2)],), {
        "partial_args": [1], "group_id": "the-group"}).get(timeout=10)
    assert group_id == "the-group"
    assert project.app.AsyncResult(members[1][0][0]).get(timeout=10) == 3
    (body_id, _), _ = send("celery.chord", ([t.add.s(1, 1)], t.total.s())).get(timeout=10)
    assert project.app.AsyncResult(body_id).get(timeout=10) == 2
    (_, _), parts = send("celery.chunks", (t.add.s(), [[1, 1], [2, 2]], 1)).get(timeout=10)
    assert [project.app.AsyncResult(part[0][0]).get(timeout=10) for part in parts] == [[2], [4]]
    with pytest.raises(NotImplementedError, match=r"celery\.chain is not a task"):
        send("celery.chain").get(timeout=10)


@pytest.mark.filterwarnings("ignore::fastq.exceptions.CPendingDeprecationWarning")
@pytest.mark.parametrize("inline", [True, False])
@pytest.mark.parametrize("where", ["header", "first step", "last step"])
def test_an_errback_of_a_chord_is_called_once_wherever_its_body_fails(make_project: Make, inline: bool, where: str):
    project = make_project(TASKS, task_workflow_inline=inline)
    project.start()
    t = project.tasks
    steps = {"header": (t.total.s(), t.add.s(1)), "first step": (t.fail.s(), t.add.s(1)),
             "last step": (t.total.s(), t.fail.s())}[where]
    header = group(t.add.s(1, 1), t.fail.s() if where == "header" else t.add.s(2, 2))
    inner = (header | steps[0] | steps[1]).on_error(t.told.s())
    result = inner.apply_async()
    error = result.get(timeout=60, propagate=False)
    assert type(error).__name__ == ("ChordError" if where == "header" else "ValueError")
    project.wait_for(lambda: project.is_idle() and any(line.startswith("told ") for line in project.notes), 60)
    who = {"header": "celery.chain ChordError", "first step": "proj.fail ValueError",
           "last step": "proj.fail ValueError"}[where]
    assert [line for line in project.notes if line.startswith("told ")] == [f"told {who}"]


def test_a_chord_of_many_thousand_members_runs_and_its_values_are_in_order(make_project: Make):
    project = make_project(TASKS + """
@app.task
def in_order(values):
    return [len(values), values == sorted(values), sum(values)]
""")
    project.start()
    size = 20_000
    result = chord(project.tasks.add.s(n) for n in range(size))(project.tasks.in_order.s())
    assert result.get(timeout=100) == [size, True, sum(range(size))]
    assert result.parent.completed_count() == size
    project.wait_for(project.is_idle, 60)


@pytest.mark.parametrize("inline", [True, False])
def test_workflows_nested_deep_run_to_their_end(make_project: Make, inline: bool):
    project = make_project(TASKS, task_workflow_inline=inline)
    project.start()
    t, depth = project.tasks, 60
    linked, bodies, headers = t.keep.si("linked", "end"), t.add.si(4, 5), t.add.si(1, 1)
    for _ in range(depth):
        linked = t.add.si(1, 1).set(link=[linked])
        bodies = chord([t.add.si(1, 1)], bodies)
        headers = chord([headers, t.add.si(1, 1)], t.total.s())
    linked.apply_async()
    assert bodies.apply_async().get(timeout=60) == 9
    assert headers.apply_async().get(timeout=60) == 2 + 2 * depth
    project.wait_for_note("end linked", timeout=60)
