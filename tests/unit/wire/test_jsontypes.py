"""kombu's JSON types, and the proof that the fast decoder decodes what the standard library does."""

from __future__ import annotations

import json
import math
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastq.exceptions import DecodeError
from fastq.wire import jsontypes
from fastq.wire.jsontypes import dumps, loads, register_type, unregister_type


def same(a: Any, b: Any) -> bool:
    """Equal in type too, with NaN like itself, -0.0 unlike 0.0, and keys in order."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, float):
        return (math.isnan(a) and math.isnan(b)) or (a == b and math.copysign(1, a) == math.copysign(1, b))
    return bool(a == b)


def outcome(decode: Any, body: bytes) -> Any:
    try:
        return decode(body)
    except (ValueError, TypeError, AttributeError, RecursionError, DecodeError):
        return ValueError


def oracle(body: bytes) -> Any:
    return json.loads(str(body, "utf-8"), object_hook=jsontypes._object_hook)


edges = st.sampled_from([-0.0, 1e308, 5e-324, 2**63, 2**64])
numbers = st.integers() | st.integers(-(2**70), 2**70) | st.floats() | edges
texts = st.text(st.characters(codec="utf-8") | st.characters(categories=["Cs"]))
keys = texts | st.sampled_from(["__type__", "__value__"])
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@given(values, st.booleans(), st.sampled_from([None, 1, "\t"]))
def test_whatever_the_standard_library_writes_is_read_alike(value: Any, ascii: bool, indent: Any) -> None:
    body = json.dumps(value, ensure_ascii=ascii, indent=indent).encode("utf-8", "surrogatepass")
    expected = outcome(oracle, body)
    assert same(outcome(loads, body), expected)


TOKENS = [
    *rb'''{ } [ ] , : "a" "b" "bytes" "decimal" "__type__" "__value__" "__\u0074ype__" "__typ\u0065__" "\u005F_type__"
    "\ud800" "\udc00" "\ud83d\ude00"
    "\u0000" "\u00e9" "\x" "\/" 0 -0 -0.0 1 -1 01 1. .5 1e5 1E+5 1e400 -1e400 1e-400
    NaN Infinity -Infinity - null nul true false 12345678901234567890123 1.7976931348623159e308'''.split(),
    *(b'"\x01"', b'"\xff"', b'"\xed\xa0\x80"', b'"\xc3\xa9"', b'"\x7f"', b"\xef\xbb\xbf", b"\x00", b"\x0b", b" "),
    *(b"\n", b'{"a":1,"b":2,"a":3}', b'{"__type__": "bytes", "__value__": "x"}', b"1" * 4301, b"1" * 400 + b".5"),
]


@settings(max_examples=600)
@given(st.lists(st.sampled_from(TOKENS), max_size=12).map(b"".join))
@example(b'{"__\\u0074ype__": "bytes", "__value__": "x"}')
@example(b'{"\\u005f_type__": "nope", "__value__": "x"}')
def test_any_row_of_json_tokens_has_the_outcome_of_the_standard_library(body: bytes) -> None:
    assert same(outcome(loads, body), outcome(oracle, body))


@given(st.lists(st.tuples(st.sampled_from(["a", "b", "__type__", "__value__", "c"]), st.integers(0, 3))))
def test_the_last_of_duplicate_keys_wins_in_the_place_of_the_first(pairs: list[tuple[str, int]]) -> None:
    body = ("{" + ",".join(f'"{key}":{value}' for key, value in pairs) + "}").encode()
    assert same(outcome(loads, body), outcome(oracle, body))


@given(st.binary(max_size=40))
def test_any_bytes_have_the_outcome_of_the_standard_library(body: bytes) -> None:
    assert same(outcome(loads, body), outcome(oracle, body))


@given(values)
def test_encoding_writes_what_the_standard_library_writes(value: Any) -> None:
    assert dumps(value) == json.dumps(value).encode()


special = (
    st.datetimes(timezones=st.none() | st.just(timezone.utc) | st.just(timezone(timedelta(minutes=-90))))
    | st.dates()
    | st.times()
    | st.decimals(allow_nan=False)
    | st.uuids()
    | st.binary()
)


nested = st.recursive(special, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("ab"), inner))


@given(nested)
def test_special_types_survive_a_round_trip_at_any_depth(value: Any) -> None:
    assert same(loads(dumps(value)), value)


class Shout(str):
    pass


class Celsius:
    def __init__(self, degrees: float) -> None:
        self.degrees = degrees


def test_a_registered_type_travels_and_an_unregistered_one_does_not() -> None:
    register_type(Celsius, "celsius", lambda value: value.degrees, Celsius)
    try:
        body = dumps([Celsius(1.5)])
        assert body == b'[{"__type__": "celsius", "__value__": 1.5}]'
        assert loads(body)[0].degrees == 1.5
    finally:
        unregister_type(Celsius)
    with pytest.raises(TypeError):
        dumps(Celsius(1.5))
    with pytest.raises(DecodeError, match="unknown JSON type 'celsius'"):
        loads(body)


def test_a_type_without_a_marker_is_written_bare() -> None:
    register_type(Celsius, None, lambda value: f"{value.degrees} °C")
    try:
        assert loads(dumps(Celsius(1))) == "1 °C"
    finally:
        unregister_type(Celsius)


def test_a_marker_without_a_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody could read it"):
        register_type(Celsius, "celsius", str)


def test_a_builtin_type_may_be_overridden_and_restored() -> None:
    register_type(bytes, None, bytes.hex)
    try:
        assert dumps(b"\xff") == b'"ff"'
    finally:
        unregister_type(bytes)
    assert loads(dumps(b"\xff")) == b"\xff"


def test_a_subclass_of_datetime_is_a_datetime() -> None:
    class Stamp(datetime):
        pass

    assert loads(dumps(Stamp(2031, 2, 3))) == datetime(2031, 2, 3)


def test_a_lazy_string_of_django_is_text() -> None:
    class __proxy__:  # as django.utils.functional.lazy makes it, name mangling included
        def __cast(self) -> str:
            return "hello"

        def __str__(self) -> str:
            return self.__cast()

    assert dumps([__proxy__()]) == b'["hello"]'


def test_a_subclass_of_str_is_its_text() -> None:
    assert dumps(Shout("x")) == b'"x"'


@pytest.mark.parametrize("marker", ["nope", 1, None, [], {}])
def test_an_unknown_marker_fails_the_whole_message(marker: Any) -> None:
    body = json.dumps([1, {"deep": {"__type__": marker, "__value__": 1}}]).encode()
    with pytest.raises(DecodeError, match=r"unknown JSON type .*known: base64, bytes, date, datetime"):
        loads(body)
