"""Bounded repr against the argsrepr that Celery's clients sent."""

from __future__ import annotations

import json
import tracemalloc
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq.saferepr import saferepr
from fastq.wire.serializers import loads

VECTORS = Path(__file__).parents[1] / "vectors"


@pytest.mark.parametrize("name", ["repr_truncated", "json_kwargs", "json_unicode", "msgpack", "yaml", "pickle"])
def test_recorded_arguments_are_shown_as_celery_showed_them(name: str) -> None:
    message = json.loads((VECTORS / f"task_v2_{name}.json").read_text())["redis"]["messages"][0]
    envelope = message["envelope"]
    body = b64decode(message["body_b64"])
    accept = ["json", "msgpack", "yaml", "pickle"]
    args, kwargs, _ = loads(body, envelope["content-type"], envelope["content-encoding"], accept)
    assert saferepr(tuple(args)) == envelope["headers"]["argsrepr"]
    assert saferepr(kwargs) == envelope["headers"]["kwargsrepr"]


def test_recorded_special_types_are_shown_as_celery_showed_them() -> None:
    envelope = json.loads((VECTORS / "task_v2_json_types.json").read_text())["redis"]["messages"][0]["envelope"]
    args, kwargs, _ = loads(b64decode(envelope["body"]), "application/json", "utf-8")
    args[11], args[12], kwargs["deep"]["a"] = (1, 2, (3,)), [1, [2]], (b"x",)  # JSON has made lists of the tuples
    shown = envelope["headers"]
    assert (saferepr(tuple(args)), saferepr(kwargs)) == (shown["argsrepr"], shown["kwargsrepr"])


def test_a_long_text_is_cut_inside_its_quotes() -> None:
    assert saferepr(("x" * 5000,)) == "('" + "x" * 1023 + "...',)"


@pytest.mark.parametrize(
    "value, shown",
    [
        ([[[[1]]]], "[[[[...]]]]"),
        ({"a": {"b": {"c": {"d": 1}}}}, "{'a': {'b': {'c': {...}}}}"),
        ([((1, 2), None)], "[((1, 2), None)]"),
        ([[((1, 2), None)]], "[[((...), None)]]"),
        ([[[[]]]], "[[[[]]]]"),
        ((), "()"),
        (set(), "set()"),
        (frozenset({1}), "{1}"),
        (b"\xff\x00", "b'ff00'"),
        ("a\nb'c", '"a\\nb\'c"'),
        (1 << 20, "1048576"),
        ((True, None, -1.5), "(True, None, -1.5)"),
    ],
)
def test_values_are_shown(value: Any, shown: str) -> None:
    assert saferepr(value) == shown


@pytest.mark.parametrize(
    "value, shown",
    [
        ("x" * 20, "'xxxxxxxxxx...'"),
        (b"x" * 20, "b'xxxxxxxxxx...'"),
        (b"\xff" * 20, "b'ffffffffff...'"),
        ("é" * 8, "'éééééééé'"),
        (("é" * 8).encode(), "b'ééééé...'"),
        (list(range(20)), "[0, 1, 2, ...]"),
        ({"aaaaaa": 1, "b": 2}, "{'aaaaaa': ..., ...}"),
        ([["aaaaaaaaaaaaa", "b"], "c"], "[['aaaaaaaa...', ...]]"),
        (10**20, "1000000000..."),
        ((10**20,), "(100000000...,)"),
    ],
)
def test_what_is_too_long_is_cut_and_every_bracket_closed(value: Any, shown: str) -> None:
    assert saferepr(value, maxlen=10) == shown


def test_other_depths_and_lengths_may_be_asked_for() -> None:
    assert saferepr([[1]], maxlevels=1) == "[[...]]"
    assert saferepr([[[[[[1]]]]]], maxlevels=None) == "[[[[[[1]]]]]]"
    assert len(saferepr("x" * 5000, maxlen=None)) == 5002


def test_a_container_inside_itself_is_named() -> None:
    cycle: list[Any] = [1]
    cycle.append(cycle)
    assert saferepr(cycle) == "[1, <Recursion on list>]"
    twins = [[1]] * 2
    assert saferepr(twins) == "[[1], [1]]"


class Hostile:
    def __repr__(self) -> str:
        raise ValueError("no")


class HostileDict(dict[str, int]):
    def items(self) -> Any:
        raise ValueError("no")


def test_nothing_raises() -> None:
    assert saferepr([Hostile()]) == "[<Hostile: its repr raised ValueError>]"
    assert saferepr(HostileDict(a=1)) == "<HostileDict: showing it raised ValueError>"
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert saferepr(deep, maxlevels=0).endswith("]]]")
    assert saferepr((10**5000,)) == "(<int: its repr raised ValueError>,)"


def test_huge_texts_cost_no_more_than_small_ones() -> None:
    huge = ["x" * 50_000_000, b"x" * 50_000_000, ("é" * 50_000_000, list(range(1_000_000)))]
    tracemalloc.start()
    try:
        for value in huge:
            assert len(saferepr(value)) < 1100
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)


@given(anything, st.integers(0, 60), st.integers(1, 5))
def test_the_length_is_bounded_whatever_the_value(value: Any, maxlen: int, maxlevels: int) -> None:
    shown = saferepr(value, maxlen, maxlevels)
    # One value may run over by its escapes (ten characters for one) and quotes; then come an ellipsis and brackets.
    assert len(shown) <= 10 * maxlen + 40
    if "..." not in shown:
        assert shown == saferepr(value, None, maxlevels)
