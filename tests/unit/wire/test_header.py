"""Headers changed in the bytes of packed content."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from fastq._ext import envelope
from fastq.exceptions import FrameError
from fastq.wire.header import revise
from tests.ext import strategies
from tests.reference import amqp


@given(strategies.properties, strategies.rows)
def test_what_is_not_named_keeps_its_bytes(properties: dict[str, Any], rows: list[Any]) -> None:
    content = amqp.content(properties, rows, b"body")
    changed, headers, body = amqp.parse(revise(content, {"x-new": 7, "task": "other"}, ("id",)))
    kept = [row for row in rows if row[0] not in (b"x-new", b"task") and not row[0].startswith(b"id")]
    assert (changed, body) == (properties, b"body")
    # repr, since a float may be NaN
    assert repr(headers) == repr([*kept, (b"x-new", "I", 7), (b"task", "S", b"other")])


@given(strategies.contents)
def test_nothing_asked_changes_nothing(content: bytes) -> None:
    assert revise(content) == content


@given(strategies.properties, strategies.rows)
def test_the_expiration_can_be_left_out(properties: dict[str, Any], rows: list[Any]) -> None:
    changed, headers, _ = amqp.parse(revise(amqp.content(properties, rows, b""), keep_expiration=False))
    assert changed == {name: value for name, value in properties.items() if name != "expiration"}
    assert len(headers) == len(rows)


def test_content_without_headers_gets_a_table_only_when_it_needs_one() -> None:
    bare = envelope.pack({"priority": 3}, None, b"x")
    assert revise(bare, drop=("x-",)) == bare
    assert envelope.unpack(revise(bare, {"a": 1})) == ({"priority": 3}, {"a": 1}, b"x")


@given(strategies.contents)
def test_truncated_content_is_a_frame_error_or_shorter_body(content: bytes) -> None:
    for end in range(len(content)):
        try:
            envelope.unpack(content[:end])
        except FrameError:
            with pytest.raises(FrameError):
                revise(content[:end], {"a": 1})
