"""kombu reads what we write into a list, and we read what kombu puts there; no server is needed."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from kombu import Connection
from kombu.transport.virtual import Channel
from kombu.utils.json import dumps, loads

from fastq._ext import envelope, kombu

MOMENT = datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc)
HEADERS: dict[str, Any] = {
    "task": "proj.add", "id": "é\U0001f600\x7f\\\"\n", "retries": 3, "timelimit": [None, 2.5], "at": MOMENT,
    "price": Decimal("3.140"), "raw": b"\xff\x00", "stamps": {"a": [1, {"b": False}]}, "big": -(2**63), "real": 1e-9,
}
PROPERTIES: dict[str, Any] = {
    "content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 2, "priority": 7,
    "correlation_id": "1", "reply_to": "r", "expiration": "1000", "message_id": "m", "timestamp": 1700000000,
    "type": "t", "user_id": "u", "app_id": "a", "cluster_id": "c",
}
BODY = '[[2, "é"], {}, {}]'.encode()


@pytest.fixture
def channel() -> Iterator[Channel]:
    with Connection("memory://") as connection:
        yield connection.default_channel


def test_kombu_reads_what_we_write(channel: Channel) -> None:
    raw = kombu.dump(envelope.pack(PROPERTIES, HEADERS, BODY), "e", "k", "tag-1")
    message = channel.message_to_python(loads(raw))
    assert (message.delivery_tag, message.content_type, message.content_encoding) == (
        "tag-1", "application/json", "utf-8")
    assert message.headers == HEADERS and list(message.headers) == list(HEADERS)
    assert message.delivery_info == {"exchange": "e", "routing_key": "k"}
    sent = {name: value for name, value in PROPERTIES.items() if not name.startswith("content_")}
    assert {name: message.properties[name] for name in sent} == sent
    assert message.properties.keys() - sent.keys() == {"delivery_info", "body_encoding", "delivery_tag"}
    assert message.body == BODY and message.decode() == [[2, "é"], {}, {}]


def test_we_read_what_kombu_writes(channel: Channel) -> None:
    assert envelope.unpack(kombu.parse(written(channel, BODY, HEADERS))) == (PROPERTIES, HEADERS, BODY)


def test_what_kombu_would_write_is_what_we_write(channel: Channel) -> None:
    raw = written(channel, BODY, HEADERS)
    told = loads(raw)["properties"]
    ours = kombu.dump(kombu.parse(raw), "e", "k", told["delivery_tag"])
    assert loads(ours) == loads(raw)
    assert loads(ours)["headers"]["raw"] == b"\xff\x00"


def test_a_header_that_amqp_has_no_type_for_goes_through(channel: Channel) -> None:
    headers = {"uuid": UUID(int=5), "day": MOMENT.date(), "hour": MOMENT.time()}
    ours = kombu.dump(kombu.parse(written(channel, BODY, headers)), "e", "k")
    assert loads(ours)["headers"] == headers


def written(channel: Channel, body: bytes, headers: dict[str, Any]) -> bytes:
    """What kombu's Redis transport gives to LPUSH."""
    given = {name: value for name, value in PROPERTIES.items() if not name.startswith("content_")}
    message = channel.prepare_message(body, None, "application/json", "utf-8", headers, given)
    channel._inplace_augment_message(message, "e", "k")
    return dumps(message).encode()
