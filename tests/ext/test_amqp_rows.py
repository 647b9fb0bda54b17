"""A taken batch: a sequence of deliveries, and the records behind it."""

from __future__ import annotations

import gc
import struct
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq import types
from fastq._ext import amqp
from tests.ext import strategies
from tests.reference import amqp as plain
from tests.reference import frames

MARKED = 1 << 30


def fed(*contents: bytes, again: Sequence[int] = (), base: int = 0) -> amqp.Decoder:
    """A decoder whose consumer 0 has gathered the tags 1, 2, ..., those of *again* redelivered."""
    decoder = amqp.Decoder()
    decoder.watch(1, "c", base)
    for tag, content in enumerate(contents, 1):
        decoder.feed(frames.method(1, "basic.deliver", "c", tag, tag in again, "e", "k"))
        decoder.feed(frames.content(1, content, 1000))
    return decoder


def batch(*contents: bytes, again: Sequence[int] = (), base: int = 0) -> amqp.Rows:
    """All that a decoder has gathered of them."""
    return fed(*contents, again=again, base=base).take(0, len(contents))


def records(raw: bytes) -> list[tuple[int, int, bytes]]:
    found, at = [], 0
    while at < len(raw):
        tag, flags, n = struct.unpack_from("=QII", raw, at)
        found.append((tag, flags, raw[at + 16:at + 16 + n]))
        padded = at + 16 + -(-n // 8) * 8
        assert not any(raw[at + 16 + n:padded])
        at = padded
    assert at == len(raw)
    return found


def deaths(tag: str, value: Any) -> bytes:
    return plain.content({}, [(b"x-fastq-deaths", tag, value)], b"")


@given(st.lists(strategies.contents, max_size=8), st.sets(st.integers(1, 8)), st.integers(0, 2**62 - 1))
def test_rows_are_the_records_of_their_buffer(contents: list[bytes], again: set[int], base: int) -> None:
    rows = batch(*contents, again=sorted(again), base=base)
    found = [(tag, flags & ~MARKED, content) for tag, flags, content in records(bytes(memoryview(rows)))]
    assert found == [(base + tag, (tag in again) << 31, content) for tag, content in enumerate(contents, 1)]
    counted = [(tag, flags | plain.scan(content)["deaths"], content) for tag, flags, content in found]
    assert list(rows) == list(reversed(list(reversed(rows)))) == rows[:] == counted
    assert [rows[i] for i in range(len(rows))] == [rows[i - len(rows)] for i in range(len(rows))] == counted
    assert rows[1:-1] == counted[1:-1] and rows[::-2] == counted[::-2]


@pytest.mark.parametrize(("content", "expected"), [
    (deaths("I", 2), 2), (deaths("b", 3), 3), (deaths("V", None), 0), (deaths("I", -1), 0), (deaths("S", b"2"), 0),
    (plain.content({}, None, b""), 0), (b"\0\0\0\2\0\1", 0), (deaths("L", 2**31 - 1), 2**31 - 1),
])
def test_deaths_are_counted_by_the_header_and_a_redelivery_is_marked(content: bytes, expected: int) -> None:
    first, second = batch(content, content, again=[2])
    assert first[1] == expected
    assert second[1] == expected | types.UNCOUNTED


def test_rows_with_the_header_of_deaths_are_marked() -> None:
    marked, plain_one = deaths("I", 2), plain.content({}, None, b"x-fastq-deaths in a body")
    rows = batch(marked, plain_one, marked)
    assert rows.marked == 2
    assert [flags & MARKED for _, flags, _ in records(bytes(memoryview(rows)))] == [MARKED, 0, MARKED]


def test_a_part_of_a_batch_knows_its_own_marked_rows() -> None:
    decoder = fed(deaths("I", 1), plain.content({}, None, b""), deaths("I", 1))
    assert [decoder.take(0, 1).marked for _ in range(3)] == [1, 0, 1]


def test_rows_are_a_sequence() -> None:
    rows = batch(*(plain.content({}, None, bytes([n])) for n in range(3)))
    assert isinstance(rows, Sequence) and len(rows) == 3
    assert rows[1] in rows and (9, 0, b"") not in rows
    assert rows.index(rows[2]) == 2 and rows.count(rows[0]) == 1
    for index in (3, -4, 2**40):
        with pytest.raises(IndexError, match=f"no row {index} among 3"):
            rows[index]
    with pytest.raises(TypeError):
        rows["1"]  # type: ignore[call-overload]


def test_no_rows_are_an_empty_sequence_with_an_empty_buffer() -> None:
    rows = batch()
    assert not rows and list(rows) == rows[:] == [] and bytes(memoryview(rows)) == b""
    with pytest.raises(IndexError):
        rows[0]


def test_the_buffer_of_rows_cannot_be_written_and_keeps_them_alive() -> None:
    rows = batch(plain.content({}, None, b"x" * 10000))
    view = memoryview(rows)
    wanted = bytes(view)
    assert view.readonly
    with pytest.raises(TypeError):
        view[0] = 0
    iterator = iter(rows)
    del rows
    gc.collect()
    assert bytes(view) == wanted and len(next(iterator)[2]) == 10006


def test_what_the_decoder_receives_later_does_not_change_what_was_taken() -> None:
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "c")
    taken: list[tuple[amqp.Rows, bytes]] = []
    for tag in range(1, 400):
        content = plain.content({}, None, bytes([tag % 256]) * (tag * 7 % 500))
        decoder.feed(frames.method(1, "basic.deliver", "c", tag, False, "", "k") + frames.content(1, content, 100))
        if tag % 3 == 0:
            rows = decoder.take(consumer, tag % 5)
            taken.append((rows, bytes(memoryview(rows))))
    taken.append((rest := decoder.take(consumer, 1000), bytes(memoryview(rest))))
    assert all(bytes(memoryview(rows)) == raw for rows, raw in taken)
    assert [row[0] for rows, _ in taken for row in rows] == list(range(1, 400))
