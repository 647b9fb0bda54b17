"""The decoder on streams of every kind: cut anywhere, interleaved, watched, hostile."""

from __future__ import annotations

import gc
import socket
import struct
import sys
import tracemalloc
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastq._ext import amqp
from fastq.exceptions import FrameError
from tests.ext import strategies
from tests.ext.amqpkit import drain, plainly, streams
from tests.reference import amqp as plain
from tests.reference import frames

M = amqp.METHODS
CONTENT = plain.content({"delivery_mode": 2}, [(b"task", "S", b"a")], b"body of it")
RECORDED = [raw[:3000] for _, raw in streams() if raw]


def deliver(tag: int, content: bytes = CONTENT, channel: int = 1, name: str = "c", again: bool = False) -> bytes:
    return frames.method(channel, "basic.deliver", name, tag, again, "e", "k") + frames.content(channel, content, 4000)


def outcome(raw: bytes, **limits: int) -> tuple[list[Any], bool]:
    """The events, and whether the stream ended in an error."""
    found: list[Any] = []
    try:
        for event in frames.events(raw, **limits):
            found.append(event)
    except plain.Malformed:
        return found, True
    return found, False


def check(raw: bytes, **limits: int) -> None:
    """The decoder ends as the oracle does, fed at once and in two parts."""
    wanted = outcome(raw, **limits)
    for cut in (0, len(raw) // 2):
        decoder, broken = amqp.Decoder(**limits), False
        try:
            decoder.feed(raw[:cut])
            decoder.feed(raw[cut:])
        except FrameError:
            broken = True
        assert (plainly(list(drain(decoder))), broken) == (plainly(wanted[0]), wanted[1])


# --- any bytes -------------------------------------------------------------------------------------------------------

@given(st.lists(st.tuples(
    st.integers(1, 3), st.sampled_from(frames.CARRIERS[:2]), strategies.contents, st.integers(1, 50)), max_size=4),
    st.data())
def test_streams_end_as_with_the_oracle_also_when_damaged(messages: Any, data: st.DataObject) -> None:
    args = {"basic.publish": ("e", "k", True, False), "basic.return": (312, "NO_ROUTE", "e", "k")}
    raw = bytearray(b"".join(frames.method(channel, name, *args[name]) + frames.content(channel, content, part)
                             for channel, name, content, part in messages))
    check(bytes(raw))
    for _ in range(data.draw(st.integers(0, 3)) if raw else 0):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(raw))
    check(bytes(raw[:data.draw(st.integers(0, len(raw)))]))


@given(st.sampled_from(RECORDED), st.data())
def test_damaged_recordings_end_as_with_the_oracle(raw: bytes, data: st.DataObject) -> None:
    damaged = bytearray(raw)
    for _ in range(data.draw(st.integers(1, 3))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    check(bytes(damaged))


@given(st.binary(max_size=300) | st.lists(st.tuples(
    st.sampled_from([1, 2, 3, 8]), st.integers(0, 2), st.binary(max_size=40))).map(
    lambda parts: b"".join(frames.frame(*part) for part in parts)))
@example(b"AMQP\0\0\x09\x01")
@example(b"HTTP/1.1 400 Bad Request\r\n\r\n")
def test_any_bytes_end_as_with_the_oracle(raw: bytes) -> None:
    if raw[:1] != b"A" or len(raw) != 7:        # one byte more is waited for, to tell a protocol header
        check(raw)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["a", "b", "c"]), st.booleans(), strategies.contents,
                          st.integers(1, 60)), max_size=6), st.data())
