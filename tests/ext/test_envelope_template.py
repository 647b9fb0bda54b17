"""Templates: what is encoded once, and what call by call."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext import envelope
from fastq._ext.envelope import TaskTemplate, scan, unpack
from fastq.exceptions import EncodeError
from tests.ext.test_envelope_json import values
from tests.reference.body import body

LEAN: dict[str, Any] = {
    "lang": "py", "shadow": None, "eta": None, "retries": 0, "timelimit": [None, None], "argsrepr": "()",
    "kwargsrepr": "{}", "replaced_task_nesting": 0, "stamped_headers": None, "stamps": {}, "ignore_result": None,
}


def template(headers: dict[str, Any] | None = None, properties: dict[str, Any] | None = None,
             lean: bool = False) -> TaskTemplate:
    return TaskTemplate("proj.add", content_type="application/json", content_encoding="utf-8", headers=headers or {},
                        properties=properties or {}, lean=lean)


@given(st.lists(values) | st.lists(values).map(tuple), st.dictionaries(st.text(), values), st.booleans())
def test_the_body_is_that_of_the_standard_library(args: Any, kwargs: Any, lean: bool) -> None:
    content = template(lean=lean).encode("1", args, kwargs)
    assert content is not None
    assert unpack(content)[2] == body(args, kwargs)


def test_a_full_message_has_all_headers_of_celery_in_order() -> None:
    properties, headers, _ = unpack(template({"origin": "gen1@h", "custom": 1}).encode("1", (), {}) or b"")
    assert list(headers.items()) == [
        ("lang", "py"), ("task", "proj.add"), ("id", "1"), ("shadow", None), ("eta", None), ("expires", None),
        ("group", None), ("group_index", None), ("retries", 0), ("timelimit", [None, None]), ("root_id", "1"),
        ("parent_id", None), ("origin", "gen1@h"), ("ignore_result", None), ("replaced_task_nesting", 0),
        ("stamped_headers", None), ("stamps", {}), ("custom", 1),
    ]
    assert properties == {"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": "1"}


def test_a_lean_message_has_only_what_says_something() -> None:
    content = template(LEAN, {"priority": 3}, lean=True).encode("1", (), {}, root_id="1")
    assert content is not None
    assert unpack(content)[:2] == (
        {"content_type": "application/json", "content_encoding": "utf-8", "priority": 3},
        {"task": "proj.add", "id": "1"},
    )


def test_a_lean_message_keeps_what_differs_from_the_default() -> None:
    kept = {"shadow": "s", "retries": 1, "timelimit": [1, None], "stamps": {"a": "b"}, "ignore_result": False,
            "custom": None, "origin": "gen1@h"}
    content = template({**LEAN, **kept}, {"correlation_id": "c"}, lean=True).encode("1", (), {}, "2", "3")
    properties, headers, _ = unpack(content or b"")
    assert headers == {"task": "proj.add", "id": "1", "root_id": "2", "parent_id": "3", **kept}
    assert properties["correlation_id"] == "c"


@pytest.mark.parametrize("lean", [True, False])
def test_lean_and_full_messages_scan_alike(lean: bool) -> None:
    made = template({"timelimit": [5, 4.5], "ignore_result": True}, lean=lean)
    found = scan(made.encode_body("1", b"ready", "2", "3"))
    assert (found["task"], found["id"], found["root_id"], found["parent_id"]) == ("proj.add", "1", "2", "3")
    assert (found["hard_s"], found["soft_s"], found["ignore_result"]) == (5, 4.5, True)
    assert (found["body"], found["flags"]) == (b"ready", 0)


def test_headers_that_the_caller_gives_win_over_the_call() -> None:
    made = template({"task": "other", "id": "fixed", "root_id": "r", "parent_id": "p"})
    headers = unpack(made.encode("1", (), {}, "2", "3") or b"")[1]
    assert [headers[name] for name in ("task", "id", "root_id", "parent_id")] == ["other", "fixed", "r", "p"]


@pytest.mark.parametrize(("args", "kwargs"), [
    ((b"bytes",), {}), ((), {"a": {1, 2}}), ("text", {}), (iter(()), {}), ((), None), ((), [("a", 1)]), ((), {1: 2}),
])
def test_calls_that_take_a_slower_writer_give_none(args: Any, kwargs: Any) -> None:
    assert template().encode("1", args, kwargs) is None


@pytest.mark.parametrize("task_id", [None, "", 1, b"1", "x" * 256, "\ud800"])
def test_an_id_that_cannot_be_sent_is_an_error(task_id: Any) -> None:
    with pytest.raises(EncodeError, match="id"):
        template().encode(task_id, (), {})
    with pytest.raises(EncodeError, match="id"):
        template().encode_body(task_id, b"")


def test_ids_need_not_be_ascii() -> None:
    assert scan(template().encode("é€", (), {}, "ü") or b"")["id"] == "é€"


def test_a_header_that_has_no_form_is_an_error_of_the_template() -> None:
    with pytest.raises(EncodeError, match="header 'custom'"):
        template({"custom": object()})


def test_a_task_name_that_no_worker_would_take_is_an_error_of_the_template() -> None:
    for name in ("", "x" * 1025):
        with pytest.raises(EncodeError, match="task name"):
            TaskTemplate(name, content_type="a", content_encoding="b", headers={}, properties={}, lean=True)


def test_large_calls_grow_the_buffer() -> None:
    args = ["x" * i for i in range(3000)]
    assert unpack(template().encode("1", args, {}) or b"")[2] == body(args, {})


def test_a_template_holds_no_reference_to_what_it_encoded() -> None:
    made, value = template(), "value-" + "x" * 20
    before = sys.getrefcount(value)
    for _ in range(100):
        made.encode(value, (value, b""), {})
        made.encode(value, (value,), {value: value}, value, value)
    assert sys.getrefcount(value) == before
    assert envelope.TaskTemplate is TaskTemplate


@pytest.mark.parametrize("lean", [True, False])
def test_a_numbered_template_puts_each_call_in_its_place_and_says_what_follows(lean: bool) -> None:
    made = TaskTemplate("proj.add", content_type="application/json", content_encoding="utf-8", lean=lean,
                        headers={"group": "g"}, properties={}, numbered=True, embed=b'{"chain": [1]}')
    for place in (0, 7, None, 2**40):
        _, headers, sent = unpack(made.encode("1", (2,), {}, "r", "p", place) or b"")
        assert (headers["group"], headers["group_index"], headers["parent_id"]) == ("g", place, "p")
        assert sent == b'[[2], {}, {"chain": [1]}]'
    names = list(headers)
    assert names.index("group") + 1 == names.index("group_index") < names.index("root_id")
