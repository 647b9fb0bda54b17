"""Many calls in one message, and in few."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fastq import chunks, signature, xmap, xstarmap
from tests.unit.canvas.conftest import Sent


def test_a_map_is_one_message(add: Any, sent: Sent):
    add.map(n for n in range(3)).apply_async()
    (message,) = sent()
    args, kwargs, _ = json.loads(message.body)
    assert (message.headers["task"], args, kwargs["it"]) == ("celery.map", [], [0, 1, 2])
    assert kwargs["task"]["task"] == add.name


def test_it_goes_where_its_task_would_go(app: Any, add: Any, sent: Sent):
    app.conf.task_routes = {add.name: "far"}
    add.starmap([(1, 2)]).apply_async()
    add.chunks([(1, 2), (3, 4)], 1)()
    assert [message.headers["task"] for message in sent("far")] == ["celery.starmap"] * 3


def test_maps_run_in_place(app: Any, add: Any, total: Any):
    assert total.map([[1], [2, 3]]).apply().get() == [1, 5]
    assert add.starmap([(1, 2), (3, 4)]).apply().get() == [3, 7]
    app.conf.task_always_eager = True
    assert add.starmap([(1, 2)]).delay().get() == [3]
    assert add.chunks(zip(range(5), range(5), strict=True), 2)().get() == [[0, 2], [4, 6], [8]]


def test_chunks_are_a_group_of_starmaps(add: Any, total: Any):
    made = add.chunks(((n, n) for n in range(5)), 2)
    assert [part.kwargs["it"] for part in made.group().tasks] == [[(0, 0), (1, 1)], [(2, 2), (3, 3)], [(4, 4)]]
    assert made.group().tasks == made.group().tasks
    with pytest.raises(ValueError, match="one item at least, not 0"):
        add.chunks([(1, 1)], 0)()


def test_they_come_back_from_json(app: Any, add: Any):
    for made in (add.map([1]), add.starmap([(1, 2)]), add.chunks([(1, 2)], 1).set(queue="x")):
        again = signature(json.loads(json.dumps(made)), app=app)
        assert type(again) is type(made) and json.dumps(again) == json.dumps(made)


def test_they_say_what_they_are(add: Any):
    assert repr(xmap(add.s(), [1, 2])) == f"[{add.name}(x) for x in [1, 2]]"
    assert repr(xstarmap(add.s(), [(1, 2)])) == f"[{add.name}(*x) for x in [(1, 2)]]"
    assert len(repr(xmap(add.s(), range(1000)))) < 150
    assert chunks.apply_chunks is not None and add.chunks([1], 1)["task"] == "celery.chunks"


def test_later_arguments_are_ignored(add: Any, sent: Sent):
    (add.s(1, 1) | add.map([1, 2])).apply_async()
    (step,) = json.loads(sent()[0].body)[2]["chain"]
    assert step["immutable"] is True and step["kwargs"]["it"] == [1, 2]
