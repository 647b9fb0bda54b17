"""Many envelopes as one batch, what is refused, and what a mark changes."""

from __future__ import annotations

import json
import os
import struct
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext import envelope, kombu
from fastq.exceptions import DecodeError, FrameError
from tests.ext import strategies
from tests.reference import amqp, recorded

RAW = recorded.envelopes("task_v2_json")[0].raw
MARKED, REDELIVERED = 1 << 30, 1 << 31


def headers_of(text: str) -> Any:
    return envelope.unpack(kombu.parse(b'{"headers": ' + text.encode() + b"}"))[1]


# --- gather ----------------------------------------------------------------------------------------------------------

@given(st.lists(strategies.contents | st.none(), max_size=8), st.integers(0, 2**63), st.sampled_from([0, REDELIVERED]))
def test_a_batch_holds_what_could_be_read_and_names_the_rest(
    contents: list[bytes | None], first: int, flags: int
) -> None:
    given_ = [b"{}" if content is None else kombu.dump(content, "", "q") for content in contents]
    rows, bad = kombu.gather(given_, first, flags)
    good = [(first + i, kombu.parse(given_[i])) for i, content in enumerate(contents) if content is not None]
    assert [(tag, content) for tag, _, content in rows] == good
    assert [deaths for _, deaths, _ in rows] == [flags | kombu.deaths_of(content) for _, content in good]
    assert [i for i, _ in bad] == [i for i, content in enumerate(contents) if content is None]
    assert len(rows) == len(good)
    raw = bytes(memoryview(rows))
    for tag, content in good:
        found, row_flags, n = struct.unpack_from("=QII", raw)
        mark = MARKED if any(name == b"x-fastq-deaths" for name, *_ in amqp.parse(content)[1] or ()) else 0
        assert (found, row_flags, raw[16:16 + n]) == (tag, flags | mark, content)
        raw = raw[16 + -(-n // 8) * 8:]
    assert raw == b""


def test_a_batch_counts_those_that_were_held_before() -> None:
    rows, bad = kombu.gather([RAW, kombu.mark(RAW, 2), RAW, kombu.mark(RAW, 1)], 1)
    assert (rows.marked, bad) == (2, [])
    assert [deaths for _, deaths, _ in rows] == [0, 2, 0, 1]


def test_nothing_and_much_are_batches_too() -> None:
    rows, bad = kombu.gather([], 1)
    assert (list(rows), bytes(memoryview(rows)), bad) == ([], b"", [])
    rows, bad = kombu.gather([RAW] * 5000, 1 << 40)
    assert (len(rows), rows[-1][0], rows[-1][2]) == (5000, (1 << 40) + 4999, kombu.parse(RAW))


def test_what_is_no_envelope_tells_its_reason() -> None:
    rows, bad = kombu.gather([None, b"junk", RAW, b'{"headers": {"big": 123456789012345678901}}'], 0)  # type: ignore[list-item]
    assert bad == [
        (0, "an envelope is bytes, not NoneType"), (1, "envelope, offset 0: expected an object"),
        (3, "envelope, offset 20: expected an integer of 64 bits at most (header 'big')"),
    ]
    assert [tag for tag, _, _ in rows] == [2]


@pytest.mark.parametrize("arguments", [(-1,), (1 << 64,), ("1",), (1, 1), (1, 1 << 30), (1, -1)])
def test_a_tag_or_flags_without_a_place_are_refused(arguments: Any) -> None:
    with pytest.raises(ValueError):
        kombu.gather([RAW], *arguments)


# --- parse and dump --------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("text", "reason"), [
    ("", "offset 0: expected an object"),
    ("[]", "offset 0: expected an object"),
    ("{}", "offset 2: expected a body or headers"),
    ('{"body": 1}', "offset 9: expected a text as the body"),
    ('{"body": "x"} y', "offset 14: expected nothing behind the envelope"),
    ('{"body": "x",}', "offset 13: expected the name of a member"),
    ('{"body": "a\nb"}', "offset 11: expected no control character in a text"),
    ('{"body": "\\ud800"}', "offset 10: expected no lone surrogate in a text"),
    ('{"headers": []}', "offset 12: expected an object"),
    ('{"headers": {"a": 18446744073709551616}}',
     r"offset 18: expected an integer of 64 bits at most \(header 'a'\)"),
    ('{"headers": {"a": [9223372036854775808]}}',
     r"offset 19: expected an integer of 64 bits at most \(header 'a'\)"),
    ('{"headers": {"%s": 1}}' % ("a" * 256), "offset 14: expected a name of 255 bytes at most"),
    ('{"body": "x", "properties": 1}', "offset 28: expected an object"),
    ('{"body": "x", "properties": {"correlation_id": []}}', r"expected a text \(property 'correlation_id'\)"),
    ('{"body": "x", "properties": {"reply_to": "%s"}}' % ("a" * 256),
     r"expected a property of 255 bytes at most \(property 'reply_to'\)"),
    ('{"body": "x", "properties": {"timestamp": -1}}', r"expected a time from 1970 on \(property 'timestamp'\)"),
    ('{"body": "x", "properties": {"body_encoding": "zip"}}', "expected base64 or utf-8 as body_encoding"),
    ('{"body": "x", "properties": {"body_encoding": "base64"}}', "offset 10: expected base64"),
])
def test_what_is_no_envelope_is_refused_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        kombu.parse(text.encode())


