"""Replies of Redis: beside hiredis, in whatever pieces they come, and what is none."""

from __future__ import annotations

from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext import kombu
from fastq._ext.resp import Bulks, Reader
from tests.reference import recorded

RAW = recorded.envelopes("task_v2_json")[0].raw


class NoReply(Exception):
    """What is raised for bytes that are no reply."""


class ErrorReply(Exception):
    """What an error reply becomes."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErrorReply) and self.args == other.args

    def __hash__(self) -> int:
        return hash(self.args)


def reader() -> Reader:
    return Reader(..., NoReply, ErrorReply)


def hiredis_reader() -> Any:
    return hiredis.Reader(notEnoughData=..., protocolError=NoReply, replyError=ErrorReply)  # type: ignore[arg-type]


def wire(reply: Any) -> bytes:
    """The bytes of a reply; text stands for a status."""
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, list):
        return b"*%d\r\n" % len(reply) + b"".join(map(wire, reply))
    if isinstance(reply, ErrorReply):
        return b"-%b\r\n" % str(reply).encode()
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    return b"+%b\r\n" % reply.encode() if isinstance(reply, str) else b"$%d\r\n%b\r\n" % (len(reply), reply)


def plain(reply: Any) -> Any:
    """A reply as a reader gives it."""
    if isinstance(reply, list):
        return list(map(plain, reply))
    return reply.encode() if isinstance(reply, str) else reply


def unpacked(reply: Any) -> Any:
    return list(map(unpacked, reply)) if isinstance(reply, (list, Bulks)) else reply


def all_of(source: Any) -> list[Any]:
    found = []
    while (reply := source.gets()) is not ...:
        found.append(reply)
    return found


lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20)
flat = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40), lines, lines.map(ErrorReply))
replies = st.recursive(flat, lambda it: st.lists(it, max_size=5) | st.lists(st.binary(), max_size=9), max_leaves=20)


@given(st.lists(replies, max_size=5), st.data())
def test_replies_come_out_whatever_the_pieces(said: list[Any], data: st.DataObject) -> None:
    raw = b"".join(map(wire, said))
    cuts = data.draw(st.lists(st.integers(0, len(raw)), max_size=8).map(sorted))
    ours, theirs = reader(), hiredis_reader()
    found, expected = [], []
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        ours.feed(raw, start, end - start)
        theirs.feed(raw[start:end])
        found += all_of(ours)
        expected += all_of(theirs)
        assert found == expected
    assert found == list(map(plain, said))


@given(replies)
def test_a_reply_is_there_with_its_last_byte(said: Any) -> None:
    raw = wire(said)
    source = reader()
    for at in range(len(raw)):
        assert source.gets(True) is ...
        source.feed(raw, at, 1)
    assert unpacked(source.gets(True)) == plain(said)
    assert source.gets() is ...


@given(replies, st.data())
def test_what_is_changed_is_a_value_an_error_or_not_enough(said: Any, data: st.DataObject) -> None:
    raw = bytearray(wire([said, said]))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.sampled_from(b"*$:+-\r\n0129\0") | st.integers(0, 255))
    source = reader()
    source.feed(bytes(raw))
    try:
        found = all_of(source)
    except NoReply as error:
        assert "expected" in str(error)
        with pytest.raises(NoReply):
            source.gets()
    else:
        theirs = hiredis_reader()
        theirs.feed(bytes(raw))
        assert found == all_of(theirs)


@given(st.binary(max_size=60))
def test_any_bytes_end_in_a_value_an_error_or_not_enough(raw: bytes) -> None:
    source = reader()
    source.feed(raw)
    try:
        all_of(source)
    except NoReply as error:
        assert "expected" in str(error)


@pytest.mark.parametrize("raw", [
    b"?", b"%1\r\n", b"_\r\n", b">1\r\n", b":\r\n", b":1 \r\n", b":-\r\n", b":1\n", b":1\r3",
    b":01\r\n", b":-0", b"$01",
    b"$-2\r\n", b"$x", b"*-2\r\n", b"*4294967296\r\n", b":9223372036854775808\r\n",
    b":-9223372036854775809\r\n", b"$1\r\nab\r\n", b"$0\r\n\n\r",
    b"+a\n", b"+a\rb\r\n", b"+" + b"a" * 65536, b"-" + b"a" * 70000 + b"\r\n", b"*1\r\n" * 9, b"*1\r\n?",
    b"$" + b"0" * 30,
])
def test_what_is_no_reply_is_refused(raw: bytes) -> None:
    source = reader()
    source.feed(raw)
    for _ in range(2):
        with pytest.raises(NoReply, match="expected"):
            source.gets()
        source.feed(b":1\r\n")


@pytest.mark.parametrize("raw", [
    b"", b":", b":-", b"$9223372036854775807\r\nab", b"*4294967295\r\n:1\r\n", b"*1\r\n" * 8, b"+a",
    b"$3\r\nabc\r", b":12\r",
])
def test_what_may_become_a_reply_is_waited_for(raw: bytes) -> None:
    source = reader()
    source.feed(raw)
    assert source.gets() is ... is source.gets(True)


def test_only_lists_of_bytes_inside_another_are_packed() -> None:
    source = reader()
    source.feed(wire([1, [b"a", b"bc"], [b"a", None], [b"a", 1], [], [[b"d"]], b"e"]) + wire([b"f"]))
    reply = source.gets(True)
    assert [type(it) for it in reply] == [int, Bulks, list, list, list, list, bytes]
    assert (len(reply[1]), list(reply[1]), bytes(reply[1])) == (2, [b"a", b"bc"], b"$1\r\na\r\n$2\r\nbc\r\n")
    assert unpacked(reply) == [1, [b"a", b"bc"], [b"a", None], [b"a", 1], [], [[b"d"]], b"e"]
    assert source.gets(True) == [b"f"]
    assert (len(Bulks()), list(Bulks()), bytes(Bulks())) == (0, [], b"")


def test_what_is_packed_outlives_its_reader() -> None:
    source, kept = reader(), []
    for n in range(60):
        raw = wire([[b"%d" % n * 5000] * 3])
        source.feed(raw, 0, 7)
        source.feed(raw, 7)
        kept.append(source.gets(True)[0])
        source.feed(b"$1000000\r\n")
        source.feed(b"x" * 1_000_000 + b"\r\n")
        assert source.gets() == b"x" * 1_000_000
    del source
    assert [set(bulks) for bulks in kept] == [{b"%d" % n * 5000} for n in range(60)]


@pytest.mark.parametrize(("start", "count"), [(-1, 1), (0, 4), (4, 0), (1, 3), (2**62, 2**62)])
def test_bytes_that_are_not_there_cannot_be_fed(start: int, count: int) -> None:
    with pytest.raises(ValueError, match="3 bytes"):
        reader().feed(b"abc", start, count)


@given(st.lists(st.just(RAW) | st.just(kombu.mark(RAW, 2)) | st.binary(max_size=30), min_size=1, max_size=20))
def test_what_is_packed_is_gathered_as_bytes_are(envelopes: list[bytes]) -> None:
    source = reader()
    source.feed(wire([envelopes]))
    (bulks,) = source.gets(True)
    assert type(bulks) is Bulks
    rows, bad = kombu.gather(bulks, 7)
    expected, expected_bad = kombu.gather(envelopes, 7)
    assert (bytes(rows), rows.marked, bad) == (bytes(expected), expected.marked, expected_bad)
