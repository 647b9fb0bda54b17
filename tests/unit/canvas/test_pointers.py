"""What of a workflow the store keeps, so that messages only point to it."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest

from fastq import Fastq, chain, chord, group
from fastq._ext.envelope import unpack
from fastq.canvas.plan import Plan
from fastq.exceptions import EncodeError
from fastq.types import Part
from fastq.wire.chord import message, plan
from fastq.wire.rest import is_pointer, pointer
from tests.unit.canvas.conftest import Sent


def carried(content: Any) -> Any:
    return json.loads(content.body)[2]["chord"]


def place_of(queue: str, priority: int) -> bytes:
    """The plan of a member that points to its body: it tells where it came from."""
    return plan("any", pointer("any"), serializer="json", queue=queue, priority=priority)


def body_of(app: Any, group_id: str, size: int) -> Any:
    """What is sent when all members of a chord have ended that brought no plan but their queue's."""
    parts = [Part(group_id, str(n), n, "SUCCESS", b"1", None, place_of("shelf", 3)) for n in range(size)]
    (complete,) = app.backend.chord_count(parts)
    unlock = message(complete)
    assert (unlock.queue, unlock.priority) == ("shelf", 3)
    return json.loads(unpack(unlock.content)[2])[0][1]


def test_members_point_to_a_body_that_the_store_keeps(app: Any, add: Any, mul: Any, total: Any, sent: Sent):
    result = chord([add.s(1, 1), add.s(2, 2)], total.s().set(priority=4)).apply_async(link=mul.s(2))
    for content in sent():
        assert carried(content) == {"task": "fastq.rest_is_in_the_store", "args": [], "options": {"task_id": result.id}}
    body = body_of(app, result.parent.id, 2)
    assert (body["task"], body["options"]["task_id"], body["options"]["priority"]) == (total.name, result.id, 4)
    assert [link["args"] for link in body["options"]["link"]] == [[2]]


def test_a_body_in_a_chord_points_on(app: Any, add: Any, total: Any, sent: Sent):
    outer = chord([chord([add.s(1, 1)], total.s()), add.s(2, 2) | add.s(3)], total.s()).apply_async()
    inner, started = sent()
    body = body_of(app, inner.headers["group"], 1)
    (last,) = json.loads(started.body)[2]["chain"]
    assert carried(inner)["options"]["task_id"] == body["options"]["task_id"]
    assert body["options"]["chord"] == last["options"]["chord"] == {
        "task": "fastq.rest_is_in_the_store", "args": [], "options": {"task_id": outer.id}}


@pytest.mark.parametrize("depth", [1, 8])
def test_a_message_is_as_large_however_much_follows(app: Any, add: Any, total: Any, sent: Sent, depth: int):
    made: Any = total.s()
    for _ in range(depth):
        made = chord([total.s(), total.s()], made)
    chord([add.s(1, 1), add.s(2, 2)], made).apply_async()
    assert [len(content.body) < 250 for content in sent()] == [True, True]


@pytest.mark.parametrize("depth", [1, 8])
def test_a_message_is_as_large_however_deep_it_is(app: Any, add: Any, total: Any, sent: Sent, depth: int):
    nested: Any = add.s(1, 1)
    for _ in range(depth):
        nested = chord([nested, add.s(2, 2)], total.s())
    nested.apply_async()
    assert [len(content.body) < 250 for content in sent()] == [True] * (depth + 1)


def steps_of(app: Any, content: Any) -> list[Any]:
    """The steps behind a message in their order, those in the store among them, and how large each block is."""
    behind = json.loads(content.body)[2]["chain"]
    steps, sizes = [], []
    while True:
        sizes.append(len(json.dumps(behind)))
        is_more = behind[0]["task"] == "fastq.rest_is_in_the_store"
        steps += behind[is_more:][::-1]
        if not is_more:
            break
        (ref, number), task_id = behind[0]["args"], behind[0]["options"]["task_id"]
        behind = json.loads(app.backend.rest_get(ref, number, None))
        assert behind[-1]["options"]["task_id"] == task_id
    assert all(size < 4_096 for size in sizes) or len(sizes) == 1
    return steps


