"""Frames that we write: as the oracle writes them, and errors that name what has no form on the wire."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext import amqp, envelope
from tests.ext import strategies
from tests.ext.amqpkit import drain, fed, plainly
from tests.reference import amqp as plain
from tests.reference import frames

M = amqp.METHODS
DEEP: Any = {}
for _ in range(70):
    DEEP = {"x": DEEP}

KINDS: dict[str, st.SearchStrategy[Any]] = {
    "octet": st.integers(0, 255), "short": st.integers(0, 2**16 - 1), "long": st.integers(0, 2**32 - 1),
    "longlong": st.integers(0, 2**64 - 1), "shortstr": st.text(max_size=60), "longstr": st.text(max_size=300),
    "bit": st.booleans(), "table": strategies.headers,
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, tuple[Any, ...]]:
    name = draw(st.sampled_from(sorted(frames.SYNTAX)))
    syntax = frames.SYNTAX[name][2].split()
    return name, tuple(draw(KINDS[kind]) for kind in syntax if kind in KINDS)


def test_the_methods_are_those_of_the_specification_and_of_rabbitmq() -> None:
    assert {name: family << 16 | number for name, (family, number, _) in frames.SYNTAX.items()} == M
    for name, (_, _, syntax) in frames.SYNTAX.items():
        assert len(amqp.FIELDS[M[name]]) == len([kind for kind in syntax.split() if kind in KINDS])


@given(st.integers(0, 65535), calls())
def test_methods_are_written_as_by_the_oracle(channel: int, call: tuple[str, tuple[Any, ...]]) -> None:
    name, args = call
    assert amqp.method(channel, M[name], *args) == frames.method(channel, name, *args)


@given(calls())
def test_what_is_written_is_read_as_by_the_oracle(call: tuple[str, tuple[Any, ...]]) -> None:
    name, args = call
    channel = 0 if name.startswith("connection.") else 3
    raw = frames.method(channel, name, *args)
    if name in frames.CARRIERS:
        raw += frames.content(channel, b"\0\0\0\2\0\0", 100)
    ((_, _, found, _),) = drain(fed(raw))
    # Not equal to *args* in every case: a time without zone comes back with one.
    assert plainly(found) == plainly(next(frames.events(raw))[2])


def test_bytes_that_are_no_text_may_be_long_strings() -> None:
    raw = amqp.method(0, M["connection.secure-ok"], b"\xff\0")
    assert list(drain(fed(raw))) == [(0, "connection.secure-ok", (b"\xff\0",), None)]


@pytest.mark.parametrize(("name", "args", "error", "message"), [
    ("basic.qos", (0, 1), TypeError, "basic.qos takes prefetch_size, prefetch_count, global; 2 arguments were given"),
    ("tx.commit", (0,), TypeError, "tx.commit takes no arguments; 1 arguments were given"),
    ("basic.qos", (0, 65536, False), ValueError, "basic.qos: prefetch_count: 65536 is no unsigned integer of 16 bits"),
    ("basic.qos", (-1, 0, False), ValueError, "basic.qos: prefetch_size: -1 is no unsigned integer of 32 bits"),
    ("basic.qos", ("0", 0, False), TypeError, "basic.qos: prefetch_size: an integer is needed, not str"),
    ("basic.qos", (0, 0, "no"), TypeError, "basic.qos: global: a bool is needed, not str"),
    ("basic.ack", (2**64, False), ValueError, "basic.ack: delivery_tag: 18446744073709551616 is no unsigned"),
    ("basic.cancel", ("x" * 256, False), ValueError, "basic.cancel: consumer_tag: a name may have 255 bytes"),
    ("basic.cancel", (None, False), TypeError, "basic.cancel: consumer_tag: a name must be text, not NoneType"),
    ("connection.secure", (1,), TypeError, "connection.secure: challenge: text or bytes are needed, not int"),
    ("queue.unbind", ("", "", "", []), TypeError, "queue.unbind: arguments: a dict is needed, not list"),
    ("queue.unbind", ("", "", "", {"a": 2**63}), ValueError, "queue.unbind: arguments: an integer may have 64 bits"),
    ("queue.unbind", ("", "", "", {"a": {1}}), TypeError, "queue.unbind: arguments: set has no form in a table"),
    ("queue.unbind", ("", "", "", DEEP), ValueError, "queue.unbind: arguments: tables may be nested 64 deep"),
])
def test_an_error_names_method_and_argument(name: str, args: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        amqp.method(1, M[name], *args)


@pytest.mark.parametrize("channel", [-1, 65536, "1", None])
def test_a_channel_has_sixteen_bits(channel: Any) -> None:
    for write in (lambda: amqp.method(channel, M["tx.select"]), lambda: amqp.content(channel, b"", 4096),
                  lambda: amqp.publisher(channel, "", "q")):
        with pytest.raises(ValueError, match="a channel is an integer from 0 to 65535"):
            write()


@pytest.mark.parametrize("number", [0, 60, 60 << 16 | 61, 30 << 16 | 10, 2**32 - 1])
def test_an_unknown_method_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match=f"no method has the number {number}"):
        amqp.method(1, number)


# --- contents --------------------------------------------------------------------------------------------------------

@given(strategies.contents, st.binary(max_size=3), st.integers(4096, 5000))
def test_contents_are_cut_as_by_the_oracle(content: bytes, unit: bytes, frame_max: int) -> None:
    content += unit * 4000
    if len(plain.Reader(content).long()) > frame_max - 20:
        with pytest.raises(ValueError, match="a frame of this connection"):
            amqp.content(7, content, frame_max)
        return
    written = frames.content(7, content, frame_max - 8)
    assert amqp.content(7, content, frame_max) == written
    prefix = amqp.publisher(7, "e", "k", True)
    assert prefix == frames.method(7, "basic.publish", "e", "k", True, False)
    assert amqp.publish(prefix, content, frame_max) == prefix + written


@pytest.mark.parametrize("n", [0, 1, 4087, 4088, 4089, 8176, 8177])
def test_a_body_of_whole_frames_has_no_empty_one_behind(n: int) -> None:
    content = plain.content({}, None, b"x" * n)
    assert amqp.content(1, content, 4096) == frames.content(1, content, 4088)


@given(strategies.contents, st.integers(1, 255))
def test_a_priority_goes_where_the_oracle_puts_it(content: bytes, priority: int) -> None:
    properties, rows, body = plain.parse(content)
    with_headers = content[4] & 0x20 != 0
    wanted = plain.content(properties | {"priority": priority}, rows if with_headers else None, body)
    prefix = amqp.publisher(1, "", "q")
    assert amqp.publish(prefix, content, 131072, priority) == prefix + frames.content(1, wanted, 131064)


def test_the_priority_of_a_published_message_is_read_back() -> None:
    for given_ in ({}, {"priority": 0}, {"priority": 9}, {"delivery_mode": 2, "message_id": "m"}):
        content = envelope.pack(given_, {"task": "a"}, b"body")
        ((_, _, _, found),) = drain(fed(amqp.publish(amqp.publisher(1, "", "q"), content, 4096, 5)))
        assert envelope.unpack(found) == (given_ | {"priority": 5}, {"task": "a"}, b"body")


@pytest.mark.parametrize("packed", [
    b"", b"\0\0\0", b"\0\0\0\0", b"\0\0\0\1\0", b"\0\0\0\3\0\0", b"\xff\xff\xff\xff\0\0", b"\0\0\0\2\0",
])
def test_malformed_packed_content_is_refused(packed: bytes) -> None:
    prefix = amqp.publisher(1, "", "q")
    for write in (lambda: amqp.content(1, packed, 4096), lambda: amqp.publish(prefix, packed, 4096),
                  lambda: amqp.publish(prefix, packed, 4096, 1)):
        with pytest.raises(ValueError, match=r"packed content, offset \d"):
            write()


@pytest.mark.parametrize("listed", [
    b"\x80\0", b"\x80\0\x05x", b"\x40\0\x01", b"\x20\0\0\0\0", b"\x20\0\0\0\0\1", b"\x10\0", b"\x08\0", b"\x18\0\2",
])
def test_a_priority_needs_well_formed_properties_before_it(listed: bytes) -> None:
    prefix, packed = amqp.publisher(1, "", "q"), plain.long(listed) + b"body"
    with pytest.raises(ValueError, match="packed content, offset"):
        amqp.publish(prefix, packed, 4096, 1)
    amqp.publish(prefix, packed, 4096)


def test_a_priority_may_not_push_the_properties_over_a_frame() -> None:
    fitting = plain.content({}, [(b"x", "S", b"y" * (4088 - 12 - 2 - 4 - 7))], b"")
    prefix = amqp.publisher(1, "", "q")
    assert len(amqp.publish(prefix, fitting, 4096)) == len(prefix) + 4096
    with pytest.raises(ValueError, match="the properties have 4077 bytes, a frame of this connection has 4096"):
        amqp.publish(prefix, fitting, 4096, 1)


@pytest.mark.parametrize("prefix", [
    b"", b"\x01", amqp.HEARTBEAT_FRAME, amqp.publisher(1, "", "q")[:-1], amqp.publisher(1, "", "q") * 2,
])
def test_a_prefix_is_one_whole_method_frame(prefix: bytes) -> None:
    with pytest.raises(ValueError, match="the prefix is no frame of publisher"):
        amqp.publish(prefix, b"\0\0\0\2\0\0", 4096)


@pytest.mark.parametrize("priority", [-1, 256])
def test_a_priority_has_eight_bits(priority: int) -> None:
    with pytest.raises(ValueError, match="a priority is an integer from 0 to 255"):
        amqp.publish(amqp.publisher(1, "", "q"), b"\0\0\0\2\0\0", 4096, priority)


@pytest.mark.parametrize("frame_max", [-1, 0, 8, 4095, 2**31, None, "4096"])
def test_a_frame_limit_is_one_that_the_specification_allows(frame_max: Any) -> None:
    decoder = amqp.Decoder()
    for use in (lambda: amqp.content(1, b"\0\0\0\2\0\0", frame_max), lambda: amqp.Decoder(frame_max),
                lambda: setattr(decoder, "frame_max", frame_max)):
        with pytest.raises(ValueError, match="frame_max is an integer from 4096"):
            use()
    assert decoder.frame_max == 131072


def test_fixed_frames_are_those_of_the_specification() -> None:
    assert amqp.PROTOCOL_HEADER == b"AMQP\x00\x00\x09\x01"
    assert frames.frame(frames.HEARTBEAT, 0, b"") == amqp.HEARTBEAT_FRAME
    assert list(drain(fed(amqp.HEARTBEAT_FRAME))) == [(0, "", (), None)]
