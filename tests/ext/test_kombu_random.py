"""Made-up messages and envelopes, and damaged ones: the compiled codec and the plain one agree about all of them."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from fastq._ext import kombu
from fastq.exceptions import DecodeError, FrameError
from tests.ext import strategies
from tests.reference import amqp, recorded
from tests.reference import kombu as plain

RAW = [it.raw for it in recorded.envelopes(
    "task_v2_headers", "task_v2_message_properties", "redis_restore_at_shutdown")]
names = st.text(max_size=20).filter(lambda name: "\\" not in name)

# --- contents --------------------------------------------------------------------------------------------------------


@given(strategies.contents, st.text(max_size=20), st.text(max_size=20), st.text(max_size=40))
def test_dump_writes_what_the_oracle_writes(content: bytes, exchange: str, key: str, tag: str) -> None:
    assert kombu.dump(content, exchange, key, tag) == plain.dump(content, exchange, key, tag)


@given(strategies.contents)
def test_parse_reads_back_what_dump_wrote(content: bytes) -> None:
    envelope = kombu.dump(content, "", "celery")
    again = kombu.parse(envelope)
    assert again == plain.parse(envelope)
    sent, rows, body = amqp.parse(content)
    properties, back, back_body = amqp.parse(again)
    assert (properties, back_body) == ({"priority": 0, **sent}, body)
    assert _meaning(back) == _meaning(rows)
    assert kombu.dump(again, "", "celery", "t") == kombu.dump(content, "", "celery", "t")


def _meaning(rows: list[Any]) -> Any:
    """Values without the width of their numbers, which JSON does not tell."""
    return [(name, *_value(tag, it)) for name, tag, it in rows]


def _value(tag: str, it: Any) -> Any:
    if tag == "F":
        return tag, _meaning(it)
    if tag == "A":
        return tag, [_value(*member) for member in it]
    if tag in amqp.INTEGERS:
        return "I", it
    if tag in "fd":
        return "d", "NaN" if math.isnan(it) else it
    if tag == "D":                                  # one of 33 bits stays kombu's object
        return ("D", it) if it[1] != -(2**31) else _value(*plain.typed(plain.Pairs(
            [("__type__", "decimal"), ("__value__", str(amqp.Decimal(f"{it[1]}e-{it[0]}")))]), 1))
    return ("x", it) if tag == "S" and isinstance(amqp.text(it), bytes) else (tag, it)


@given(strategies.contents, st.data())
def test_a_damaged_content_is_dumped_or_refused(content: bytes, data: st.DataObject) -> None:
    damaged = _damaged(content, data)
    try:
        expected = plain.dump(damaged, "", "celery", "t")
    except (amqp.Malformed, OverflowError):
        expected = None
    try:
        assert kombu.dump(damaged, "", "celery", "t") == expected
    except FrameError as error:
        assert expected is None and "offset" in str(error)


# --- envelopes -------------------------------------------------------------------------------------------------------

special = st.sampled_from(["bytes", "base64", "datetime", "decimal", "uuid", "date", "x"]).flatmap(
    lambda kind: st.fixed_dictionaries({"__type__": st.just(kind), "__value__": st.sampled_from([
        "aGk=", "x", "é", "2031-02-03T04:05:06.789+01:00", "2031-02-03T04:05:06Z", "1969-01-01", "3.140", "1e9", "-7",
        "NaN", 5, 2.5, None, {"hex": "00"}, "12345678901", "\udcff"])}))
values: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-(2**63), 2**63 - 1), st.floats(),
              st.text(max_size=20), st.text(st.characters(codec="utf-8") | st.sampled_from("\ud800\udc80\udcff"))),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3) | special,
    max_leaves=6,
)
properties = st.fixed_dictionaries({}, optional={
    **{name: st.none() | st.text(max_size=30) | st.integers(-9, 999) | values for name in plain.TEXTS},
    "priority": st.integers(-5, 300) | values, "delivery_mode": st.integers(0, 9) | values,
    "timestamp": st.integers(-1, 2**65) | values | special,
    "body_encoding": st.sampled_from(["base64", "utf-8", "UTF-8", "", None, "Base64", "zip"]),
    "delivery_info": values | st.fixed_dictionaries({"exchange": st.just("")}, optional={"redelivered": st.booleans()}),
    "delivery_tag": values, "other": values,
})
headers = st.dictionaries(
    st.sampled_from(["task", "id", "redelivered", "x-fastq-deaths", "__type__", "__value__"]) | names,
    st.just(True) | values, max_size=5)
bodies = st.text(max_size=30) | st.binary(max_size=30).map(lambda raw: base64.b64encode(raw).decode()) | st.none()
envelopes = st.fixed_dictionaries({}, optional={
    "body": bodies, "headers": headers | st.none(), "properties": properties,
    "content-type": st.none() | st.text(max_size=20), "content-encoding": st.none() | st.text(max_size=20),
    "other": values,
})


def check(raw: bytes) -> None:
    try:
        expected = plain.parse(raw)
    except plain.Malformed:
        expected = None
    try:
        assert kombu.parse(raw) == expected
    except DecodeError as error:
        assert expected is None, error
        assert "offset" in str(error)


@given(envelopes, st.booleans(), st.sampled_from([None, 1, "\t"]), st.randoms(use_true_random=False))
def test_parse_reads_what_the_oracle_reads(envelope: dict[str, Any], ascii: bool, indent: Any, chance: Any) -> None:
    members = list(envelope.items())
    chance.shuffle(members)
    text = json.dumps(dict(members), ensure_ascii=ascii, indent=indent)
    check(text.encode("utf-8", "surrogatepass"))


def _damaged(raw: bytes, data: st.DataObject) -> bytes:
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(damaged) - 1, 0)))
        how = data.draw(st.integers(0, 3))
        if how == 0:
            del damaged[at:at + data.draw(st.integers(1, 9))]
        elif how == 1:
            damaged[at:at] = data.draw(st.binary(min_size=1, max_size=3))
        elif how == 2:
            damaged[at:at + 1] = data.draw(st.sampled_from(list(b'{}[],:"\\ue0-+.tfnNI '))).to_bytes(1, "big")
        elif damaged:
            damaged[at:] = b""
    return bytes(damaged)


@given(st.sampled_from(RAW), st.data())
def test_a_damaged_envelope_is_read_as_the_oracle_reads_it(raw: bytes, data: st.DataObject) -> None:
    damaged = _damaged(raw, data)
    check(damaged)
    rows, bad = kombu.gather([raw, damaged, raw], 5)
    assert [tag for tag, _, _ in rows] == ([5, 6, 7] if not bad else [5, 7])
    try:
        marked = json.loads(kombu.mark(damaged, 7))
        assert marked["headers"]["x-fastq-deaths"] == 7 and marked["headers"]["redelivered"] is True
    except DecodeError:
        pass


@given(st.binary(max_size=60)
       | st.text(st.sampled_from('{}[],:"\\u0bodyheadrs \n1-eE.tfn'), max_size=40).map(str.encode))
@example(b'{"body":"\\ud83d\\u0041"}')
@example(b'{"body":"\\u12"}')
@example(b'{"body":"\\')
@example(b'{"headers":{"a":-}}')
@example(b'{"headers":{"a":01}}')
@example(b'{"headers":{"a":1.}}')
@example(b'{"headers":{"a":1e}}')
@example(b'{"headers":{"a":-Infinity,"b":Infinity,"c":NaN,"d":-0.0,"e":1E+2,"f":1e999}}')
@example(b'{"headers":{"a":-9223372036854775808,"b":-2147483648,"c":-2147483647}}')
@example(b'{"headers":{"a":9223372036854775808}}')
@example(b'{"headers":{"a":1,"a":2},"headers":{"b":1}}')
@example(b'{"headers":{"a":1},"headers":null,"body":"x"}')
@example(b'{"\\u0062ody":"x","properties":{"body_encodin\\u0067":"b\\u0061se64"}}')
@example(b'{"body":"eA==\\r\\n!","properties":{"body_encoding":"base64"}}')
@example(b'{"body":"eA=","properties":{"body_encoding":"base64"}}')
@example(b'\xef\xbb\xbf{"body":""}')
def test_any_bytes_end_in_a_content_or_a_clear_error(raw: bytes) -> None:
    check(raw)
