"""Conversations between py-amqp and RabbitMQ, recorded by a proxy: each byte is read, and written again the same."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fastq._ext import amqp, envelope
from tests.ext.amqpkit import CASES, drain, fed, streams
from tests.reference import amqp as plain
from tests.reference import frames, recorded

STREAMS = streams()
EACH = pytest.mark.parametrize("raw", [raw for _, raw in STREAMS], ids=[name for name, _ in STREAMS])
TABLES = ("server_properties", "client_properties", "arguments")


def undone(tag: str, it: Any) -> Any:
    """A value of the recorder's as typed bytes-and-numbers (tests.reference.amqp)."""
    if tag in "Sx":
        return it.encode() if isinstance(it, str) else base64.b64decode(it["b64"])
    if tag == "A":
        return [(inner, undone(inner, member)) for inner, member in it]
    return rows(it) if tag == "F" else it


def rows(listed: list[Any]) -> list[Any]:
    return [(name.encode(), tag, undone(tag, it)) for name, tag, it in listed]


def expected(node: dict[str, Any]) -> tuple[int, str, tuple[Any, ...]]:
    args = [plain.plain_rows(rows(it)) if name in TABLES else it for name, it in node["args"].items()
            if name != "ticket" and not name.startswith("reserved")]
    return node["channel"], node["method"], tuple(args)


@pytest.mark.parametrize("case", CASES)
def test_methods_have_the_arguments_that_the_recorder_read(case: str) -> None:
    for node in recorded.load(case)["frames"]:
        if node["frame"] == "METHOD":
            decoder = fed(base64.b64decode(node["raw_b64"]))
            if node["method"] in frames.CARRIERS:
                decoder.feed(amqp.content(node["channel"], b"\0\0\0\2\0\0", 4096))
            (event,) = drain(decoder)
            assert event[:3] == expected(node)


@pytest.mark.parametrize("case", CASES)
def test_methods_are_written_as_they_were_recorded(case: str) -> None:
    for node in recorded.load(case)["frames"]:
        if node["frame"] == "METHOD":
            channel, name, args = expected(node)
            assert amqp.method(channel, amqp.METHODS[name], *args) == base64.b64decode(node["raw_b64"])


@EACH
def test_a_whole_stream_is_read_as_by_the_oracle(raw: bytes) -> None:
    decoder = fed(raw)
    assert list(drain(decoder)) == list(frames.events(raw))
    assert decoder.is_idle


@EACH
def test_contents_are_written_as_they_were_recorded(raw: bytes) -> None:
    decoder = fed(raw)
    for channel, name, args, content in drain(decoder):
        if content is None:
            continue
        head = amqp.method(channel, amqp.METHODS[name], *args)
        whole = head + amqp.content(channel, content, 131072)
        assert whole in raw
        if name == "basic.publish":
            exchange, key, mandatory, _ = args
            assert amqp.publish(amqp.publisher(channel, exchange, key, mandatory), content, 131072) == whole


@EACH
def test_every_split_point_gives_the_same_events(raw: bytes) -> None:
    raw = raw[:6000]                # of the large ones the beginning, where the splits differ
    whole = list(drain(fed(raw)))
    for at in range(len(raw) + 1):
        decoder = fed(raw[:at])
        early = list(drain(decoder))
        decoder.feed(raw[at:])
        assert early + list(drain(decoder)) == whole


@EACH
def test_bytes_one_by_one_give_the_same_events(raw: bytes) -> None:
    raw = raw[:30000]
    decoder = amqp.Decoder()
    for at in range(len(raw)):
        decoder.feed(raw[at:at + 1])
    assert list(drain(decoder)) == list(drain(fed(raw)))


def test_a_large_content_is_one_event_however_it_comes() -> None:
    raw = next(raw for name, raw in STREAMS if name.startswith("amqp_raw_publish_large"))
    decoder = amqp.Decoder()
    for at in range(0, len(raw), 999):
        decoder.feed(raw[at:at + 999])
    (event,) = (it for it in drain(decoder) if it[1] == "basic.publish")
    assert event == next(it for it in frames.events(raw) if it[1] == "basic.publish")
    assert len(envelope.unpack(event[3])[2]) == 140000


def test_deliveries_of_a_watched_consumer_are_the_events_it_would_have_had() -> None:
    raw = dict(STREAMS)["amqp_raw_consume 1 broker_to_client"]
    deliveries = [it for it in frames.events(raw) if it[1] == "basic.deliver"]
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "None1", 5000)
    decoder.feed(raw)
    assert [it for it in frames.events(raw) if it[1] != "basic.deliver"] == list(drain(decoder))
    assert list(decoder.take(consumer, 100)) == [
        (5000 + args[1], args[2] << 31, content) for _, _, args, content in deliveries]
    assert decoder.is_idle


INTEGERS = recorded.load("amqp_integers")["integers"]
KNOWN = [row for row in INTEGERS if row["type"]]


def table_of(row: dict[str, Any]) -> bytes:
    return plain.long(b"\1n" + row["tag"].encode() + bytes.fromhex(row["payload"]))


@pytest.mark.parametrize("row", KNOWN, ids=lambda row: f"{row['tag']}{row['payload']}")
def test_integers_are_signed_and_unsigned_as_rabbitmq_has_them(row: dict[str, Any]) -> None:
    unbind = b"\0\x32\0\x32\0\0\0\0\0"
    ((_, _, args, _),) = drain(fed(frames.frame(frames.METHOD, 1, unbind + table_of(row))))
    headers = envelope.unpack(plain.long(b"\x20\0" + table_of(row)))[1]
    assert args[3] == headers == {"n": row["value"]}
    assert type(headers["n"]) is int


def test_every_integer_type_of_rabbitmq_was_recorded_and_we_write_none_that_it_does_not_know() -> None:
    known = {row["tag"] for row in KNOWN}
    assert known == set("bBsuIilL") and {row["tag"] for row in INTEGERS} - known == {"U"}
    for row in KNOWN:
        raw = envelope.pack({}, {"n": row["value"]}, b"")
        ((_, tag, value),) = plain.parse(raw)[1]
        assert tag in known and value == row["value"]
