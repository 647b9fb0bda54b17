"""Messages as values, and protocol 1."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fastq._ext import envelope
from fastq.exceptions import FrameError, InvalidTaskError
from fastq.wire.message import Content, defects, parse_v1
from tests.reference import recorded
from tests.reference.recorded import Recorded

V1 = [message for message in recorded.messages("task_v1*") if message.properties["content_type"] == "application/json"]


def observed(what: str) -> Any:
    cases = recorded.load("minimal_messages_redis")["observations"]
    return next(case["list_entry"] for case in cases if case["case"].startswith(what))


def body_of(entry: Any) -> Any:
    return json.loads(base64.b64decode(entry["body"]))


def test_content_comes_apart_and_together() -> None:
    content = Content({"priority": 1}, {"task": "proj.add", "id": "1"}, b"body").build()
    assert Content.parse(content) == ({"priority": 1}, {"task": "proj.add", "id": "1"}, b"body")
    with pytest.raises(FrameError):
        Content.parse(content[:20])


def test_defects_are_told_in_words() -> None:
    assert defects(envelope.SCAN_V1) == ""
    assert defects(envelope.SCAN_BAD_ETA | envelope.SCAN_BAD_RETRIES) == "eta is no text of a time; retries is no count"


def test_every_flag_has_words() -> None:
    flags = [value for name, value in vars(envelope).items() if name.startswith("SCAN_BAD_")]
    assert len(flags) == 7
    assert all(defects(flag) for flag in flags)


@pytest.mark.parametrize("message", V1, ids=[message.case for message in V1])
def test_protocol_1_is_read_in_the_terms_of_protocol_2(message: Recorded) -> None:
    body = json.loads(message.body)
    headers, args, kwargs, embed = parse_v1(body)
    for name in ("task", "id", "group", "group_index", "retries", "eta", "expires", "timelimit"):
        assert headers[name] == body[name]
    assert (args, kwargs) == (body["args"], body["kwargs"])
    assert embed == {"chain": None, **{name: body[name] for name in ("callbacks", "errbacks", "chord")}}
    assert not headers.keys() & {"utc", "taskset", "args", "kwargs", "callbacks", "errbacks", "chord"}


def test_what_protocol_1_leaves_out_has_defaults() -> None:
    headers, args, kwargs, embed = parse_v1(body_of(observed("v1 body {task, id}: no args")))
    assert (list(args), kwargs, set(embed.values())) == ([], {}, {None})
    assert (headers["retries"], headers["timelimit"]) == (0, [None, None])


def test_a_group_may_be_called_a_taskset() -> None:
    assert parse_v1({"task": "t", "id": "1", "taskset": "g"}).headers["group"] == "g"
    assert parse_v1({"task": "t", "id": "1", "taskset": "g", "group": "h"}).headers["group"] == "h"


def test_in_a_hybrid_the_headers_win_and_the_arguments_come_from_the_body() -> None:
    entry = observed("hybrid")
    body = body_of(entry)
    headers, args, kwargs, _ = parse_v1(body, entry["headers"])
    assert body["task"] != entry["headers"]["task"]
    assert {name: headers[name] for name in entry["headers"]} == entry["headers"]
    assert (args, kwargs) == ([4, 5], {})


def test_a_hybrid_leaves_the_mappings_it_was_given_alone() -> None:
    body, headers = {"args": [1], "kwargs": {"a": 1}}, {"task": "t", "id": "1"}
    task = parse_v1(body, headers)
    task.kwargs["b"] = 2
    assert (body, headers) == ({"args": [1], "kwargs": {"a": 1}}, {"task": "t", "id": "1"})


@pytest.mark.parametrize(("body", "why"), [
    ([[], {}, {}], "mapping, not list"),
    (None, "mapping, not NoneType"),
    ({"id": "1"}, "no task"),
    ({"task": 5, "id": "1"}, "no task"),
    ({"task": "t"}, "no id"),
    ({"task": "t", "id": ""}, "no id"),
    ({"task": "t", "id": "1", "args": None}, "arguments must be a list, not NoneType"),
    ({"task": "t", "id": "1", "args": "ab"}, "arguments must be a list, not str"),
    ({"task": "t", "id": "1", "kwargs": None}, "keyword arguments must be a mapping, not NoneType"),
    ({"task": "t", "id": "1", "kwargs": [1]}, "keyword arguments must be a mapping, not list"),
])
def test_what_is_no_protocol_1_message_is_an_error(body: Any, why: str) -> None:
    with pytest.raises(InvalidTaskError, match=why):
        parse_v1(body)