@pytest.mark.parametrize("brackets", ["[]", '{"a":}'])
def test_nesting_has_a_bound_wherever_it_stands(brackets: str) -> None:
    opening, closing = brackets[:-1], brackets[-1]
    for where in ('{"headers": {"h": %s}}', '{"body": "", "other": %s}', '{"body": "", "properties": {"other": %s}}'):
        kombu.parse((where % (opening * 60 + "1" + closing * 60)).encode())
        for depth in (70, 100_000):
            deep = (where % (opening * depth + "1" + closing * depth)).encode()
            with pytest.raises(DecodeError, match="at most 64 nested"):
                kombu.parse(deep)
            with pytest.raises(DecodeError, match="at most 64 nested"):
                kombu.mark(deep, 1)


def test_tables_as_deep_as_they_may_be_go_both_ways() -> None:
    deep: Any = 1
    for _ in range(63):
        deep = {"a": deep}
    content = envelope.pack({}, {"h": deep}, b"")
    raw = kombu.dump(content, "", "q")
    assert envelope.unpack(kombu.parse(raw))[1] == {"h": deep}
    assert kombu.deaths_of(kombu.parse(kombu.mark(raw, 4))) == 4


def test_types_that_only_kombu_has_stay_what_they_are_on_the_wire() -> None:
    text = ('{"u": {"__type__": "uuid", "__value__": {"hex": "00"}}, '
            '"d": {"__type__": "date", "__value__": "2031-02-03"}}')
    assert headers_of(text) == json.loads(text)
    raw = kombu.dump(kombu.parse(b'{"headers": ' + text.encode() + b"}"), "", "q")
    assert json.loads(raw)["headers"] == json.loads(text)


def test_the_mark_of_kombu_is_no_header_but_one_of_the_sender_is() -> None:
    info = b', "properties": {"delivery_info": {"redelivered": true}}}'
    between = b'{"headers": {"a": 1, "redelivered": true, "b": 2}' + info
    assert envelope.unpack(kombu.parse(between))[1] == {"a": 1, "b": 2}
    assert envelope.unpack(kombu.parse(b'{"headers": {"redelivered": "x"}' + info))[1] == {"redelivered": "x"}
    assert headers_of('{"redelivered": true}') == {"redelivered": True}


def test_a_malformed_content_is_refused_with_its_place() -> None:
    content = kombu.parse(RAW)
    for end in range(int.from_bytes(content[:4], "big") + 4):
        with pytest.raises(FrameError, match="packed content, offset"):
            kombu.dump(content[:end], "", "q")
        with pytest.raises(FrameError, match="packed content, offset"):
            kombu.deaths_of(content[:end])


def test_delivery_tags_are_new_uuids_in_a_forked_child_too() -> None:
    content = kombu.parse(RAW)

    def tags(n: int) -> list[str]:
        return [json.loads(kombu.dump(content, "", "q"))["properties"]["delivery_tag"] for _ in range(n)]

    made = tags(1000)
    assert len(set(made)) == 1000
    assert all(uuid.UUID(tag).version == 4 and str(uuid.UUID(tag)) == tag for tag in made)
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writes, " ".join(tags(10)).encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reads, 4096).decode().split()
    os.close(reads), os.close(writes)
    assert len({*theirs, *tags(10)}) == 20


@pytest.mark.parametrize("arguments", [(None, "q"), ("", 1), ("", "q", 5)])
def test_dump_wants_texts(arguments: Any) -> None:
    with pytest.raises(TypeError, match="must be text"):
        kombu.dump(kombu.parse(RAW), *arguments)


# --- mark ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize(("before", "after"), [
    (b' {"headers" : { } , "properties":{"delivery_info":{}}, "body":null } ',
     b' {"headers" : { "redelivered": true, "x-fastq-deaths": 3} , '
     b'"properties":{"delivery_info":{"redelivered": true}}, "body":null } '),
    (b'{"body": "a"}', b'{"body": "a", "headers": {"redelivered": true, "x-fastq-deaths": 3}}'),
    (b'{"body": "a", "headers": null}',
     b'{"body": "a", "headers": {"redelivered": true, "x-fastq-deaths": 3}}'),
    (b'{"headers":{"x-fastq-deaths":[1],"redelivered":false,"big":123456789012345678901}, "properties": {}}',
     b'{"headers":{"x-fastq-deaths":3,"redelivered":true,"big":123456789012345678901}, "properties": {}}'),
    (b'{"headers":{"h":{"redelivered":0}},"properties":{"delivery_info":null,"x":{"redelivered":0}}}',
     b'{"headers":{"h":{"redelivered":0}, "redelivered": true, "x-fastq-deaths": 3},'
     b'"properties":{"delivery_info":null,"x":{"redelivered":0}}}'),
])
def test_mark_changes_what_it_must_and_nothing_else(before: bytes, after: bytes) -> None:
    assert kombu.mark(before, 3) == after
    assert kombu.mark(after, 3) == after


@pytest.mark.parametrize("raw", [b"", b"[]", b"{}", b'{"headers": []}', b'{"body": "", "properties": 1}', b'{"body"'])
def test_mark_refuses_what_is_no_envelope(raw: bytes) -> None:
    with pytest.raises(DecodeError, match="envelope, offset"):
        kombu.mark(raw, 1)


@pytest.mark.parametrize("deaths", [-1, 1 << 31, "1", None])
def test_mark_refuses_what_is_no_count(deaths: Any) -> None:
    with pytest.raises(ValueError):
        kombu.mark(RAW, deaths)
