"""Chains: what is sent first, what travels with it, and whose id is whose."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastq import chain, group
from fastq.exceptions import EncodeError, NotRegistered
from tests.unit.canvas.conftest import Sent


def body(content: Any) -> Any:
    return json.loads(content.body)


def test_the_first_step_carries_the_rest_in_reverse(add: Any, mul: Any, sent: Sent):
    result = (add.s(1, 2) | mul.s(3) | add.s(4)).apply_async()
    (message,) = sent()
    args, _, embed = body(message)
    assert (message.headers["task"], args) == (add.name, [1, 2])
    assert [(step["task"], step["args"]) for step in embed["chain"]] == [(add.name, [4]), (mul.name, [3])]
    assert [step["options"]["task_id"] for step in embed["chain"]] == [result.id, result.parent.id]
    assert message.headers["id"] == result.parent.parent.id and result.parent.parent.parent is None


def test_arguments_of_the_call_go_to_the_first_step(add: Any, mul: Any, sent: Sent):
    (add.s(2) | mul.s(3)).delay(1)
    (add.s(2) | mul.s(3))(1)
    (add.s(2) | mul.s(3)).clone((1,)).apply_async()
    assert [body(message)[0] for message in sent()] == [[1, 2]] * 3


def test_options_of_the_call_go_to_the_first_step_and_ids_and_links_to_the_last(add: Any, mul: Any, sent: Sent):
    result = (add.s(1, 2) | mul.s(3)).apply_async(
        task_id="the-last", queue="other", priority=4, link=add.s(9), link_error=mul.s(8))
    (message,) = sent("other")
    _, _, embed = body(message)
    assert result.id == "the-last" and message.properties["priority"] == 4
    (last,) = embed["chain"]
    assert last["options"]["task_id"] == "the-last" and "queue" not in last["options"]
    assert [link["args"] for link in last["options"]["link"]] == [[9]] and embed["callbacks"] is None
    assert [link["args"] for link in embed["errbacks"]] == [[8]] == [
        link["args"] for link in last["options"]["link_error"]]


def test_a_chain_can_be_sent_again_under_new_ids(add: Any, sent: Sent):
    made = add.s(1, 2) | add.s(3)
    results = {made.apply_async().id, made.apply_async().id}
    assert len(results) == 2 and len({message.headers["id"] for message in sent()}) == 2
    assert made.tasks == [add.s(1, 2), add.s(3)]


def test_a_frozen_chain_keeps_its_ids(add: Any, sent: Sent):
    made = add.s(1, 2) | add.s(3)
    frozen = made.freeze()
    assert made.id == frozen.id == made.freeze().id == made.apply_async().id
    assert sent()[0].headers["id"] == frozen.parent.id


def test_a_chain_of_one_is_sent_as_the_task(add: Any, sent: Sent):
    result = chain(add.s(1, 2)).apply_async(task_id="x")
    (message,) = sent()
    assert (message.headers["id"], result.id, body(message)[2]["chain"]) == ("x", "x", None)


def test_an_empty_chain_does_nothing(app: Any, sent: Sent):
    assert chain().apply_async() is None and chain()() is None and sent() == []
    with pytest.raises(ValueError, match="empty chain"):
        chain().freeze()


def test_a_trailing_group_is_the_result(add: Any, app: Any, sent: Sent):
    result = (add.s(1, 1) | group(add.s(1), add.s(2))).apply_async()
    assert len(result.results) == 2 and result.parent.id == sent()[0].headers["id"]


def test_ten_thousand_steps_are_sent_in_one_message(app: Any, add: Any, sent: Sent):
    app.conf.task_workflow_inline = True
    result = chain([add.s(1, 1), *(add.s(1) for _ in range(9_999))]).apply_async()
    (message,) = sent()
    assert len(body(message)[2]["chain"]) == 9_999
    ids = 1
    while (result := result.parent) is not None:
        ids += 1
    assert ids == 10_000


def test_a_step_that_this_process_does_not_have_is_sent_all_the_same(app: Any, add: Any, sent: Sent):
    (app.signature("elsewhere.one", (1,)) | app.signature("elsewhere.two")).apply_async()
    assert sent()[0].headers["task"] == "elsewhere.one"
    with pytest.raises(NotRegistered):
        (app.signature("elsewhere.one") | add.s(1)).apply()


def test_a_chain_in_place_gives_each_the_result_of_the_one_before(add: Any, mul: Any, total: Any):
    result = (add.s(1, 2) | mul.s(3) | group(add.s(1), add.s(2)) | total.s()).apply()
    assert result.get() == 21
    assert (add.s(1, 2) | mul.s(3)).apply((), {}).parent.get() == 3


def test_an_eager_app_runs_a_chain_in_place(app: Any, add: Any, mul: Any, sent: Sent):
    app.conf.task_always_eager = True
    seen = []

    @app.task
    def keep(value: int) -> None:
        seen.append(value)

    assert (add.s(1, 2) | mul.s(3)).apply_async(link=keep.s()).get() == 9
    assert seen == [9] and sent() == []


def test_a_chain_reads_as_it_was_written(add: Any, mul: Any):
    assert repr(add.s(1, 2) | mul.s(3)) == f"{add.name}(1, 2) | {mul.name}(3)"
    assert repr(chain()) == "<chain: empty>"


def test_a_subclass_of_chain_stays_one(add: Any):
    class Mine(chain):
        pass

    assert type(Mine(add.s(1, 1), add.s(2))) is Mine and type(Mine(add.s(1, 1)) | add.s(2)) is Mine


def test_a_workflow_too_large_for_a_broker_is_refused_before_anything_is_sent(app: Any, add: Any, sent: Sent):
    app.conf.task_workflow_max_size, app.conf.task_workflow_inline = 10_000, True
    long = chain([add.s(1, 1), *(add.s(1) for _ in range(100))])
    with pytest.raises(EncodeError, match=r"carries its chain, and setting task_workflow_max_size allows 10,000"):
        long.apply_async()
    with pytest.raises(EncodeError, match="carries its chord"):
        (group(add.s(1, 1), add.s(2, 2)) | long).apply_async()
    wide = group(add.s(n, n) for n in range(1000)) | chain([add.s(1, 1), *(add.s(1) for _ in range(20))])
    with pytest.raises(EncodeError, match=r"in each of 1,000 messages"):
        wide.apply_async()
    with pytest.raises(EncodeError, match=r"2\d,\d\d\d bytes, since it carries its chord"):
        (group(add.s(1, 1), add.s("x" * 20_000), add.s(2, 2)) | add.s(1)).apply_async()
    with pytest.raises(EncodeError, match=r"2\d,\d\d\d bytes, since it carries its chain"):
        (add.s("x" * 20_000) | add.s(1)).apply_async()
    assert sent() == []
    group(add.s("x" * 20_000), add.s("x" * 20_000)).apply_async()
    assert len(sent()) == 2
    add.delay("x" * 20_000)  # arguments are the caller's own affair
    app.conf.task_workflow_max_size = None
    long.apply_async()
    assert len(sent()) == 4
