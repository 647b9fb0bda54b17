"""Whole workers and chords: when the body runs, with what, and what becomes of it when a member ends badly."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

from fastq import chord as chord_of
from fastq import group
from fastq._ext.envelope import pack
from fastq.exceptions import ChordError
from fastq.types import Message
from fastq.wire.rest import pointer
from tests.project import Project

Make = Callable[..., Project]

TASKS = """
from fastq.exceptions import Reject, TaskRevokedError

@app.task
def add(x, y):
    return x + y

@app.task
def gather(values):
    return values

@app.task
def fail(text):
    raise ValueError(text)

@app.task(bind=True)
def refuse(self, text):
    raise Reject(text, requeue=False)

@app.task(bind=True, max_retries=3)
def again(self, text):
    if self.request.retries < 2:
        raise self.retry(countdown=0)
    return text

@app.task(time_limit=0.2)
def endless():
    time.sleep(30)

@app.task
def deadly():
    os.kill(os.getpid(), signal.SIGKILL)

@app.task(ignore_result=True)
def quiet(value):
    return value

@app.task
def odd():
    return object()

@app.task(ignore_result=True)
def errback(request, exc, traceback):
    note("errback", request.id, type(exc).__name__)

@app.task(ignore_result=True)
def old_errback(task_id, key="old"):
    note(key, task_id)

@app.task(bind=True, ignore_result=True)
def bound_errback(self, task_id, key="bound"):
    note(key, task_id)

@app.task(bind=True)
def lineage(self, values):
    return [self.request.parent_id, self.request.root_id]
