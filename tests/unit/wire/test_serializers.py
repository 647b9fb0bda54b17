"""Serializers against kombu's own bytes, their accept lists, and their errors."""

from __future__ import annotations

import base64
import enum
import json
import subprocess
import sys
import uuid
from collections import namedtuple
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fastq.exceptions import ConfigError, ContentDisallowed, DecodeError, EncodeError, SoftTimeLimitExceeded
from fastq.wire.serializers import Serializers, content_types, dumps, loads, registry

VECTORS = Path(__file__).parents[2] / "vectors"
NAMES = ("json", "msgpack", "pickle", "yaml")

Point = namedtuple("Point", "x y")


class Letter(str, enum.Enum):
    A = "a"


class Number(enum.Enum):
    A = 1


class HasJson:
    def __json__(self) -> Any:
        return {"from": "__json__"}


# The values that the recorder encoded, by the names that it gave them. Its Signature and AsyncResult are not ours.
VALUES: dict[str, Any] = {
    "None": None,
    "True": True,
    "1": 1,
    "2**70": 2**70,
    "1.5": 1.5,
    "1e100": 1e100,
    "nan": float("nan"),
    "inf": float("inf"),
    "'text'": "text",
    "'hé ☃ 😀'": "hé ☃ 😀",
    "lone surrogate": "\ud800",
    "b'utf8'": b"utf8",
    "b'\\xff'": b"\xff",
    "b''": b"",
    "bytearray": bytearray(b"x"),
    "memoryview": memoryview(b"x"),
    "(1, (2,))": (1, (2,)),
    "[1]": [1],
    "{1, 2}": {1, 2},
    "frozenset": frozenset({1}),
    "dict with int, None, bool, float keys": {1: "a", None: "b", False: "c", 2.5: "d"},
    "dict with tuple key": {(1, 2): 3},
    "dict with bytes key": {b"k": 1},
    "datetime aware": datetime(2031, 2, 3, 4, 5, 6, 789, tzinfo=timezone.utc),
    "datetime +05:30": datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=5, minutes=30))),
    "datetime naive": datetime(2031, 2, 3, 4, 5, 6),
    "date": date(2031, 2, 3),
    "time": time(4, 5, 6),
    "time with us and tz": time(4, 5, 6, 7, tzinfo=timezone.utc),
    "timedelta": timedelta(days=1),
    "Decimal": Decimal("3.140"),
    "Decimal NaN": Decimal("NaN"),
    "UUID": uuid.UUID("f81d4fae-7dec-11d0-a765-00a0c91e6bf6"),
    "str Enum": Letter.A,
    "Enum": Number.A,
    "namedtuple": Point(1, 2),
    "object with __json__": HasJson(),
    "object()": object(),
    "a mapping that looks like an envelope": {"__type__": "bytes", "__value__": "x"},
    "ValueError instance": ValueError("x"),
}
NOT_OURS = {"Signature add.s(1)", "AsyncResult"}
# What pickle writes of these names the recorder's own classes.
PICKLED_BY_CLASS = {"str Enum", "Enum", "namedtuple", "object with __json__"}


def vector(name: str) -> Any:
    return json.loads((VECTORS / f"{name}.json").read_text())


def recorded(name: str) -> list[Any]:
    return [
        pytest.param(case, id=case["value"])
        for case in vector(f"serializer_{name}")["values"]
        if case["value"] not in NOT_OURS and not (name == "pickle" and case["value"] in PICKLED_BY_CLASS)
    ]


RECORDED = [pytest.param(name, *case.values, id=f"{name} {case.id}") for name in NAMES for case in recorded(name)]


@pytest.mark.parametrize("name, case", RECORDED)
def test_every_recorded_value_is_encoded_and_decoded_as_kombu_does(name: str, case: dict[str, Any]) -> None:
    if "encode_error" in case:
        with pytest.raises(EncodeError):
            dumps(VALUES[case["value"]], name)
        return
    content_type, content_encoding, body = dumps(VALUES[case["value"]], name)
    assert (content_type, content_encoding) == (case["content_type"], case["content_encoding"])
    assert body == base64.b64decode(case["bytes_b64"])
    if "decode_error" in case:
        with pytest.raises(DecodeError):
            loads(body, content_type, content_encoding, [name])
    elif " at 0x" not in case["decoded_repr"]:
        assert repr(loads(body, content_type, content_encoding, [name])) == case["decoded_repr"]


@pytest.mark.parametrize("case", vector("serializer_json_decode")["cases"], ids=lambda case: case["text"])
def test_every_recorded_json_text_is_decoded_as_kombu_does(case: dict[str, Any]) -> None:
    body = case["text"].encode()
    if "error" in case:
        with pytest.raises(DecodeError):
            loads(body, "application/json", "utf-8")
    else:
        assert repr(loads(body, "application/json", "utf-8")) == case["decoded_repr"]