@pytest.mark.parametrize("length", [2, 20, 100, 2_000])
def test_a_long_chain_is_in_the_store_but_for_its_first_steps(app: Any, add: Any, sent: Sent, length: int):
    made = chain([add.s(0, 1), *(add.s(number) for number in range(1, length))])
    result = made.apply_async()
    (message,) = sent()
    steps = steps_of(app, message)
    assert [step["args"] for step in steps] == [[number] for number in range(1, length)]
    assert steps[-1]["options"]["task_id"] == result.id
    assert len(message.body) < (9_000 if length < 50 else 4_500)


def test_a_block_begins_with_a_task_or_a_chord(app: Any, add: Any, total: Any, sent: Sent):
    steps = [add.s(0, 1), *(step for _ in range(20) for step in (group(add.s(n) for n in range(9)), total.s()))]
    chain([*steps, group(add.s(n) for n in range(9))]).apply_async()
    behind, begins = json.loads(sent()[0].body)[2]["chain"], []
    while is_pointer(behind[0]):
        task_id = behind[0]["options"]["task_id"]
        behind = json.loads(app.backend.rest_get(*behind[0]["args"], None))
        assert behind[-1]["kwargs"]["body"]["options"]["task_id"] == task_id
        begins.append(behind[-1]["subtask_type"])
    # The group at the end has no id of its own, so it is with the chord before it.
    assert begins == ["chord"] * 19 and [step["subtask_type"] for step in behind] == ["group", "chord"]


@pytest.mark.parametrize("settings", [
    {"task_workflow_inline": True}, {"task_serializer": "pickle"}, {"result_backend": "disabled://"}], ids=str)
def test_a_chain_travels_whole_where_it_has_to(settings: dict[str, Any]):
    with Fastq("shop", broker=f"memory://{uuid.uuid4()}", **{"task_workflow_inline": False, **settings}) as app:
        steps = [app.signature("add", (0, 1)), *(app.signature("add", (1,)) for _ in range(99))]
        plan = Plan(app, inline=bool(app.conf.task_workflow_inline))
        chain(steps, app=app).plan(plan, (), {}, {})
        assert (len(plan.calls[0].options["chain"]), plan.rests) == (99, [])


def test_a_chain_travels_whole_where_the_store_keeps_nothing(app: Any, add: Any, sent: Sent,
                                                             monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(app.backend, "joins", False)
    chain([add.s(0, 1), *(add.s(1) for _ in range(99))]).apply_async()
    assert len(json.loads(sent()[0].body)[2]["chain"]) == 99


def test_a_step_with_a_serializer_of_its_own_gets_its_value_from_the_step_before(app: Any, add: Any, sent: Sent):
    chain([add.s(0, 1), *(add.s(1) for _ in range(98)), add.s(1).set(serializer="yaml")]).apply_async()
    assert len(json.loads(sent()[0].body)[2]["chain"]) == 99


def test_celerys_workers_need_the_body_in_each_message(app: Any, add: Any, total: Any, sent: Sent,
                                                       monkeypatch: pytest.MonkeyPatch):
    made = chord([add.s(1, 1)], total.s())
    monkeypatch.setattr(app.transport, "caps", app.transport.caps._replace(lean_headers=False))
    made.apply_async()
    app.conf.task_workflow_inline = False
    made.apply_async()
    inline, pointed = sent()
    assert (carried(inline)["task"], carried(pointed)["task"]) == (total.name, "fastq.rest_is_in_the_store")


def test_a_body_too_large_to_be_sent_is_refused_before_anything_is_kept(app: Any, add: Any, total: Any, sent: Sent):
    app.conf.task_workflow_max_size = 10_000
    long = chain([total.s(), *(add.s(1) for _ in range(100))])
    with pytest.raises(EncodeError, match=r"the body of chord .* has \d\d,\d{3} bytes, .*max_size allows 10,000"):
        (group(add.s(1, 1), add.s(2, 2)) | long).apply_async()
    assert sent() == []
