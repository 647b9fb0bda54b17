"""The compiled JSON writer against the standard library's."""

from __future__ import annotations

import json
import math
import sys
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastq._ext import envelope

texts = st.text(st.characters(codec=None), max_size=40) | st.text(st.characters(max_codepoint=0xFF), max_size=40)
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-(2**65), 2**65), st.floats(), texts),
    lambda inner: st.lists(inner, max_size=5) | st.tuples(inner, inner) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)


class Point(NamedTuple):
    x: int


class Text(str):
    __slots__ = ()


@given(values)
@example([math.nan, math.inf, -math.inf, -0.0, 1e16, 1e-7, 5e-324])
@example([2**63 - 1, -(2**63), 2**63, -(2**63) - 1, 10**100, 0, -1])
@example(["".join(map(chr, range(0x180))), "\ud800", "\udfff\ud800", "\U0001f0a1\U0010ffff", "\x7f\x80\xff"])
def test_values_are_written_as_the_standard_library_writes_them(value: Any) -> None:
    assert envelope.dumps(value) == json.dumps(value).encode()


@pytest.mark.parametrize("odd", ['"', "\\", "\x00", "\x1f", "\x7f", "\x80", "\xff", "é", "€", "🂡", "\ud800"])
def test_a_character_is_escaped_wherever_it_stands(odd: str) -> None:
    for at in range(20):
        text = "a" * at + odd + "b" * (19 - at)
        assert envelope.dumps(text) == json.dumps(text).encode()


@pytest.mark.parametrize("value", [
    {1, 2}, b"bytes", bytearray(b"x"), object(), 1j, {1: 2}, {None: 1}, {"a": {2.5: 1}}, Text("x"), {Text("x"): 1},
    Point(1), OrderedDict(a=1), [[Point(1)]], {"a": ({"b": b""},)}, ..., len, int, range(3),
])
def test_what_it_does_not_know_exactly_is_left_to_a_slower_writer(value: Any) -> None:
    assert envelope.dumps(value) is None
    assert envelope.dumps(["before", value]) is None


def test_nesting_is_limited() -> None:
    value: Any = 1
    for _ in range(64):
        value = [value]
    assert envelope.dumps(value) == json.dumps(value).encode()
    assert envelope.dumps([value]) is None
    assert envelope.dumps({"a": value}) is None
    assert envelope.dumps((value,)) is None


def test_values_that_contain_themselves_are_left_to_a_slower_writer() -> None:
    loop: list[Any] = []
    loop.append(loop)
    circle: dict[str, Any] = {}
    circle["a"] = (circle,)
    assert envelope.dumps(loop) is None
    assert envelope.dumps(circle) is None


def test_an_integer_that_the_interpreter_will_not_print_is_left_to_a_slower_writer() -> None:
    limited = hasattr(sys, "set_int_max_str_digits")
    assert envelope.dumps(10**5000) == (None if limited else b"1" + b"0" * 5000)


def test_large_values_grow_the_buffer() -> None:
    value = {f"k{i}": ["x" * i, i] for i in range(3000)}
    assert envelope.dumps(value) == json.dumps(value).encode()


def test_references_are_neither_kept_nor_lost() -> None:
    text, number = "text-" + "x" * 20, 12345678901234567890123
    value = [text, {text: number}, (text,), {"bad": b""}]
    before = [sys.getrefcount(text), sys.getrefcount(number), sys.getrefcount(value)]
    for _ in range(100):
        envelope.dumps(value[:3])
        envelope.dumps(value)
    assert [sys.getrefcount(text), sys.getrefcount(number), sys.getrefcount(value)] == before