def test_interleaved_channels_are_told_apart(messages: Any, data: st.DataObject) -> None:
    """Watched or not, in frames of any size and pieces of any size."""
    queues: dict[int, list[bytes]] = {}
    for tag, (channel, name, again, content, part) in enumerate(messages, 1):
        raw = frames.method(channel, "basic.deliver", name, tag, again, "e", "k")
        raw += frames.content(channel, content, part)
        queues.setdefault(channel, []).extend(
            frames.frame(kind, number, payload) for kind, number, payload in frames.frames(raw, 131072))
    stream = b""
    while queues:
        channel = data.draw(st.sampled_from(sorted(queues)))
        stream += queues[channel].pop(0)
        queues = {number: left for number, left in queues.items() if left}
    decoder = amqp.Decoder()
    numbers = {(channel, name): decoder.watch(channel, name, channel * 1000) for channel in (1, 2, 3) for name in "ab"}
    taken: dict[tuple[int, str], list[Any]] = {key: [] for key in numbers}
    while stream:
        n = data.draw(st.integers(1, 400))
        decoder.feed(stream[:n])
        stream = stream[n:]
        for key, number in numbers.items():
            if data.draw(st.booleans()):
                taken[key] += decoder.take(number, data.draw(st.integers(0, 3)))
    for key, number in numbers.items():
        taken[key] += decoder.take(number, 100)
        assert [(tag, deaths & 1 << 31, content) for tag, deaths, content in taken[key]] == [
            (key[0] * 1000 + tag, again << 31, content)
            for tag, (channel, name, again, content, _) in enumerate(messages, 1) if (channel, name) == key]
    assert sorted((event[2][1], event[3]) for event in drain(decoder)) == [
        (tag, content) for tag, (_, name, _, content, _) in enumerate(messages, 1) if name == "c"]
    assert decoder.is_idle and decoder.gathered() == 0


# --- errors ----------------------------------------------------------------------------------------------------------

HEAD = frames.method(1, "basic.deliver", "c", 1, False, "e", "k")
THREE = struct.pack(">HHQ", 60, 0, 3) + b"\0\0"
HUGE = struct.pack(">HHQ", 60, 0, 2**63) + b"\0\0"


@pytest.mark.parametrize(("raw", "message"), [
    (b"\x04" + b"\0" * 7, "frame of type 4 on channel 0, offset 0: expected a METHOD, HEADER, BODY or HEARTBEAT frame"),
    (b"HTTP/1.1", "frame of type 72 on channel 21588, offset 0"),
    (b"AMQP\0\0\x09\x01", r"the peer wants protocol b'AMQP\\x00\\x00\\t\\x01', not AMQP 0-9-1"),
    (b"\x01\0\1\xff\xff\xff\xff", "METHOD frame on channel 1, offset 3: expected at most 131064 bytes of payload"),
    (frames.method(1, "tx.commit")[:-1] + b"\0", "METHOD frame on channel 1, offset 11: expected the end of the frame"),
    (amqp.HEARTBEAT_FRAME * 2 + b"\x09......", "frame of type 9 on channel 11822, offset 16"),
    (frames.frame(8, 0, b"x"), "HEARTBEAT frame on channel 0, offset 1: expected an empty frame on channel 0"),
    (frames.frame(8, 1, b""), "HEARTBEAT frame on channel 1, offset 1: expected an empty frame on channel 0"),
    (frames.frame(1, 1, b""), "METHOD frame on channel 1, offset 7: expected a known method"),
    (frames.frame(1, 1, b"\0\x3c\0\x3d"), "METHOD frame on channel 1, offset 7: expected a known method"),
    (frames.frame(1, 1, b"\xff" * 4), "METHOD frame on channel 1, offset 7: expected a known method"),
    (frames.method(1, "connection.close-ok"), "on channel 1, offset 7: expected methods of class connection on chan"),
    (frames.method(0, "basic.qos-ok"), "on channel 0, offset 7: expected methods of class connection on channel 0"),
    (frames.frame(1, 1, b"\0\x3c\0\x50\0\0\0"), "on channel 1, offset 11: expected all bytes of an integer"),
    (frames.frame(1, 1, b"\0\x5a\0\x0a?"), "on channel 1, offset 11: expected the end of the method"),
    (frames.frame(2, 0, HUGE), "HEADER frame on channel 0, offset 7: expected a method that carries content before it"),
    (frames.frame(2, 1, HUGE), "HEADER frame on channel 1, offset 7: expected a method that carries content before it"),
    (frames.frame(3, 1, b"x"), "BODY frame on channel 1, offset 7: expected the header of a content before it"),
    (HEAD + frames.frame(3, 1, b"x"), "BODY frame on channel 1, offset 34: expected the header of a content before it"),
    (HEAD + HEAD, "METHOD frame on channel 1, offset 34: expected the rest of a content on this channel"),
    (HEAD + frames.frame(2, 1, HUGE), "on channel 1, offset 38: expected a body of at most 536870912 bytes, not 92233"),
    (HEAD + frames.frame(2, 1, HUGE[:12]), "on channel 1, offset 34: expected class basic, weight 0, a body size"),
    (HEAD + frames.frame(2, 1, b"\0\x32" + HUGE[2:]), "expected class basic, weight 0, a body size and properties"),
    (HEAD + frames.frame(2, 1, b"\0\x3c\0\1" + HUGE[4:]), "expected class basic, weight 0, a body size and properties"),
    (HEAD + frames.frame(2, 1, THREE) + frames.frame(3, 1, b"abcd"), "offset 56: expected at most 3 bytes, which are"),
    (HEAD + frames.frame(2, 1, THREE) + HEAD, "METHOD frame on channel 1, offset 56: expected the rest of a content"),
    (HEAD + frames.frame(2, 1, THREE) * 2, "HEADER frame on channel 1, offset 56: expected a method that carries"),
])
@pytest.mark.parametrize("watched", [False, True])
def test_an_error_names_frame_channel_and_offset(raw: bytes, message: str, watched: bool) -> None:
    decoder = amqp.Decoder()
    if watched:
        decoder.watch(1, "c")
    with pytest.raises(FrameError, match=message):
        decoder.feed(raw)


