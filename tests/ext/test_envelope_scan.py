"""The scan and the readers on bytes that no honest sender writes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastq._ext import envelope
from fastq.exceptions import FrameError
from tests.ext import strategies
from tests.reference import amqp

TASK = [(b"task", "S", b"proj.add"), (b"id", "S", b"1")]


def scan_of(*rows: Any) -> envelope.Scanned:
    return envelope.scan(amqp.content({}, [*TASK, *rows], b""))


def same(left: Any, right: Any) -> bool:
    """Equal, where NaN equals NaN and 1 is not True."""
    if isinstance(left, float) and isinstance(right, float):
        return left == right or (math.isnan(left) and math.isnan(right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return type(left) is type(right) and bool(left == right)


@given(strategies.contents)
def test_readers_find_what_the_oracle_finds(content: bytes) -> None:
    properties, rows, body = amqp.parse(content)
    found = envelope.unpack(content)
    texts = {name: it.decode("utf-8", "surrogateescape") if isinstance(it, bytes) else it
             for name, it in properties.items()}
    assert found[0] == texts and found[2] == body
    assert same(found[1], amqp.plain_rows(rows))
    assert same(envelope.scan(content), amqp.scan(content))


@given(strategies.contents, st.data())
def test_damaged_messages_end_as_they_do_with_the_oracle(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    agree_on(bytes(damaged))


@given(st.binary(max_size=200))
@example(b"")
@example(b"\x00\x00\x00\x02\x00\x01")
@example(b"\xff\xff\xff\xff\x20\x00\xff\xff\xff\xff")
def test_any_bytes_end_as_they_do_with_the_oracle(content: bytes) -> None:
    agree_on(content)


def agree_on(content: bytes) -> None:
    try:
        expected = amqp.scan(content)
    except amqp.Malformed:
        with pytest.raises(FrameError):
            envelope.scan(content)
        with pytest.raises(FrameError):
            envelope.unpack(content)
    else:
        assert same(envelope.scan(content), expected)
        envelope.unpack(content)


@pytest.mark.parametrize(("content", "message"), [
    (b"", "offset 0: expected the length of a long value"),
    (b"\0\0\0\x09\0\0", "offset 4: expected all bytes of a long value"),
    (b"\0\0\0\x01\0", "offset 4: expected the flag word of the properties"),
    (b"\0\0\0\x02\0\x02", "offset 4: expected only flags of basic properties"),
    (b"\0\0\0\x03\0\0x", "offset 6: expected the end of what its length announced"),
    (b"\0\0\0\x09\x20\0\0\0\0\x03\x01a?", "offset 12: expected a known type of value"),
    (b"\0\0\0\x11\x20\0\0\0\0\x0b\x01aT\xff\0\0\0\0\0\0\0", "offset 13: expected a time before the year 10000"),
])
def test_an_error_tells_where_and_what_was_expected(content: bytes, message: str) -> None:
    for read in (envelope.scan, envelope.unpack):
        with pytest.raises(FrameError, match=message):
            read(content)


@pytest.mark.parametrize("tag", ["A", "F"])
def test_nesting_is_limited_before_the_stack_is(tag: str) -> None:
    def nested(depth: int) -> bytes:
        it: Any = []
        for _ in range(depth - 1):
            it = [("A", it)] if tag == "A" else [(b"n", "F", it)]
        return amqp.content({}, [(b"n", tag, it)], b"")

    envelope.scan(nested(63))
    envelope.unpack(nested(63))
    for depth in (64, 150):
        for read in (envelope.scan, envelope.unpack):
            with pytest.raises(FrameError, match="at most 64 nested tables"):
                read(nested(depth))


@pytest.mark.parametrize(("name", "typed", "flag"), [
    ("task", ("I", 1), envelope.SCAN_BAD_TASK),
    ("task", ("S", b""), envelope.SCAN_BAD_TASK),
    ("task", ("S", b"x" * 1025), envelope.SCAN_BAD_TASK),
    ("task", ("S", b"\xff"), envelope.SCAN_BAD_TASK),
    ("id", ("I", 1), envelope.SCAN_BAD_ID),
    ("id", ("V", None), envelope.SCAN_BAD_ID),
    ("id", ("S", b"\xed\xa0\x80"), envelope.SCAN_BAD_ID),
    ("eta", ("S", b""), envelope.SCAN_BAD_ETA),
    ("eta", ("d", 1.5), envelope.SCAN_BAD_ETA),
    ("eta", ("S", b"2" * 65), envelope.SCAN_BAD_ETA),
    ("expires", ("L", 12), envelope.SCAN_BAD_EXPIRES),
    ("timelimit", ("A", [("I", 1)]), envelope.SCAN_BAD_TIMELIMIT),
    ("timelimit", ("A", [("I", 1), ("I", 1), ("V", None)]), envelope.SCAN_BAD_TIMELIMIT),
    ("timelimit", ("A", [("I", -1), ("V", None)]), envelope.SCAN_BAD_TIMELIMIT),
    ("timelimit", ("A", [("d", math.nan), ("V", None)]), envelope.SCAN_BAD_TIMELIMIT),
    ("timelimit", ("A", [("d", math.inf), ("V", None)]), envelope.SCAN_BAD_TIMELIMIT),
    ("timelimit", ("A", [("S", b"1"), ("V", None)]), envelope.SCAN_BAD_TIMELIMIT),
    ("timelimit", ("A", [("A", []), ("V", None)]), envelope.SCAN_BAD_TIMELIMIT),
    ("timelimit", ("I", 3), envelope.SCAN_BAD_TIMELIMIT),
    ("retries", ("I", -1), envelope.SCAN_BAD_RETRIES),
    ("retries", ("L", 2**31), envelope.SCAN_BAD_RETRIES),
    ("retries", ("S", b"1"), envelope.SCAN_BAD_RETRIES),
    ("retries", ("t", True), envelope.SCAN_BAD_RETRIES),
    ("root_id", ("I", 1), envelope.SCAN_BAD_OTHER),
    ("parent_id", ("S", b""), envelope.SCAN_BAD_OTHER),
    ("group", ("F", []), envelope.SCAN_BAD_OTHER),
    ("compression", ("t", True), envelope.SCAN_BAD_OTHER),
    ("ignore_result", ("S", b"yes"), envelope.SCAN_BAD_OTHER),
    ("x-fastq-deaths", ("I", -1), envelope.SCAN_BAD_OTHER),
    ("x-fastq-deaths", ("i", 2**31), envelope.SCAN_BAD_OTHER),
    ("x-fastq-deaths", ("S", b"1"), envelope.SCAN_BAD_OTHER),
    ("x-fastq-deaths", ("d", 1.0), envelope.SCAN_BAD_OTHER),
])
def test_an_unusable_header_sets_its_flag_and_counts_as_absent(name: str, typed: tuple[str, Any], flag: int) -> None:
    found = scan_of((name.encode(), *typed))
    assert found["flags"] == flag
    if name == "retries":
        assert found["retries"] == 0
    elif name == "x-fastq-deaths":
        assert found["deaths"] == 0
    elif name == "timelimit":
        assert (found["hard_s"], found["soft_s"]) == (None, None)
    else:
        assert found[name] is None  # type: ignore[literal-required]


@pytest.mark.parametrize(("tag", "value"), [("b", 5), ("B", 200), ("s", 9), ("U", 9), ("u", 60000), ("i", 7), ("l", 8)])
def test_retries_may_have_any_integer_type(tag: str, value: int) -> None:
    found = scan_of((b"retries", tag, value))
    assert (found["retries"], found["flags"]) == (value, 0)


@pytest.mark.parametrize(("tag", "value"), [("b", 5), ("B", 200), ("I", 1), ("l", 8), ("L", 2**31 - 1), ("V", None)])
def test_deaths_may_have_any_integer_type_and_none_is_no_death(tag: str, value: int | None) -> None:
    found = scan_of((b"x-fastq-deaths", tag, value))
    assert (found["deaths"], found["flags"]) == (value or 0, 0)


@pytest.mark.parametrize(("hard", "soft", "expected"), [
    (("I", 30), ("I", 20), (30.0, 20.0)),
    (("V", None), ("d", 0.5), (None, 0.5)),
    (("f", 1.5), ("V", None), (1.5, None)),
    (("D", (2, 150)), ("u", 1), (1.5, 1.0)),
])
def test_time_limits_may_have_any_number_type(hard: Any, soft: Any, expected: Any) -> None:
    found = scan_of((b"timelimit", "A", [hard, soft]))
    assert ((found["hard_s"], found["soft_s"]), found["flags"]) == (expected, 0)


def test_of_a_header_given_twice_the_last_counts() -> None:
    assert scan_of((b"task", "S", b"other"))["task"] == "other"
    assert scan_of((b"task", "V", None))["flags"] == envelope.SCAN_V1
    assert scan_of((b"eta", "S", b"2031"), (b"eta", "V", None))["eta"] is None


def test_a_message_without_task_header_is_left_to_protocol_1() -> None:
    for headers in (None, [], [(b"id", "S", b"1")]):
        assert envelope.scan(amqp.content({}, headers, b"{}"))["flags"] == envelope.SCAN_V1


def test_an_id_is_needed_beside_a_task() -> None:
    assert envelope.scan(amqp.content({}, TASK[:1], b""))["flags"] == envelope.SCAN_BAD_ID


@given(st.binary(min_size=1, max_size=60) | st.text(min_size=1, max_size=20).map(str.encode))
@example("añ€🂡".encode() * 5)
@example(b"\xf4\x90\x80\x80")
@example(b"\xe0\x80\x80")
@example(b"a" * 15 + b"\xc2")
def test_a_task_name_is_taken_exactly_if_it_is_utf8(name: bytes) -> None:
    found = scan_of((b"task", "S", name))["task"]
    assert found == (None if isinstance(amqp.text(name), bytes) else amqp.text(name))