"""


class Chord:
    """A chord as a client sends it: members are (task, args) or (task, args, options)."""

    def __init__(self, project: Project, body: str, **options: Any) -> None:
        self.project, self.group_id, self.task_id = project, uuid4().hex, uuid4().hex
        self.body = {"task": f"proj.{body}", "args": [], "kwargs": {}, "subtask_type": None, "immutable": False,
                     "options": {"task_id": self.task_id, "group_id": self.group_id, **options}}
        self.result = project.app.AsyncResult(self.task_id)
        self.members: list[Any] = []

    def send(self, *members: tuple[Any, ...]) -> Chord:
        self.project.app.backend.chord_open(self.group_id, len(members), expires_at=time.time() + 600)
        for place, (name, args, *more) in enumerate(members):
            told = {"group_id": self.group_id, "group_index": place, "chord": self.body, **(more[0] if more else {})}
            self.members.append(self.project.app.send_task(name if "." in name else f"proj.{name}", args, **told))
        return self

    def error(self) -> str:
        with pytest.raises(ChordError) as caught:
            self.result.get(timeout=20)
        return str(caught.value)


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_body_gets_all_values_in_order_and_follows_the_last_member(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    project.start(pool=pool)
    chord = Chord(project, "gather").send(*(("add", (n, n)) for n in range(300)))
    assert chord.result.get(timeout=20) == [2 * n for n in range(300)]
    one = Chord(project, "lineage").send(("add", (1, 1)))
    assert one.result.get(timeout=20) == [one.members[0].id, one.members[0].id]
    assert Chord(project, "gather").send(("quiet", (5,)), ("again", ("x",))).result.get(timeout=20) == [5, "x"]
    project.wait_for(lambda: project.app.backend.chord_get(chord.group_id).is_done)
    assert list(project.app.backend.chord_get(chord.group_id).members) == []


@pytest.mark.parametrize(("member", "said"), [
    (("fail", ("no good",)), r"ValueError('no good')"),
    (("refuse", ("not mine",)), "not mine"),
    (("endless", ()), "TimeLimitExceeded"),
    (("deadly", ()), "killed 3 children"),
    (("odd", ()), "EncodeError"),
    (("nobody.knows", ()), "NotRegistered"),
    (("add", (1, 1), {"expires": -1}), "expired"),
    (("add", (1, 1), {"headers": {"timelimit": [1]}}), "timelimit"),
])
def test_a_member_that_ends_badly_fails_the_body_whatever_the_way(
        make_project: Make, member: tuple[Any, ...], said: str) -> None:
    project = make_project(TASKS)
    project.start()
    chord = Chord(project, "gather").send(("add", (1, 1)), member, ("add", (2, 2)))
    error = chord.error()
    assert error.startswith(f"Dependency {chord.members[1].id} raised ")
    assert said in error


def test_a_member_that_nobody_can_read_fails_the_body_that_others_tell(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    chord = Chord(project, "gather")
    project.app.backend.chord_open(chord.group_id, 2, expires_at=time.time() + 600)
    project.app.send_task("proj.add", (1, 1), group_id=chord.group_id, group_index=0, chord=chord.body).get(timeout=20)
    headers = {"task": "proj.add", "id": "unreadable", "group": chord.group_id, "group_index": 1}
    project.app.transport.publish([Message("celery", pack(
        {"content_type": "application/x-python-serialize", "content_encoding": "binary"}, headers, b"\x80\x05N."))])
    assert "unreadable raised ContentDisallowed" in chord.error()


def test_errbacks_of_a_body_are_called_or_sent(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    links = [{"task": f"proj.{name}", "args": [], "kwargs": kwargs, "options": {}, "subtask_type": None,
              "immutable": False}
             for name, kwargs in (("errback", {"nothing": 1}), ("errback", {}), ("old_errback", {"key": "keyed"}),
                                  ("bound_errback", {}))]
    chord = Chord(project, "gather", link_error=links).send(("fail", ("no good",)))
    assert "no good" in chord.error()
    project.wait_for_note(f"errback {chord.task_id} ChordError", f"keyed {chord.task_id}", f"bound {chord.task_id}")


def test_the_members_of_a_group_that_is_a_body_fail_with_what_a_member_raised(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    chord = Chord(project, "gather")
    leaf = {**chord.body, "options": {"task_id": "leaf"}}
    chord.body = {"task": "celery.group", "args": [], "kwargs": {"tasks": [leaf]}, "options": {},
                  "subtask_type": "group", "immutable": False}
    chord.send(("fail", ("no good",)))
    with pytest.raises(ValueError, match="no good"):
        project.app.AsyncResult("leaf").get(timeout=20)


def test_a_chain_that_fails_fails_all_that_is_behind_it(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    chord = Chord(project, "gather")
    chord.project.app.backend.chord_open(chord.group_id, 1, expires_at=time.time() + 600)
    last = {"task": "proj.gather", "args": [], "kwargs": {}, "subtask_type": None, "immutable": False,
            "options": {"task_id": "last", "group_id": chord.group_id, "group_index": 0, "chord": chord.body}}
    middle = {"task": "proj.gather", "args": [], "kwargs": {}, "subtask_type": None, "immutable": False,
              "options": {"task_id": "middle"}}
    project.app.send_task("proj.fail", ("no good",), chain=[last, middle])
    assert chord.error() == "Dependency last raised ValueError('no good')"
    for task_id in ("middle", "last"):
        with pytest.raises(ValueError, match="no good"):
            project.app.AsyncResult(task_id).get(timeout=20)


def test_a_chord_that_fails_fails_the_one_around_it(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    outer = Chord(project, "gather")
    project.app.backend.chord_open(outer.group_id, 1, expires_at=time.time() + 600)
    inner = Chord(project, "gather", group_id=outer.group_id, group_index=0, chord=outer.body)
    inner.send(("fail", ("no good",)), ("add", (1, 1)))
    assert "no good" in inner.error()
    assert outer.error().startswith(f"Dependency {inner.task_id} raised ChordError")


def test_a_client_that_cannot_count_sends_the_task_that_looks_again_and_again(make_project: Make) -> None:
    project = make_project(TASKS, result_chord_retry_interval=0.05)
    project.start()
    chord = Chord(project, "gather")
    project.app.send_task("celery.chord_unlock", (chord.group_id, chord.body), {
        "interval": None, "max_retries": None, "result": [[["a", None], None], [["b", None], None]]})
    for task_id in "ba":
        project.app.send_task("proj.add", (1, 1), task_id=task_id)
    assert chord.result.get(timeout=20) == [2, 2]
    impatient = Chord(project, "gather")
    project.app.send_task("celery.chord_unlock", (impatient.group_id, impatient.body), {
        "interval": 0.01, "max_retries": 2, "result": [[["never", None], None]]})
    assert "could not be retried" in impatient.error()


def test_groups_inside_the_header_keep_their_shape(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    chord = Chord(project, "gather")
    tree = [["g", None], [[["a", None], None], [["h", None], [[["b", None], None]]]]]
    raw = json.dumps({"result": tree}).encode()
    project.app.backend.chord_open(chord.group_id, 2, group=raw, expires_at=time.time() + 600)
    for place, task_id in enumerate("ab"):
        project.app.send_task("proj.add", (place, 1), task_id=task_id, group_id=chord.group_id, group_index=place,
                              chord=chord.body)
    assert chord.result.get(timeout=20) == [1, [2]]


@pytest.mark.parametrize("inline", [True, False])
def test_a_workflow_comes_out_the_same_wherever_its_rest_is(make_project: Make, inline: bool) -> None:
    project = make_project(TASKS, task_workflow_inline=inline)
    project.start()
    add, gather, fail = project.tasks.add, project.tasks.gather, project.tasks.fail

    def nested(leaf: Any) -> Any:
        return chord_of([chord_of([add.s(1, 1) | add.s(1), leaf], gather.s()), add.s(5, 5)],
                        chord_of([gather.s(), gather.s()], gather.s()))

    around = [
        group(group(add.s(1, 0), add.s(2, 0)) | gather.s() | gather.s(), add.s(3, 0)) | gather.s() | gather.s(),
        *(chord_of([chord_of([add.s(1, 1)], body), add.s(3, 0)], gather.s()) for body in (
            group(gather.s(), gather.s()), gather.s() | group(gather.s(), gather.s()),
            gather.s() | chord_of([gather.s(), gather.s()], gather.s()) | gather.s()))]
    ends = [sig.apply_async().get(timeout=20) for sig in around]
    assert ends == [[[1, 2], 3], [[[2], [2]], 3], [[[2], [2]], 3], [[[2], [2]], 3]]
    assert nested(add.s(2, 2)).apply_async().get(timeout=20) == [[[3, 4], 10]] * 2
    with pytest.raises(ChordError, match="no good"):
        nested(fail.s("no good")).apply_async().get(timeout=20)
    project.wait_for(project.is_idle)
    assert project.dead == []


def test_a_body_that_the_store_has_lost_fails_and_says_so(make_project: Make) -> None:
    project = make_project(TASKS)
    project.start()
    chord = Chord(project, "gather")
    chord.body = pointer(chord.task_id)
    assert chord.send(("add", (1, 1)), ("add", (2, 2))).error() == "the store has lost the body"
