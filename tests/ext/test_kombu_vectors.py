"""Envelopes that kombu wrote, through every reader and writer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from fastq._ext import envelope, kombu
from fastq.exceptions import DecodeError
from tests.reference import amqp, recorded
from tests.reference import kombu as plain
from tests.reference.recorded import Listed

LISTED = recorded.envelopes(
    "task_v2_*", "task_v1*", "routing_*", "redis_*", "control_redis_*", "event_redis_*", "result_*")
MARKED = [it for it in LISTED if "redelivered" in it.envelope["properties"]["delivery_info"]]
# A client may give properties that AMQP does not know; kombu's Redis keeps them, its AMQP drops them, and so do we.
FOREIGN = [it for it in LISTED if {"origin", "argsrepr"} & it.envelope["properties"].keys()]
SIMPLE = [it for it in LISTED if it not in MARKED and it not in FOREIGN]


def each(listed: list[Listed]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("listed", listed, ids=[it.case for it in listed])


def dumped(listed: Listed, content: bytes) -> bytes:
    properties = listed.envelope["properties"]
    info = properties["delivery_info"]
    return kombu.dump(content, info["exchange"], info["routing_key"], properties["delivery_tag"])


def test_there_are_as_many_envelopes_as_were_recorded() -> None:
    assert (len(LISTED), len(MARKED), len(FOREIGN)) == (127, 4, 2)


@each(LISTED)
def test_parse_reads_what_kombu_wrote(listed: Listed) -> None:
    properties, headers, body = envelope.unpack(kombu.parse(listed.raw))
    sent: dict[str, Any] = dict(listed.envelope["properties"])
    info = sent.pop("delivery_info")
    assert sent.pop("body_encoding") == "base64" and sent.pop("delivery_tag")
    sent.pop("origin", None), sent.pop("argsrepr", None), sent.pop("kwargsrepr", None)
    sent.update({name.replace("-", "_"): listed.envelope[name] for name in ("content-type", "content-encoding")})
    given = dict(listed.envelope["headers"])
    assert given.pop("redelivered", False) == info.get("redelivered", False)
    assert (properties, headers) == (sent, given)
    assert list(headers) == list(given)
    assert body == base64.b64decode(listed.envelope["body"])


@each(LISTED)
def test_the_oracle_reads_the_same(listed: Listed) -> None:
    assert kombu.parse(listed.raw) == plain.parse(listed.raw)


@each(SIMPLE)
def test_dump_writes_the_bytes_that_kombu_wrote(listed: Listed) -> None:
    assert dumped(listed, kombu.parse(listed.raw)) == listed.raw


def test_a_message_of_the_same_client_is_the_same_over_both_brokers() -> None:
    over_amqp = {message.properties["correlation_id"]: message for message in recorded.messages("task_v*")}
    assert len(over_amqp) > 50
    pairs = [(it, over_amqp[it.envelope["properties"]["correlation_id"]]) for it in recorded.envelopes("task_v*")
             if it.envelope["properties"]["correlation_id"] in over_amqp]
    assert len(pairs) > 50
    for listed, message in pairs:
        properties, rows, _ = amqp.parse(kombu.parse(listed.raw))
        sent, sent_rows, _ = amqp.parse(message.content)
        assert properties.keys() == sent.keys()
        assert [(name, tag) for name, tag, _ in rows] == [(name, tag) for name, tag, _ in sent_rows]


@each(MARKED)
def test_what_kombu_marked_is_what_was_sent_but_for_the_mark(listed: Listed) -> None:
    sent = json.loads(listed.raw)
    del sent["headers"]["redelivered"], sent["properties"]["delivery_info"]["redelivered"]
    assert json.loads(dumped(listed, kombu.parse(listed.raw))) == sent


@each(SIMPLE)
def test_mark_does_what_kombu_does_and_counts(listed: Listed) -> None:
    marked = json.loads(listed.raw)
    marked["headers"] |= {"redelivered": True, "x-fastq-deaths": 2}
    marked["properties"]["delivery_info"]["redelivered"] = True
    assert kombu.mark(listed.raw, 2) == json.dumps(marked).encode()
    assert kombu.deaths_of(kombu.parse(kombu.mark(listed.raw, 2))) == 2
    assert kombu.mark(kombu.mark(listed.raw, 1), 2) == kombu.mark(listed.raw, 2)


@each([it for it in LISTED if it.case in ("task_v2_headers", "task_v2_message_properties", "control_redis_ping")])
def test_an_envelope_cut_short_anywhere_is_an_error(listed: Listed) -> None:
    for end in range(len(listed.raw)):
        with pytest.raises(DecodeError, match="offset"):
            kombu.parse(listed.raw[:end])
        with pytest.raises(DecodeError, match="offset"):
            kombu.mark(listed.raw[:end], 1)


def test_what_a_worker_of_celery_was_given_is_read_or_refused_and_never_more() -> None:
    seen = [it["list_entry"] for it in recorded.load("minimal_messages_redis")["observations"] if "list_entry" in it]
    outcomes = {True: 0, False: 0}
    for entry in seen:
        raw = entry.encode() if isinstance(entry, str) else json.dumps(entry).encode()
        try:
            expected = plain.parse(raw)
        except plain.Malformed:
            expected = None
        outcomes[expected is not None] += 1
        if expected is None:
            with pytest.raises(DecodeError):
                kombu.parse(raw)
        else:
            assert kombu.parse(raw) == expected
    assert outcomes[True] > 20 and outcomes[False] >= 2
