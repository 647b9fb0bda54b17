from __future__ import annotations

import pytest

from fastq import current
from fastq._ext.envelope import pack
from fastq.request import Request

HEADERS = {
    "lang": "py", "task": "t", "id": "x", "shadow": "s", "eta": None, "expires": None, "group": "g", "group_index": 1,
    "retries": 2, "timelimit": [9, 8.5], "root_id": "r", "parent_id": "p", "argsrepr": "(1,)", "kwargsrepr": "{}",
    "origin": "o", "ignore_result": True, "replaced_task_nesting": 0, "stamped_headers": ["trace"],
    "stamps": {"trace": "a"}, "tenant": "blue",
}


def request(headers=HEADERS, properties=None, embed=None, **fields):
    return Request.from_message(headers, properties or {}, [1], {"y": 2}, embed, queue="q", hostname="w@h", **fields)


def test_a_request_shows_the_message_it_came_in():
    shown = request(properties={"correlation_id": "c", "reply_to": "rep", "priority": 4},
                    embed={"callbacks": ["a"], "errbacks": ["b"], "chain": [], "chord": None}, deaths=1)
    assert (shown.id, shown.task, shown.args, shown.kwargs, shown.retries) == ("x", "t", [1], {"y": 2}, 2)
    assert (shown.root_id, shown.parent_id, shown.group, shown.group_index) == ("r", "p", "g", 1)
    assert (shown.time_limit, shown.soft_time_limit, shown.timelimit) == (9, 8.5, [9, 8.5])
    assert (shown.correlation_id, shown.reply_to, shown.hostname, shown.deaths) == ("c", "rep", "w@h", 1)
    assert (shown.callbacks, shown.errbacks, shown.chain, shown.chord) == (["a"], ["b"], [], None)
    assert shown.delivery_info == {"exchange": "", "routing_key": "q", "priority": 4, "redelivered": True}
    assert (shown.called_directly, shown.is_eager, shown.ignore_result) == (False, False, True)
    assert (shown.headers, shown.tenant, shown.get("tenant"), shown.get("none", 5)) == (
        {"tenant": "blue"}, "blue", "blue", 5)
    assert (shown.stamped_headers, shown.stamps) == (["trace"], {"trace": "a"})
    assert shown.children == []


def test_the_deaths_of_a_message_are_not_handed_on_to_its_retries():
    shown = request({**HEADERS, "x-fastq-deaths": 2}, deaths=2)
    assert (shown.deaths, shown.headers) == (2, {"tenant": "blue"})
    assert shown.as_execution_options()["headers"] == {"tenant": "blue"}


def test_what_a_lean_message_leaves_out_reads_as_its_default():
    shown = request({"task": "t", "id": "x"})
    assert (shown.root_id, shown.correlation_id, shown.retries, shown.timelimit) == ("x", "x", 0, [None, None])
    assert (shown.headers, shown.parent_id, shown.time_limit, shown.stamps) == (None, None, None, None)


@pytest.mark.parametrize("name", ["get", "update", "from_message", "is_eager", "called_directly", "children",
                                  "_children", "__class__", "__init__", "args", "properties"])
def test_a_header_from_outside_hides_nothing(name):
    shown = request({"task": "t", "id": "x", name: "evil"})
    assert getattr(shown, name) != "evil"
    assert shown.headers == {name: "evil"}


def test_a_request_can_be_updated_and_cleared():
    shown = Request({"id": "x"}, retries=1)
    shown.update({"id": "y"}, group="g")
    shown.children = [1]
    assert (shown.id, shown.retries, shown.group, shown.children) == ("y", 1, "g", [1])
    shown.clear()
    assert (shown.id, shown.retries, shown.children) == (None, 0, [])


def test_requests_share_no_children():
    one, two = Request(), Request()
    one.children.append(1)
    assert two.children == []


def test_the_options_that_send_it_again():
    options = request(embed={"callbacks": ["a"], "errbacks": None, "chain": None, "chord": None}).as_execution_options()
    assert {name: value for name, value in options.items() if value is not None} == {
        "task_id": "x", "root_id": "r", "parent_id": "p", "group_id": "g", "group_index": 1, "shadow": "s",
        "link": ["a"], "time_limit": 9, "soft_time_limit": 8.5, "headers": {"tenant": "blue"}, "retries": 2,
        "replaced_task_nesting": 0, "origin": "o",
    }


def test_the_innermost_frame_of_a_task_is_found_and_the_outermost_call_in_place_is_no_parent():
    outer, inner = Request(id="outer", called_directly=False), Request(id="inner")
    first = current.push("a", outer)
    second = current.push("b", inner)
    try:
        assert (current.request_of("a"), current.request_of("b"), current.request_of("c")) == (outer, inner, None)
        assert (current.task(), current.parent()) == ("b", outer)
    finally:
        current.pop(second)
        current.pop(first)
    assert (current.task(), current.parent()) == (None, None)


def test_a_delivered_request_unpacks_its_message_when_a_field_of_it_is_asked_for():
    content = pack({"priority": 3}, {"task": "t", "id": "i", "retries": 2, "own": "x"}, b"")
    request = Request.from_content(content, "i", "q", "h", 1, (1,), {}, {"callbacks": [1]}, 9.0, float("nan"))
    assert (request.id, request.args, request.called_directly, request.deaths) == ("i", (1,), False, 1)
    assert request.delivery_info == {"exchange": "", "routing_key": "q", "priority": 3, "redelivered": True}
    assert (request.retries, request.own, request.callbacks, request.timelimit) == (2, "x", [1], [9.0, None])
    assert request.headers == {"own": "x"}


def test_what_was_set_on_a_delivered_request_is_kept_when_it_is_unpacked():
    request = Request.from_content(pack({}, {"task": "t", "id": "i", "retries": 2}, b""), "i", "q", "h", 0, (), {}, {},
                                   float("nan"), float("nan"))
    request.update(retries=5)
    assert (request.task, request.retries) == ("t", 5)
    with pytest.raises(AttributeError, match="no field 'nonsense'"):
        request.nonsense  # noqa: B018


def test_a_request_has_every_field_of_celerys_with_its_default() -> None:
    from celery.app.task import Context  # noqa: PLC0415  a peer, for this test only

    ours, theirs = Request(), Context({})
    # Without a word about results theirs says that they are wanted, and ours that nobody said.
    others = {"ignore_result", "utc"}
    names = {name for name in dir(theirs) if not name.startswith("_") and not callable(getattr(theirs, name))} - others
    assert len(names) > 30
    assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