@pytest.mark.parametrize("case", vector("serializer_raw")["cases"], ids=lambda case: case["case"])
def test_raw_bodies_and_bodies_without_a_serializer_are_typed_as_kombu_types_them(case: dict[str, Any]) -> None:
    kind, _, serializer = case["case"].partition(", ")
    value = {"str": "text", "bytes": b"\0", "dict": {"a": 1}}[kind]
    content_type, content_encoding, body = dumps(value, "raw" if serializer == "raw" else None)
    assert (content_type, content_encoding) == (case["content_type"], case["content_encoding"])
    assert body == case["body"].encode()
    assert loads(body, content_type, content_encoding, ["json", "text/plain"]) == value


@pytest.mark.parametrize("name", ["json_types", "json_kwargs", "json_unicode", "msgpack", "yaml", "pickle"])
def test_the_body_of_a_recorded_task_message_survives_a_round_trip(name: str) -> None:
    message = vector(f"task_v2_{name}")["redis"]["messages"][0]
    body = base64.b64decode(message["body_b64"])
    content_type, encoding = message["envelope"]["content-type"], message["envelope"]["content-encoding"]
    value = loads(body, content_type, encoding, NAMES)
    assert len(value) == 3
    serializer = name.partition("_")[0]
    if serializer != "pickle":  # a set has no order, so its pickle has none
        assert dumps(value, serializer) == (content_type, encoding, body)
    assert repr(loads(dumps(value, serializer)[2], content_type, encoding, NAMES)) == repr(value)


def spying() -> tuple[Serializers, list[bytes]]:
    opened: list[bytes] = []
    serializers = Serializers()
    serializers.register("spy", str, opened.append, "application/x-spy", "utf-8")
    serializers.register("auth", str, opened.append, "application/data", "utf-8")
    return serializers, opened


@pytest.mark.parametrize("accept", [[], ["auth"], ["application/json"], frozenset({"application/json"}), "auth"])
def test_a_body_that_is_not_accepted_is_refused_unopened(accept: Any) -> None:
    serializers, opened = spying()
    with pytest.raises(ContentDisallowed, match=r"not opened.*add 'spy' to accept_content"):
        serializers.loads(b"x", "application/x-spy", "utf-8", accept)
    assert opened == []


@pytest.mark.parametrize(
    "accept", [["spy"], ["application/x-spy"], frozenset({"application/x-spy"}), "spy", ("auth", "spy")]
)
def test_an_accept_list_holds_names_or_content_types(accept: Any) -> None:
    serializers, opened = spying()
    serializers.loads(b"x", "application/x-spy", "utf-8", accept)
    assert opened == [b"x"]


def test_only_json_is_accepted_when_nobody_says_otherwise() -> None:
    content_type, encoding, body = dumps([1], "pickle")
    with pytest.raises(ContentDisallowed):
        loads(body, content_type, encoding)


def test_a_content_type_within_the_text_of_another_is_not_accepted() -> None:
    with pytest.raises(ContentDisallowed):
        loads(b"1", "application/json", "utf-8", "application/json-seq")


@pytest.mark.parametrize("content_type", ["application/data", "application/text", None, ""])
def test_trusted_content_passes_through_without_a_decoder(content_type: str | None) -> None:
    serializers, opened = spying()
    assert serializers.loads(b"\xff", content_type, "binary", []) == b"\xff"
    assert serializers.loads("é".encode(), content_type, "utf-8", []) == "é"
    assert opened == []


def test_trusted_content_is_decoded_when_its_serializer_is_accepted() -> None:
    serializers, opened = spying()
    serializers.loads(b"x", "application/data", "utf-8", ["auth"])
    assert opened == [b"x"]


def test_an_accepted_type_without_a_serializer_is_text_in_its_charset() -> None:
    assert loads(b"\xe9", "text/plain", "latin-1", ["text/plain"]) == "é"
    assert loads(b"\xe9", "text/plain", "binary", ["text/plain"]) == b"\xe9"
    for charset in ("no-such-charset", "zlib", "utf-8"):
        with pytest.raises(DecodeError):
            loads(b"\xe9", "text/plain", charset, ["text/plain"])


def test_an_empty_body_is_empty_bytes_whatever_its_type() -> None:
    assert loads(b"", "application/json", "utf-8") == b""


def test_bodies_may_be_any_bytes_like_object() -> None:
    assert loads(memoryview(b"[1]"), "application/json", "utf-8") == [1]
    assert loads(bytearray(b"[1]"), "application/json", "utf-8") == [1]


def test_a_registered_serializer_works_by_name_and_is_gone_when_unregistered() -> None:
    serializers = Serializers()
    serializers.register("upper", str.upper, lambda body: body.decode("latin-1"), "a/upper", "latin-1")
    assert serializers.dumps("é", "upper") == ("a/upper", "latin-1", b"\xc9")
    assert serializers.loads(b"\xc9", "a/upper", "latin-1", ["upper"]) == "É"
    serializers.unregister("upper")
    with pytest.raises(ConfigError, match="no serializer 'upper'"):
        serializers.dumps("é", "upper")
    assert serializers.loads(b"\xc9", "a/upper", "latin-1", ["a/upper"]) == "É"  # now only a charset