@pytest.mark.parametrize("method", [
    b"", b"\1", b"\1c", b"\1c" + b"\0" * 8, b"\1c" + b"\0" * 7 + b"\1\0\2e", b"\1c" + b"\0" * 7 + b"\1\0\0\0?",
    b"\1c" + b"\0" * 11, b"\1c\x80" + b"\0" * 10,
])
def test_a_malformed_delivery_to_a_watched_consumer_is_an_error(method: bytes) -> None:
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "c")
    with pytest.raises(FrameError, match="METHOD frame on channel 1, offset"):
        decoder.feed(frames.frame(1, 1, b"\0\x3c\0\x3c" + method))
    assert decoder.gathered(consumer) == 0


@pytest.mark.parametrize("tag", [0, 4, 5, 2**63 - 100, 2**63, 2**64 - 1])
def test_delivery_tags_of_a_consumer_ascend_and_leave_room_for_the_base(tag: int) -> None:
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "c", 100)
    decoder.feed(deliver(5))
    with pytest.raises(FrameError, match=r"expected a delivery tag above 5 and below 2\*\*63"):
        decoder.feed(deliver(tag))
    assert [row[0] for row in decoder.take(consumer, 9)] == [105]


def test_after_an_error_what_came_before_is_there_and_nothing_else_is_let_in() -> None:
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "c")
    good = deliver(1) + frames.method(2, "tx.commit-ok")
    with pytest.raises(FrameError, match="offset") as first:
        decoder.feed(good + b"\xff" * 8)
    for again in (lambda: decoder.feed(good), lambda: decoder.filled(0)):
        with pytest.raises(FrameError) as later:
            again()
        assert str(later.value) == str(first.value)
    assert list(drain(decoder)) == [(2, "tx.commit-ok", (), None)]
    assert len(decoder.take(consumer, 9)) == 1


# --- limits ----------------------------------------------------------------------------------------------------------

def test_a_frame_may_have_frame_max_bytes_and_not_one_more() -> None:
    head = frames.method(1, "basic.return", 312, "", "", "q")
    for n, good in ((4088, True), (4089, False)):
        raw = head + frames.frame(2, 1, struct.pack(">HHQ", 60, 0, n) + b"\0\0") + frames.frame(3, 1, b"x" * n)
        decoder = amqp.Decoder(4096)
        if good:
            decoder.feed(raw)
            assert len(list(drain(decoder))) == 1
        else:
            with pytest.raises(FrameError, match="expected at most 4088 bytes of payload, not 4089"):
                decoder.feed(raw)
            decoder = amqp.Decoder(4096)
            decoder.frame_max = 4097
            decoder.feed(raw)


