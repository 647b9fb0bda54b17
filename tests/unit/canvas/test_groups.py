"""Groups: many messages in few steps, and one result."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastq import chain, group, signals
from fastq.canvas.groups import size_of
from tests.unit.canvas.conftest import Sent


def body(content: Any) -> Any:
    return json.loads(content.body)


def test_a_group_takes_tasks_a_list_or_a_generator(add: Any):
    assert group(add.s(0), add.s(1)) == group([add.s(0), add.s(1)]) == group(add.s(n) for n in range(2))
    assert len(group(add.s(n) for n in range(3))) == 3 and len(group(add.s(1))) == 1 and len(group()) == 0
    assert group(group(add.s(0), add.s(1))) == group(add.s(0), add.s(1))


def test_members_carry_the_group_and_their_place(add: Any, sent: Sent):
    result = group(add.s(n, n) for n in range(3)).apply_async()
    messages = sent()
    assert [message.headers["id"] for message in messages] == [member.id for member in result.results]
    assert {message.headers["group"] for message in messages} == {result.id}
    assert [message.headers["group_index"] for message in messages] == [0, 1, 2]
    assert [body(message) for message in messages] == [
        [[n, n], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}] for n in range(3)]


def test_options_and_arguments_of_the_call_are_for_all(add: Any, mul: Any, sent: Sent):
    group(add.s(1), mul.s(2).set(priority=1)).apply_async((5,), queue="other", priority=7, task_id="the-group")
    messages = sent("other")
    assert [body(message)[0] for message in messages] == [[5, 1], [5, 2]]
    assert [message.properties["priority"] for message in messages] == [7, 7]
    assert {message.headers["group"] for message in messages} == {"the-group"}


def test_a_member_keeps_its_own_options(add: Any, sent: Sent):
    group(add.s(1, 1).set(headers={"x": 1}, task_id="mine"), add.s(2, 2)).apply_async()
    first, second = sent()
    assert (first.headers["x"], first.headers["id"], first.headers["group_index"]) == (1, "mine", 0)
    assert "x" not in second.headers


def test_groups_in_a_group_are_flat_and_in_order(add: Any, sent: Sent):
    group(add.s(0, 0), group(add.s(1, 1), group(add.s(2, 2))), add.s(3, 3)).apply_async()
    assert [(body(message)[0], message.headers["group_index"]) for message in sent()] == [
        ([n, n], n) for n in range(4)]


def test_members_may_be_kinds_of_their_own(app: Any, add: Any, sent: Sent):
    app.signature("elsewhere.task")
    made = group(add.s(1, 1) | add.s(2), app.signature("elsewhere.task", (1,)), add.map([1, 2]))
    result = made.apply_async()
    chained, named, mapped = sent()
    (last,) = body(chained)[2]["chain"]
    assert (last["options"]["group_id"], last["options"]["group_index"]) == (result.id, 0)
    assert "group" not in chained.headers
    assert (named.headers["task"], named.headers["group_index"]) == ("elsewhere.task", 1)
    assert (mapped.headers["task"], mapped.headers["group_index"]) == ("celery.map", 2)


def test_what_looks_at_each_message_sees_each(app: Any, add: Any, sent: Sent):
    seen = []

    def look(sender: Any = None, headers: Any = None, **_: Any) -> None:
        seen.append((sender, headers["group_index"]))

    signals.before_task_publish.connect(look)
    try:
        group(add.s(n, n) for n in range(3)).apply_async()
    finally:
        signals.before_task_publish.disconnect(look)
    assert seen == [(add.name, n) for n in range(3)] == [
        (message.headers["task"], message.headers["group_index"]) for message in sent()]


@pytest.mark.parametrize("special", [{"serializer": "pickle"}, {"compression": "gzip"}, {"expires": 60}])
def test_messages_that_take_the_long_way_are_as_complete(app: Any, add: Any, sent: Sent, special: Any):
    result = group(add.s(n, n) for n in range(3)).apply_async(**special)
    messages = sent()
    assert [(message.headers["group"], message.headers["group_index"]) for message in messages] == [
        (result.id, n) for n in range(3)]


def test_a_value_that_only_the_slow_encoder_knows_is_sent_in_its_place(add: Any, sent: Sent):
    group(add.s(n, {1: 2} if n == 1 else n) for n in range(3)).apply_async()
    assert sorted((message.headers["group_index"], body(message)[0]) for message in sent()) == [
        (0, [0, 0]), (1, [1, {"1": 2}]), (2, [2, 2])]


def test_arguments_are_checked_before_anything_is_sent(add: Any, sent: Sent):
    with pytest.raises(TypeError, match="add"):
        group(add.s(1, 1), add.s(1, 2, 3)).apply_async()
    assert sent() == []


def test_a_group_cannot_be_linked(add: Any):
    for option in ({"link": add.s(1)}, {"link_error": add.s(1)}):
        with pytest.raises(TypeError, match="a group cannot be linked"):
            group(add.s(1, 1)).apply_async(**option)
    made = group(add.s(1, 1), add.s(2, 2))
    assert made.link(add.s(3)) == add.si(3) and made.tasks[0].options == {"link": [add.si(3)]}
    assert made.link_error(add.s(4)) == (add.s(4), add.s(4))
    assert made.tasks[1].options == {"link_error": [add.s(4)]}


def test_skew_lets_them_start_one_after_the_other(add: Any):
    made = group(add.s(n, n) for n in range(4)).skew(start=1, stop=3)
    assert [task.options["countdown"] for task in made.tasks] == [1, 2, 3, 3]


def test_an_empty_group_has_a_result_that_is_there(app: Any, sent: Sent):
    assert group().apply_async(app=app).get() == [] and sent() == []


def test_a_group_in_place_runs_in_order(add: Any):
    assert group(add.s(n) for n in range(3)).apply((10,)).get() == [10, 11, 12]


def test_set_immutable_is_for_all_members(add: Any):
    made = group(add.s(1), add.s(2))
    made.set_immutable(True)
    assert [task.immutable for task in made.tasks] == [True, True]


def test_a_hundred_thousand_members_are_sent(add: Any, sent: Sent):
    result = group(add.s(n, n) for n in range(100_000)).apply_async()
    assert len(result.results) == 100_000 and sent()[999].headers["group_index"] == 999


def test_a_group_sent_in_a_task_is_its_child(app: Any, add: Any):
    @app.task(bind=True)
    def parent(self: Any) -> list[int]:
        group(add.s(1, 1), add.s(2, 2)).apply_async()
        (add.s(1, 1) | add.s(2)).apply_async()
        return [len(getattr(child, "results", ())) for child in self.request.children]

    assert parent.apply().get() == [2, 0]


def test_what_ends_last_is_what_counts(add: Any, total: Any):
    pair = group(add.s(1), add.s(2))
    assert [size_of(sig) for sig in (add.s(1), pair, add.s(1) | add.s(2), pair | total.s(), add.s(1) | pair,
                                     group(pair, pair), chain(pair), group())] == [1, 2, 1, 1, 2, 4, 2, 0]


def test_nobody_waits_for_results_that_are_not_kept(app: Any, add: Any):
    @app.task(ignore_result=True)
    def silent(value: int = 0) -> None: ...

    assert group(silent.s(n) for n in range(3)).apply_async().get(timeout=5) == [None] * 3
    assert group(add.s(n, n) for n in range(2)).apply_async(ignore_result=True).get(timeout=5) == [None] * 2
    assert not (add.s(1, 1) | silent.s()).apply_async().ignored, "a failure before it is stored for the last"