def test_a_type_taken_over_by_a_later_serializer_returns_to_the_earlier_one() -> None:
    serializers = Serializers()
    serializers.register("one", str, lambda body: 1, "a/b")
    serializers.register("two", str, lambda body: 2, "a/b")
    assert serializers.loads(b"x", "a/b", "utf-8", ["one"]) == 2
    serializers.unregister("two")
    assert serializers.loads(b"x", "a/b", "utf-8", ["one"]) == 1


@pytest.mark.parametrize(
    "call", [lambda: dumps(1, "yamll"), lambda: content_types(["yamll"]), lambda: registry.unregister("yamll")]
)
def test_an_unknown_serializer_is_an_error_that_lists_the_known_ones(call: Any) -> None:
    with pytest.raises(ConfigError, match=r"no serializer 'yamll' \(known: json, msgpack, pickle, yaml\)"):
        call()


def test_the_content_types_of_an_accept_list() -> None:
    expected = {"application/json", "application/data", "text/plain", "application/x-yaml"}
    assert content_types(["json", "raw", "text/plain", "application/x-yaml"]) == expected


@pytest.mark.parametrize(
    "name, value, path, culprit",
    [
        ("json", [[1, {"when": [0, {1}]}], {}], "[0][1]['when'][1]", "set"),
        ("json", ({"a": object()},), "[0]['a']", "object"),
        ("json", {"a": {(1, 2): 3}}, "['a']", "dict"),
        ("msgpack", [[1, 2**70]], "[0][1]", "int"),
        ("yaml", {"k": [object()]}, "['k'][0]", "object"),
        ("pickle", [1, {2: lambda: 0}], "[1][2]", "function"),
        ("json", {1, 2}, "", "set"),
    ],
)
def test_an_encode_error_names_the_value_and_where_it_is(name: str, value: Any, path: str, culprit: str) -> None:
    with pytest.raises(EncodeError) as caught:
        dumps(value, name)
    assert f"{name} cannot encode the {culprit} at value{path}: " in str(caught.value)
    assert "choose another serializer" in str(caught.value)
    assert ("register the type" in str(caught.value)) == (name == "json")
    assert caught.value.__cause__ is not None


def test_values_inside_themselves_and_too_deep_ones_end_in_an_encode_error() -> None:
    cycle: list[Any] = []
    cycle.append([cycle])
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    for value in (cycle, deep):
        with pytest.raises(EncodeError):
            dumps(value, "json")


def test_the_search_for_the_culprit_is_bounded() -> None:
    calls = 0

    def refuse_sets(value: Any) -> bytes:
        nonlocal calls
        calls += 1
        return json.dumps(value).encode()

    serializers = Serializers()
    serializers.register("counting", refuse_sets, bytes, "a/counting")
    with pytest.raises(EncodeError, match="cannot encode the list at value:"):
        serializers.dumps([*range(100_000), {1}], "counting")
    assert calls <= 10_001


def test_bodies_nested_too_deeply_end_in_a_decode_error() -> None:
    with pytest.raises(DecodeError):
        loads(b"[" * 100_000 + b"]" * 100_000, "application/json", "utf-8")


def test_a_decode_error_tells_size_type_reason_and_beginning() -> None:
    with pytest.raises(DecodeError, match=r"body of 4 bytes as application/json \(utf-8\): JSONDecodeError.*b'\[1,2'"):
        loads(b"[1,2", "application/json", "utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_truncated_bodies_end_in_a_value_or_a_decode_error(name: str) -> None:
    content_type, encoding, body = dumps([[1, "two", 3.5, None, {"k": ["é" * 40]}], {}, {}], name)
    for size in range(1, len(body)):
        try:
            loads(body[:size], content_type, encoding, [name])
        except DecodeError:
            continue


def test_a_soft_time_limit_passes_through_undisguised() -> None:
    def strike(_: Any) -> Any:
        raise SoftTimeLimitExceeded

    serializers = Serializers()
    serializers.register("slow", strike, strike, "a/slow")
    with pytest.raises(SoftTimeLimitExceeded):
        serializers.dumps(1, "slow")
    with pytest.raises(SoftTimeLimitExceeded):
        serializers.loads(b"1", "a/slow", "utf-8", ["slow"])


def test_a_missing_yaml_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(EncodeError, match=r"pip install 'fastq\[yaml\]'"):
        dumps([1], "yaml")
    with pytest.raises(DecodeError, match=r"pip install 'fastq\[yaml\]'"):
        loads(b"- 1", "application/x-yaml", "utf-8", ["yaml"])


def test_pickle_takes_its_protocol_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert dumps([1], "pickle")[2][:2] == b"\x80\x04"
    monkeypatch.setenv("PICKLE_PROTOCOL", "2")
    assert dumps([1], "pickle")[2][:2] == b"\x80\x02"


def test_importing_the_serializers_loads_no_heavy_package() -> None:
    code = "import sys, fastq.wire.serializers; print({'msgspec', 'yaml', 'msgpack', 'pickle'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
