"""Workflows in workflows that are far deeper than the interpreter's frames may be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from fastq import Signature, chain, chord, group, signature
from fastq.app.links import due
from fastq.canvas.plain import plain
from fastq.exceptions import EncodeError
from fastq.request import Request
from fastq.wire.message import Content
from tests.unit.canvas.conftest import Sent

DEEP = 1000


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the signatures that were copied."""
    told: list[str] = []
    really = Signature._copy

    def copy(self: Any, **changes: Any) -> Any:
        told.append(self["task"])
        return really(self, **changes)

    monkeypatch.setattr(Signature, "_copy", copy)
    return told


def nested(depth: int, kind: str, add: Any, total: Any) -> Any:
    made = total.si([])
    for _ in range(depth):
        if kind == "links":
            made = add.s(1).set(link=[made])
        else:
            made = chord([add.s(1)], made) if kind == "bodies" else chord([made], total.s())
    return made


KINDS = ("links", "bodies", "headers")


@pytest.mark.parametrize("kind", KINDS)
def test_no_depth_is_too_deep_to_copy_freeze_stamp_and_read(add: Any, total: Any, app: Any, kind: str):
    made = nested(DEEP, kind, add, total)
    copy = made.clone()
    copy.stamp(colour="red")
    assert copy.freeze().id and made.options.keys() <= {"link"}
    deepest = inside(signature(plain(copy), app=app).clone(), kind)
    assert deepest.task == total.name and (deepest.id or kind == "links")
    # What is linked to a task, and what a chord has in its header; of its body only a visitor tells.
    assert deepest.options.get("colour") == (None if kind == "bodies" else "red")


def inside(sig: Any, kind: str) -> Any:
    for _ in range(DEEP):
        if kind == "links":
            sig = signature(sig.options["link"][0])
        else:
            sig = sig.body if kind == "bodies" else sig.header().tasks[0]
    return sig


@pytest.mark.parametrize("kind", KINDS)
def test_what_no_reader_could_read_is_refused_by_its_depth(add: Any, total: Any, app: Any, sent: Sent, kind: str):
    app.conf.task_workflow_inline = True
    with pytest.raises(EncodeError, match=r"nested [23],00\d deep"):
        nested(DEEP, kind, add, total).apply_async()
    assert sent() == []


def test_chords_nested_a_hundred_deep_are_sent_and_go_on(add: Any, total: Any, app: Any, sent: Sent):
    app.conf.task_workflow_inline = True
    chords = 100
    result = nested(chords, "bodies", add, total).apply_async()
    (message,) = sent()
    for number in range(chords):
        body = json.loads(message.body)[2]["chord"]
        (following,) = due(app, body, [1], Request(id=message.headers["id"], root_id="root"))
        message = Content.parse(following.content)
        assert (body["subtask_type"] == "chord") == (number < chords - 1)
    assert (message.headers["task"], message.headers["id"]) == (total.name, result.id)


def joined_by_operator(groups: list[Any]) -> Any:
    made = groups[0]
    for following in groups[1:]:
        made |= following
    return made


@pytest.mark.parametrize(("join", "power"), [(chain, 1), (joined_by_operator, 2)])
def test_a_row_of_groups_is_joined_without_copying_all_of_it_again_and_again(
    add: Any, copies: list[str], join: Callable[[list[Any]], Any], power: int,
):
    def count(size: int) -> int:
        groups = [group(add.s(1), add.s(2)) for _ in range(size)]
        copies.clear()
        made = join(groups)
        told = len(copies)
        (step,) = made.tasks
        for header in groups[:-1]:      # each is the header of the chord that is the body of the one before
            assert step.subtask_type == "chord" and step.tasks == header.tasks
            step = step.body
        assert step == groups[-1]
        return told

    small, large = count(20), count(80)
    assert large <= 1.2 * 4 ** power * small


def test_freezing_copies_each_part_of_what_is_nested_once(add: Any, total: Any, copies: list[str]):
    def count(depth: int) -> int:
        made = nested(depth, "bodies", add, total)
        copies.clear()
        made.freeze()
        return len(copies)

    assert count(80) <= 5 * count(20)


def test_a_row_of_groups_leaves_its_parts_as_they_are(add: Any):
    groups = [group(add.s(n), add.s(n)) for n in range(4)]
    inner = groups[0] | groups[1]
    told = json.dumps([groups, inner])
    made = chain(inner, groups[2], chord([add.s(1)], groups[3]), groups[3], add.s(9))
    assert json.dumps([groups, inner]) == told
    (first,) = made.tasks
    bodies = [first]
    while bodies[-1].subtask_type == "chord":
        bodies.append(bodies[-1].body)
    assert [len(chord.tasks) for chord in bodies[:-1]] == [2, 2, 2, 1, 2, 2][:len(bodies) - 1]
    assert bodies[-1] == add.s(9)