def test_a_content_may_have_max_content_bytes_and_not_one_more() -> None:
    for watched in (False, True):
        decoder = amqp.Decoder(max_content=1000)
        if watched:
            decoder.watch(1, "c")
        decoder.feed(deliver(1, plain.content({}, None, b"x" * 1000)))
        with pytest.raises(FrameError, match="a body of at most 1000 bytes, not 1001"):
            decoder.feed(deliver(2, plain.content({}, None, b"x" * 1001)))


@pytest.mark.parametrize("value", [-1, 2**31, None, "1"])
def test_max_content_has_31_bits(value: Any) -> None:
    with pytest.raises(ValueError, match="max_content is an integer from 0 to 2147483647"):
        amqp.Decoder(max_content=value)


def test_announced_bytes_cost_no_memory() -> None:
    """A hundred channels that announce 2 GiB each."""
    announced = struct.pack(">HHQ", 60, 0, 2**31 - 1) + b"\0\0"
    raw = b"".join(
        frames.method(channel, "basic.deliver", "c", 1, False, "e", "k") + frames.frame(2, channel, announced)
        for channel in range(1, 101))
    decoder = amqp.Decoder(max_content=2**31 - 1)
    for channel in range(1, 51):
        decoder.watch(channel, "c")
    decoder.feed(raw)
    decoder.feed(b"\1\0\1" + struct.pack(">I", 131064))
    assert sys.getsizeof(decoder) < 101 * (2 * 65536 + 4096)
    assert not decoder.is_idle


# --- the buffer ------------------------------------------------------------------------------------------------------

def put(decoder: amqp.Decoder, data: bytes) -> None:
    with memoryview(decoder) as room:
        room[:len(data)] = data
    decoder.filled(len(data))


def test_a_socket_may_write_into_the_decoder() -> None:
    left, right = socket.socketpair()
    with left, right:
        left.sendall(deliver(1) + deliver(2)[:20])
        decoder = amqp.Decoder()
        decoder.filled(right.recv_into(decoder))
        assert len(list(drain(decoder))) == 1 and not decoder.is_idle
        left.sendall(deliver(2)[20:])
        decoder.filled(right.recv_into(decoder))
        assert len(list(drain(decoder))) == 1 and decoder.is_idle


