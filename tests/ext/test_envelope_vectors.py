"""Messages that Celery sent, through every reader and writer."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from fastq._ext import envelope
from fastq.exceptions import FrameError
from tests.reference import amqp, recorded
from tests.reference.recorded import Recorded

PROP_HEADERS = 0x2000
MESSAGES = recorded.messages("task_v2_*", "task_v1*", "routing_*", "delayed_delivery_*")
# RabbitMQ rewrites the headers of a dead-lettered message with types (l, T) that clients do not write.
WRITTEN = [message for message in MESSAGES if "x-death" not in message.headers]
JSON = [
    message for message in WRITTEN
    if message.properties.get("content_type") == "application/json" and "compression" not in message.headers
]


def each(messages: list[Recorded]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("message", messages, ids=[message.case for message in messages])


def as_recorded(value: Any) -> Any:
    if isinstance(value, datetime):
        return int(value.timestamp())
    if isinstance(value, dict):
        return {name: as_recorded(member) for name, member in value.items()}
    return [as_recorded(member) for member in value] if isinstance(value, list) else value


def test_there_are_as_many_messages_as_were_recorded() -> None:
    assert (len(MESSAGES), len(WRITTEN), len(JSON)) == (77, 75, 59)


@each(MESSAGES)
def test_unpack_reads_what_celery_sent(message: Recorded) -> None:
    properties, headers, body = envelope.unpack(message.content)
    assert properties == message.properties
    assert as_recorded(headers) == message.headers
    assert list(headers) == [name for name, _, _ in message.headers_typed]
    assert body == message.body


@each(WRITTEN)
def test_pack_writes_the_bytes_that_celery_sent(message: Recorded) -> None:
    headers = message.headers if message.flags & PROP_HEADERS else None
    in_order = headers and {name: headers[name] for name, _, _ in message.headers_typed}
    assert envelope.pack(message.properties, in_order, message.body) == message.content


@each(MESSAGES)
def test_scan_finds_what_a_worker_must_know(message: Recorded) -> None:
    found = envelope.scan(message.content)
    headers, properties = message.headers, message.properties
    for name in ("task", "id", "root_id", "parent_id", "group", "eta", "expires", "compression", "ignore_result"):
        assert found[name] == headers.get(name)
    assert [found["hard_s"], found["soft_s"]] == headers.get("timelimit", [None, None])
    assert found["retries"] == headers.get("retries", 0)
    for name in ("content_type", "content_encoding", "reply_to", "correlation_id"):
        assert found[name] == properties.get(name)  # type: ignore[literal-required]
    assert found["priority"] == properties.get("priority", 0)
    assert found["body"] == message.body
    assert found["flags"] == (0 if "task" in headers else envelope.SCAN_V1)


@each(MESSAGES)
def test_the_oracle_agrees_with_what_was_recorded(message: Recorded) -> None:
    _, rows, body = amqp.parse(message.content)
    assert as_recorded(amqp.plain_rows(rows)) == message.headers
    assert body == message.body
    assert amqp.scan(message.content) == envelope.scan(message.content)


@each(JSON)
def test_dumps_writes_the_body_that_celery_sent(message: Recorded) -> None:
    assert envelope.dumps(json.loads(message.body)) == message.body


@each([message for message in JSON if message.flags in (0xFE00, 0xF600) and message.headers])
def test_a_template_writes_the_messages_of_celery(message: Recorded) -> None:
    headers, properties = dict(message.headers), dict(message.properties)
    task_id, root_id, parent_id = headers.pop("id"), headers.pop("root_id"), headers.pop("parent_id")
    assert properties.pop("correlation_id") == task_id
    template = envelope.TaskTemplate(headers.pop("task"), headers=headers, lean=False, properties=properties,
                                     content_type=properties.pop("content_type"),
                                     content_encoding=properties.pop("content_encoding"))
    assert template.encode_body(task_id, message.body, root_id, parent_id) == message.content
    args, kwargs, embed = json.loads(message.body)
    if not any(embed.values()):
        assert template.encode(task_id, args, kwargs, root_id, parent_id) == message.content


@each([MESSAGES[0], *recorded.messages("task_v2_json", "task_v2_headers", "delayed_delivery_5s")])
def test_a_message_cut_short_anywhere_is_an_error(message: Recorded) -> None:
    whole = len(message.content) - len(message.body)
    for end in range(whole):
        with pytest.raises(FrameError, match="offset"):
            envelope.scan(message.content[:end])
        with pytest.raises(FrameError, match="offset"):
            envelope.unpack(message.content[:end])
    assert envelope.scan(message.content[:whole])["body"] == b""


@each(recorded.messages("task_v2_headers", "delayed_delivery_5s"))
def test_properties_cut_short_behind_a_right_length_are_an_error(message: Recorded) -> None:
    listed = message.content[4:len(message.content) - len(message.body)]
    for end in range(len(listed)):
        cut = end.to_bytes(4, "big") + listed[:end] + message.body
        with pytest.raises(FrameError):
            envelope.scan(cut)
        with pytest.raises(FrameError):
            envelope.unpack(cut)


def test_messages_of_kombu_for_redis_survive_the_way_through_packed_content() -> None:
    seen = [observation["list_entry"] for observation in recorded.load("minimal_messages_redis")["observations"]]
    entries = [entry for entry in seen if isinstance(entry, dict) and {"properties", "headers"} <= entry.keys()]
    assert len(entries) > 20
    for entry in entries:
        body = entry["body"].encode()
        content = envelope.pack(entry["properties"], entry["headers"], body)
        properties, headers, unpacked = envelope.unpack(content)
        assert (headers, unpacked) == (entry["headers"], body)
        assert properties.items() <= entry["properties"].items()
        assert envelope.scan(content) == amqp.scan(content)
