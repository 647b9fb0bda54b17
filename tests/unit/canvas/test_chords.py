"""Chords, on the sending side: the body travels with each member, and the store hears of them first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from fastq import chord, group
from fastq.backends.joinless import Joinless
from fastq.exceptions import CPendingDeprecationWarning
from fastq.types import Opening
from tests.unit.canvas.conftest import Sent


def body(content: Any) -> Any:
    return json.loads(content.body)


@pytest.fixture(autouse=True)
def _inline(app: Any) -> None:
    app.conf.task_workflow_inline = True


@pytest.fixture
def opened(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, Any, bool]]:
    """What the store was told of chords, with the messages that had left by then."""
    told: list[tuple[str, int, Any, bool]] = []
    really = app.backend.chord_open_all

    def chord_open_all(opens: Sequence[Opening], *, renew: bool = False, **rest: Any) -> None:
        assert app.transport.queues().get("celery", (0,))[0] == 0
        told.extend((group_id, size, group, renew) for group_id, size, group, _ in opens)
        really(opens, renew=renew, **rest)

    monkeypatch.setattr(app.backend, "chord_open_all", chord_open_all)
    return told


def test_each_member_carries_the_body(add: Any, total: Any, sent: Sent, opened: Any):
    result = chord([add.s(1, 1), add.s(2, 2)])(total.s())
    messages = sent()
    assert opened == [(result.parent.id, 2, None, True)]
    assert [message.headers["group_index"] for message in messages] == [0, 1]
    assert {message.headers["group"] for message in messages} == {result.parent.id}
    for message in messages:
        carried = body(message)[2]["chord"]
        assert carried["task"] == total.name
        assert carried["options"] == {"task_id": result.id, "group_id": result.parent.id}
    assert [member.id for member in result.parent.results] == [message.headers["id"] for message in messages]


def test_the_size_is_what_ends_last_in_each_member(add: Any, total: Any, opened: Any):
    members = [add.s(1, 1), add.s(1, 1) | add.s(2), group(add.s(1, 1), add.s(2, 2)), chord([add.s(1, 1)], total.s()),
               add.s(1, 1) | group(add.s(1), add.s(2), add.s(3))]
    chord(members, total.s()).apply_async()
    assert sorted(size for _, size, _, _ in opened) == [1, 8]


def test_a_group_that_ends_a_member_is_kept_for_the_lists_in_the_list(add: Any, total: Any, opened: Any, sent: Sent):
    result = chord([add.s(1, 1) | group(add.s(1), add.s(2)), add.s(3, 3)], total.s()).apply_async()
    ((_, size, document, _),) = opened
    (_, members) = json.loads(document)["result"]
    assert size == 3 and [member[1] is None for member in members] == [False, True]
    started, lone = sent()
    (step,) = body(started)[2]["chain"]
    assert [task["options"]["group_index"] for task in step["kwargs"]["tasks"]] == [0, 1]
    assert {task["options"]["group_id"] for task in step["kwargs"]["tasks"]} == {result.parent.id}
    assert lone.headers["group_index"] == 2


def test_a_chord_in_a_chord_counts_by_its_body(add: Any, total: Any, opened: Any, sent: Sent):
    outer = chord([chord([add.s(1, 1), add.s(2, 2)], total.s()), add.s(3, 3)], total.s()).apply_async()
    inner, _, lone = sent()
    carried = body(inner)[2]["chord"]
    assert carried["options"]["group_id"] == lone.headers["group"] == outer.parent.id
    assert carried["options"]["chord"]["options"]["task_id"] == outer.id
    assert {(group_id, size) for group_id, size, _, _ in opened} == {
        (outer.parent.id, 2), (inner.headers["group"], 2)}


def test_an_empty_header_sends_the_body_at_once(total: Any, sent: Sent, opened: Any):
    result = chord([], total.s()).apply_async()
    (message,) = sent()
    assert (body(message)[0], message.headers["id"], opened) == ([[]], result.id, [])


def test_options_are_for_both_but_a_delay_is_for_the_header(add: Any, total: Any, app: Any, sent: Sent):
    result = chord([add.s(1, 1)], total.s()).apply_async(queue="other", countdown=60, task_id="body", priority=5)
    assert app.transport.queues()["other"].future == 1
    chord([add.s(1, 1)], total.s()).apply_async(queue="other", task_id="body", priority=5)
    (message,) = sent("other")
    options = body(message)[2]["chord"]["options"]
    assert (options["queue"], options["priority"], options["task_id"]) == ("other", 5, result.id)
    assert message.properties["priority"] == 5


def test_links_are_the_bodys(add: Any, mul: Any, total: Any, sent: Sent):
    chord([add.s(1, 1)], total.s()).apply_async(link=mul.s(2), link_error=mul.s(3))
    options = body(sent()[0])[2]["chord"]["options"]
    assert [link["args"] for link in options["link"]] == [[2]]
    assert [link["args"] for link in options["link_error"]] == [[3]]


def test_an_errback_of_a_group_as_the_body_is_linked_to_each(add: Any, mul: Any, sent: Sent):
    made = chord([add.s(1, 1)], group(add.s(1), add.s(2)))
    made.apply_async(link_error=mul.s(3))
    members = body(sent()[0])[2]["chord"]["kwargs"]["tasks"]
    assert [[link["args"] for link in task["options"]["link_error"]] for task in members] == [[[3]], [[3]]]
    assert made.body.tasks == [add.s(1), add.s(2)]


def test_link_error_reaches_the_members_only_when_that_is_set(app: Any, add: Any, mul: Any, total: Any):
    made = chord([add.s(1, 1)], total.s())
    with pytest.warns(CPendingDeprecationWarning, match="task_allow_error_cb_on_chord_header"):
        made.link_error(mul.s(3))
    assert made.body.options == {"link_error": [mul.s(3)]} and made.tasks[0].options == {}
    app.conf.task_allow_error_cb_on_chord_header = True
    made = chord([add.s(1, 1)], total.s()).on_error(mul.s(3))
    assert made.tasks[0].options == {"link_error": [mul.si(3)]}


def test_a_frozen_chord_keeps_its_ids(add: Any, total: Any, sent: Sent):
    made = chord([add.s(1, 1), add.s(2, 2)], total.s())
    frozen = made.freeze()
    result = made.apply_async()
    assert (result.id, result.parent.id) == (frozen.id, frozen.parent.id)
    assert [message.headers["id"] for message in sent()] == [member.id for member in frozen.parent.results]


def test_a_chord_is_nothing_without_a_body(add: Any):
    with pytest.raises(TypeError, match="needs a body"):
        chord([add.s(1, 1)]).apply_async()


def test_a_chord_in_place(add: Any, total: Any, app: Any):
    assert chord([add.s(1, 1), add.s(2, 2)], total.s()).apply().get() == 6
    app.conf.task_always_eager = True
    assert chord(add.s(n, n) for n in range(3))(total.s()).get() == 6


def test_immutability_and_hints_are_those_of_the_header(add: Any, total: Any):
    made = chord([add.s(1, 1), add.s(2) | add.s(3)], total.s())
    made.set_immutable(True)
    assert [task.immutable for task in made.tasks] == [True, True] and not made.body.immutable
    assert made.__length_hint__() == 2
    assert repr(chord([add.s(1, 1)], total.s())) == f"%{total.name}() of [{add.name}(1, 1)]"


def test_a_store_that_cannot_join_says_so(app: Any, add: Any, total: Any, sent: Sent, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app.backend, "joins", False)
    monkeypatch.setattr(app.backend, "chord_open", Joinless().refuse)
    for made in (chord([add.s(1, 1)], total.s()), add.s(1, 1) | group(add.s(1), add.s(2)) | total.s()):
        with pytest.raises(NotImplementedError, match="set result_backend to redis"):
            made.apply_async()
    assert sent() == []