def test_who_fills_the_room_finds_twice_as_much_up_to_256_kib() -> None:
    decoder = amqp.Decoder()
    found = []
    for is_full in (False, True, True, True, True, False):
        with memoryview(decoder) as room:
            size = len(room)
        found.append(size >> 10)
        put(decoder, frames.frame(8, 0, b"") * (size // 8 - (not is_full)))
        assert len(list(drain(decoder))) == size // 8 - (not is_full)
    assert found == [64, 64, 128, 256, 256, 256]


@given(st.lists(st.integers(1, 65536), max_size=30), st.integers(1, 300000))
def test_there_is_always_room_for_64_kib_and_no_more_than_a_frame_above(parts: list[int], n: int) -> None:
    raw = frames.method(1, "basic.deliver", "c", 1, False, "e", "k") + frames.content(
        1, plain.content({}, None, bytes(n)), 131064)
    decoder = amqp.Decoder()
    while raw:
        part = parts.pop() if parts else 65536
        with memoryview(decoder) as room:
            assert 65536 <= len(room) <= 131072 + 2 * 262144
            assert not room.readonly
        put(decoder, raw[:part])
        raw = raw[part:]
    ((_, _, _, content),) = drain(decoder)
    assert len(content) == 6 + n


def test_no_bytes_are_parsed_while_a_view_is_alive() -> None:
    decoder = amqp.Decoder()
    room = memoryview(decoder)
    other = memoryview(decoder)
    for use in (lambda: decoder.feed(b"x"), lambda: decoder.filled(1)):
        with pytest.raises(BufferError, match="a view of the decoder's buffer is alive"):
            use()
        room.release()
    other.release()
    decoder.feed(amqp.HEARTBEAT_FRAME)


@pytest.mark.parametrize("n", [-1, 1, 2**40])
def test_more_than_there_was_room_for_cannot_have_been_written(n: int) -> None:
    decoder = amqp.Decoder()
    with pytest.raises(ValueError, match="there was room for 0"):
        decoder.filled(n)
    with memoryview(decoder) as room:
        size = len(room)
    with pytest.raises(ValueError, match=f"there was room for {size}"):
        decoder.filled(-1 if n < 0 else size + n)


def test_a_finalizer_that_runs_meanwhile_does_not_come_in() -> None:
    decoder = amqp.Decoder()
    told: list[str] = []

    class Meddler:
        def __del__(self) -> None:
            for use in (lambda: decoder.feed(b""), lambda: memoryview(decoder), decoder.next,
                        lambda: decoder.take(0, 1), lambda: decoder.forget(1), lambda: decoder.watch(1, "d")):
                try:
                    use()
                except BufferError as error:
                    told.append(str(error))

    decoder.watch(1, "c")
    raw = frames.method(1, "basic.ack", 1, False) * 3000
    before = gc.get_threshold()
    gc.disable()
    meddler: Any = Meddler()
    meddler.itself = meddler
    del meddler
    try:
        gc.set_threshold(1)
        gc.enable()
        decoder.feed(raw)
    finally:
        gc.set_threshold(*before)
        gc.enable()
    assert set(told) <= {"the decoder is parsing"} and len(list(drain(decoder))) == 3000


# --- watching --------------------------------------------------------------------------------------------------------

def test_take_gives_the_oldest_first_and_no_more_than_there_are() -> None:
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "c")
    decoder.feed(b"".join(deliver(tag) for tag in range(1, 8)))
    assert decoder.gathered(consumer) == decoder.gathered() == 7
    assert [[row[0] for row in decoder.take(consumer, most)] for most in (0, -1, 2, 1, 100, 100)] == [
        [], [], [1, 2], [3], [4, 5, 6, 7], []]


def test_a_batch_taken_in_the_middle_of_a_content_is_whole_and_so_is_the_next() -> None:
    second = deliver(2, plain.content({}, None, bytes(range(256)) * 40))
    for cut in range(0, len(second), 7):
        for most in (1, 5):
            decoder = amqp.Decoder()
            consumer = decoder.watch(1, "c")
            decoder.feed(deliver(1) + second[:cut])
            first = decoder.take(consumer, most)
            decoder.feed(second[cut:] + deliver(3))
            assert [row[0] for row in first] == [1]
            assert [(tag, len(content)) for tag, _, content in decoder.take(consumer, 9)] == [
                (2, 6 + 10240), (3, len(CONTENT))]


def test_a_consumer_is_watched_on_its_channel_only() -> None:
    decoder = amqp.Decoder()
    one, two = decoder.watch(1, "c"), decoder.watch(2, "c", 10)
    assert one != two
    decoder.feed(deliver(1) + deliver(1, channel=2) + deliver(1, channel=3) + deliver(2, name="cc"))
    assert [decoder.gathered(number) for number in (one, two)] == [1, 1]
    assert [(event[0], event[2][0]) for event in drain(decoder)] == [(3, "c"), (1, "cc")]


def test_an_unwatched_consumer_becomes_events_and_keeps_what_it_had() -> None:
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "c")
    decoder.feed(deliver(1) + deliver(2)[:40])
    decoder.unwatch(consumer)
    decoder.unwatch(consumer)
    decoder.feed(deliver(2)[40:] + deliver(3))
    assert [row[0] for row in decoder.take(consumer, 9)] == [1, 2]
    assert [event[2][1] for event in drain(decoder)] == [3]
    assert len(decoder.take(consumer, 9)) == decoder.gathered(consumer) == 0
    decoder.unwatch(consumer)
    again = decoder.watch(1, "c")
    assert again != consumer
    decoder.feed(deliver(4))
    assert [row[0] for row in decoder.take(again, 9)] == [4]


def test_a_delivery_that_is_half_received_outlives_its_consumer_and_other_channels() -> None:
    decoder = amqp.Decoder()
    consumer = decoder.watch(2, "c")
    decoder.watch(1, "c")
    raw = deliver(1, channel=2)
    decoder.feed(raw[:27])
    decoder.unwatch(consumer)
    assert len(decoder.take(consumer, 9)) == 0
    decoder.forget(1)
    decoder.feed(raw[27:])
    assert [row[0] for row in decoder.take(consumer, 9)] == [1]
    assert decoder.is_idle and decoder.next() is None


def test_a_consumer_is_watched_once_and_not_on_the_connection_itself() -> None:
    decoder = amqp.Decoder()
    with pytest.raises(ValueError, match="channel 0 has no consumers"):
        decoder.watch(0, "c")
    decoder.watch(1, "c")
    with pytest.raises(ValueError, match="consumer 'c' of channel 1 is watched already"):
        decoder.watch(1, "c")


@pytest.mark.parametrize("number", [-2, 1, 10**30, "0", None])
def test_a_number_that_was_never_given_is_an_error(number: Any) -> None:
    decoder = amqp.Decoder()
    decoder.watch(1, "c")
    for use in (decoder.unwatch, decoder.gathered, lambda n: decoder.take(n, 1)):
        with pytest.raises(ValueError, match="no consumer has the number"):
            use(number)


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("cut", [27, 30, 50, 60, 70])
def test_a_forgotten_channel_starts_anew(cut: int, watched: bool) -> None:
    decoder = amqp.Decoder()
    if watched:
        consumer = decoder.watch(1, "c")
    decoder.feed(deliver(1))
    whole = list(frames.frames(deliver(2), 131072))
    half = b"".join(frames.frame(*it) for it in whole[:1 if cut < 50 else 2])
    decoder.feed(half)
    assert not decoder.is_idle
    decoder.forget(1)
    decoder.forget(1)
    assert decoder.is_idle
    decoder.feed(deliver(1) + frames.method(1, "channel.open-ok"))
    assert [event[1] for event in drain(decoder)][-2:] == ["basic.deliver", "channel.open-ok"]
    if watched:
        assert [row[0] for row in decoder.take(consumer, 9)] == [1]
        fresh = decoder.watch(1, "c")
        decoder.feed(deliver(1))
        assert decoder.gathered(fresh) == 1


def test_no_room_is_kept_for_a_large_content_that_was_given_out() -> None:
    large = deliver(1, plain.content({}, None, bytes(5 << 20)))
    decoder = amqp.Decoder()
    consumer = decoder.watch(1, "c")
    decoder.feed(large)
    assert sys.getsizeof(decoder) > 5 << 20
    assert sys.getsizeof(decoder.take(consumer, 1)) > 5 << 20
    decoder.unwatch(consumer)
    decoder.feed(large)
    assert len(list(drain(decoder))) == 1
    assert sys.getsizeof(decoder) < 3 * 65536


def test_consumers_that_come_and_go_leave_nothing() -> None:
    decoder = amqp.Decoder()

    def turn(times: int) -> None:
        for _ in range(times):
            consumer = decoder.watch(1, "c")
            decoder.feed(deliver(1))
            decoder.unwatch(consumer)
            assert len(decoder.take(consumer, 9)) == 1
            decoder.watch(2, "c")
            decoder.feed(frames.method(2, "basic.deliver", "c", 1, False, "e", "k"))
            decoder.forget(2)

    tracemalloc.start()
    try:
        turn(100)
        before, size = tracemalloc.get_traced_memory()[0], sys.getsizeof(decoder)
        turn(2000)
        assert tracemalloc.get_traced_memory()[0] - before < 10000
    finally:
        tracemalloc.stop()
    assert sys.getsizeof(decoder) <= size


def test_events_that_are_read_slower_than_they_come_keep_their_order() -> None:
    decoder = amqp.Decoder()
    found, tag = [], 0
    for _ in range(3000):
        decoder.feed(frames.method(1, "basic.ack", tag, False) + frames.method(1, "basic.ack", tag + 1, False))
        tag += 2
        found.append(decoder.next())
    found += iter(decoder.next, None)
    assert [event[2][0] for event in found if event] == list(range(tag))
