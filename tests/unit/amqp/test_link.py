from __future__ import annotations

import contextlib
import itertools
import os
import socket
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from fastq._ext import amqp, envelope
from fastq._ext.amqp import METHODS
from fastq.amqp import link as link_module
from fastq.amqp import stream
from fastq.amqp.error import ChannelClosed, ChannelError, ConnectionClosed, LinkLost
from fastq.amqp.link import Link
from fastq.amqp.target import parse
from fastq.exceptions import BrokerRefused, ConnectionLost
from tests.deadline import wait_until

DECLARE, GET, CONSUME, DELIVER = (METHODS[f"{name}"] for name in (
    "queue.declare", "basic.get", "basic.consume", "basic.deliver"))
Wire = tuple[Link, socket.socket]


def declare(link: Link, channel: int, queue: str, durable: bool = False) -> Any:
    return link.call(channel, DECLARE, queue, False, durable, False, False, False, {})[2]


def publish(link: Link, channel: int, queue: str, body: bytes) -> bytes:
    packed = envelope.pack({"delivery_mode": 1}, {"n": 1}, body)
    link.send(amqp.publish(amqp.publisher(channel, "", queue), packed, link.frame_max))
    return packed


def ready(link: Link, channel: int, queue: str) -> int:
    count: int = link.call(channel, DECLARE, queue, True, False, False, False, False, {})[2][1]
    return count


def test_opening_agrees_on_limits_and_learns_about_the_broker(amqp_url: str) -> None:
    link = Link.open(parse(amqp_url), heartbeat_s=7, channel_max=100, frame_max=8192)
    assert (link.channel_max, link.frame_max, link.heartbeat_s) == (100, 8192, 7.0)
    assert link.server_properties["product"] == "RabbitMQ"
    assert link.where == parse(amqp_url).where
    link.close()


def test_no_heartbeats_unless_this_side_asks(amqp_url: str) -> None:
    link = Link.open(parse(amqp_url))
    assert link.heartbeat_s == 0
    assert link.beat() is None
    link.close()


def test_brokers_heartbeat_wins_when_it_is_shorter(amqp_url: str) -> None:
    link = Link.open(parse(amqp_url), heartbeat_s=120)
    assert link.heartbeat_s == 60
    link.close()


def test_socket_minds_dead_peers_and_sends_at_once(link: Link) -> None:
    def option(level: int, name: int) -> int:
        return link.sock.getsockopt(level, name)
    assert option(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert option(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        assert option(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 30_000
        assert option(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10


@pytest.mark.parametrize("method", ["PLAIN", "AMQPLAIN", "plain"])
def test_login_by_each_method_that_takes_a_password(amqp_url: str, method: str) -> None:
    link = Link.open(parse(amqp_url), login_method=method)
    assert link.open_channel() == 1
    link.close()


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 131064, 131065, 1_000_000, 10_000_000])
@pytest.mark.parametrize("frame_max", [4096, 131072])
def test_body_of_any_size_comes_back_as_it_went(amqp_url: str, size: int, frame_max: int) -> None:
    link = Link.open(parse(amqp_url), frame_max=frame_max)
    channel = link.open_channel()
    declare(link, channel, "large")
    packed = publish(link, channel, "large", bytes(range(256)) * (size // 256) + b"x" * (size % 256))
    assert link.call(channel, GET, "large", True)[3] == packed
    link.close()


def test_refused_call_closes_its_channel_and_no_other(link: Link) -> None:
    first, second = link.open_channel(), link.open_channel()
    declare(link, first, "q", durable=True)
    with pytest.raises(ChannelClosed) as refused:
        declare(link, first, "q", durable=False)
    assert isinstance(refused.value, BrokerRefused)
    assert (refused.value.code, refused.value.reply_code, refused.value.method) == (406, 406, "queue.declare")
    assert (refused.value.class_id, refused.value.method_id) == (50, 10)
    assert "inequivalent" in refused.value.reply_text
    assert declare(link, second, "q", durable=True)[0] == "q"
    assert link.channels == {second}


def test_closed_channel_says_again_why(link: Link) -> None:
    channel = link.open_channel()
    for _ in range(2):
        with pytest.raises(ChannelClosed, match="no queue 'missing'"):
            link.call(channel, GET, "missing", False)


def test_channel_closed_meanwhile_tells_its_handler(link: Link) -> None:
    channel, other, events = link.open_channel(), link.open_channel(), []
    link.handlers[channel] = events.append
    link.send(amqp.publish(amqp.publisher(channel, "missing", "k"), envelope.pack({}, {}, b""), link.frame_max))
    wait_until(lambda: link.fill(0.01) and link.pump())
    assert [link.channel_closed(event).reply_code for event in events] == [404]
    assert channel not in link.channels and channel not in link.handlers
    with pytest.raises(ChannelClosed, match="missing"):
        declare(link, channel, "q")
    assert declare(link, other, "q")


def test_channel_numbers_go_in_turn_and_run_out(amqp_url: str) -> None:
    link = Link.open(parse(amqp_url), channel_max=3)
    numbers = [link.open_channel() for _ in range(3)]
    assert numbers == [1, 2, 3]
    with pytest.raises(ChannelError, match="all 3 channels"):
        link.open_channel()
    link.close_channel(2)
    link.close_channel(2)
    assert link.open_channel() == 2
    link.close_channel(1)
    link.close_channel(3)
    assert link.open_channel() == 3, "a number just closed rests as long as another is free"
    link.close()


def test_channel_under_a_number_that_is_in_use_is_refused(link: Link) -> None:
    assert link.open_channel(5) == 5
    with pytest.raises(ChannelError, match=r"channel 5 .* is in use"):
        link.open_channel(5)


def test_call_on_a_channel_that_was_never_opened_is_refused(link: Link) -> None:
    with pytest.raises(ChannelError, match=r"channel 9 .* is closed"):
        declare(link, 9, "q")


def test_deliveries_reach_their_handler_while_a_call_waits(link: Link) -> None:
    channel, other, events = link.open_channel(), link.open_channel(), []
    declare(link, channel, "q")
    link.handlers[channel] = events.append
    link.call(channel, CONSUME, "q", "me", False, True, False, False, {})
    packed = publish(link, other, "q", b"body")
    wait_until(lambda: [declare(link, other, "q2"), events][1])
    assert events[0] == (channel, DELIVER, ("me", 1, False, "", "q"), packed)


def test_deliveries_to_a_closing_channel_go_back(link: Link) -> None:
    channel, other, events = link.open_channel(), link.open_channel(), []
    declare(link, channel, "q")
    link.handlers[channel] = events.append
    link.call(channel, CONSUME, "q", "me", False, False, False, False, {})
    for _ in range(20):
        publish(link, other, "q", b"body")
    link.close_channel(channel)
    wait_until(lambda: ready(link, other, "q") == 20)


def test_connection_closed_by_an_administrator_says_so(link: Link, rabbitmq: Any) -> None:
    link.open_channel()
    rabbitmq.close_all_connections("maintenance")
    with pytest.raises(ConnectionClosed, match="maintenance") as closed:
        while True:
            link.fill(5)
            link.pump()
    assert closed.value.reply_code == 320
    assert isinstance(closed.value, ConnectionLost)
    assert not link.is_open
    for use in (link.fileno, link.fill, link.open_channel, lambda: link.send(b"x")):
        with pytest.raises(ConnectionClosed, match="maintenance"):
            use()


def test_writer_too_hears_why_the_connection_was_closed(wire: Wire) -> None:
    link, peer = wire
    peer.sendall(amqp.method(0, METHODS["connection.close"], 320, "CONNECTION_FORCED - bye", 0, 0))
    peer.close()
    with pytest.raises(ConnectionClosed, match="bye"):
        link.send(b"x")


def test_broker_that_dies_is_noticed_at_the_end_of_the_stream(wire: Wire) -> None:
    link, peer = wire
    peer.close()
    with pytest.raises(LinkLost, match="lost the connection to RabbitMQ at peer:5672: the broker closed it"):
        link.fill(1)


def test_bytes_that_are_no_amqp_end_the_link(wire: Wire) -> None:
    link, peer = wire
    peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(LinkLost, match="it sent what is no AMQP"):
        link.fill(1)


def test_fill_waits_no_longer_than_it_is_told(wire: Wire) -> None:
    link, _ = wire
    started = time.monotonic()
    assert link.fill(0) == 0
    assert link.fill(0.05) == 0
    assert 0.04 < time.monotonic() - started < 5


def test_answer_that_never_comes_ends_the_link(wire: Wire) -> None:
    link, _ = wire
    with pytest.raises(LinkLost, match=r"queue\.declare was not answered in 0\.05 s"):
        link.call(1, DECLARE, "q", False, False, False, False, False, {}, timeout_s=0.05)
    assert not link.is_open


def test_heartbeats_are_sent_when_due_and_silence_is_noticed(wire: Wire) -> None:
    link, peer = wire
    link.heartbeat_s = 0.2
    peer.settimeout(5)
    due_s = link.beat()
    assert due_s is not None and 0 < due_s <= 0.1
    received = b""
    with pytest.raises(LinkLost, match="not a word"):
        while True:
            assert not link.fill(link.beat())
    peer.setblocking(False)
    received = peer.recv(1000)
    assert received == amqp.HEARTBEAT_FRAME * (len(received) // len(amqp.HEARTBEAT_FRAME))
    assert 1 <= len(received) // len(amqp.HEARTBEAT_FRAME) <= 5


def test_heartbeats_of_the_broker_keep_the_link_alive(wire: Wire) -> None:
    link, peer = wire
    link.heartbeat_s = 0.1
    ends = time.monotonic() + 0.5
    while time.monotonic() < ends:
        peer.sendall(amqp.HEARTBEAT_FRAME)
        link.fill(link.beat())
        assert link.pump() == 0
    assert link.is_open


def test_program_that_slept_reads_before_it_calls_the_broker_dead(wire: Wire) -> None:
    link, peer = wire
    link.heartbeat_s = 0.02
    peer.sendall(amqp.HEARTBEAT_FRAME)
    wait_until(lambda: time.monotonic() - link._heard_at > 0.05)
    assert link.beat() is not None


def test_heartbeats_go_out_while_a_call_waits(wire: Wire) -> None:
    link, peer = wire
    link.heartbeat_s = 0.1

    def answer() -> None:
        heard = b""
        while heard.count(amqp.HEARTBEAT_FRAME) < 3:
            heard += peer.recv(1000)
            peer.sendall(amqp.HEARTBEAT_FRAME)
        peer.sendall(amqp.method(1, METHODS["queue.declare-ok"], "q", 0, 0))

    answering = threading.Thread(target=answer)
    answering.start()
    assert link.call(1, DECLARE, "q", False, False, False, False, False, {}, timeout_s=5)[2] == ("q", 0, 0)
    answering.join()


def test_two_full_buffers_do_not_block_each_other(wire: Wire) -> None:
    """The peer reads nothing before it has said a lot, as a broker under load may do."""
    link, peer = wire
    events: list[Any] = []
    link.handlers[1] = events.append
    packed = envelope.pack({}, {}, b"x" * 100_000)
    speech = b"".join(amqp.method(1, DELIVER, "me", n, False, "", "q") + amqp.content(1, packed, 131072)
                      for n in range(1, 101))
    request, heard = b"y" * 10_000_000, bytearray()

    def talk() -> None:
        peer.sendall(speech)
        while len(heard) < len(request):
            heard.extend(peer.recv(1 << 20))

    talking = threading.Thread(target=talk)
    talking.start()
    link.send(request)
    talking.join()
    assert heard == request
    assert link.has_news() and not events
    wait_until(lambda: [link.pump(), link.fill(0), len(events) == 100][2])
    assert [event[2][1] for event in events] == list(range(1, 101))
    assert not link.has_news()


def test_no_room_to_write_ends_the_link_in_time(wire: Wire) -> None:
    link, peer = wire
    link.send_timeout_s = 0.05
    peer.sendall(amqp.method(0, METHODS["connection.blocked"], "low on memory"))
    with pytest.raises(LinkLost, match=r"no room to write for 0\.05 s \(the broker takes no messages: low on memory\)"):
        link.send(b"x" * 10_000_000)


def test_close_that_comes_while_there_is_no_room_is_heard(wire: Wire) -> None:
    link, peer = wire
    peer.sendall(amqp.method(0, METHODS["connection.close"], 320, "CONNECTION_FORCED - bye", 0, 0))
    with pytest.raises(ConnectionClosed, match="bye"):
        link.send(b"x" * 10_000_000)


def test_slow_reader_is_not_taken_for_a_dead_one(wire: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    link, peer = wire
    link.send_timeout_s = 0.3
    clock = itertools.count(step=0.05)  # so that all of it takes longer than allowed
    request, heard = b"y" * 5_000_000, bytearray()

    def read() -> None:
        with contextlib.suppress(BlockingIOError):
            heard.extend(peer.recv(len(request), socket.MSG_DONTWAIT))

    def monotonic() -> float:
        read()  # only here, so that the buffer is full each time that room is waited for
        return next(clock)

    monkeypatch.setattr(stream, "time", SimpleNamespace(monotonic=monotonic))
    link.send(request)
    read()
    assert heard == request
    assert next(clock) > 2 * link.send_timeout_s


def test_blocked_connection_is_noted_with_its_reason(link: Link, rabbitmq: Any) -> None:
    channel = link.open_channel()
    assert link.blocked is None
    rabbitmq.alarm(True)
    # The broker blocks who publishes at the next message behind the alarm, whichever that is.
    wait_until(lambda: [publish(link, channel, "q", b"x"), link.fill(0.01), link.pump(), link.blocked][3])
    assert "memory" in str(link.blocked)
    rabbitmq.alarm(False)
    wait_until(lambda: [link.fill(0.01), link.pump(), link.blocked is None][2])


@pytest.mark.parametrize("step", [1, 2, 3, 7, 8, 1000])
def test_answers_cut_anywhere_are_put_together(wire: Wire, step: int) -> None:
    link, peer = wire
    packed = envelope.pack({"delivery_mode": 2}, {"a": "b"}, b"body" * 100)
    speech = amqp.method(1, METHODS["basic.get-ok"], 1, False, "", "q", 3) + amqp.content(1, packed, 131072)

    def talk() -> None:
        for start in range(0, len(speech), step):
            peer.sendall(speech[start:start + step])

    talking = threading.Thread(target=talk)
    talking.start()
    assert link.call(1, GET, "q", False, timeout_s=5)[2:] == ((1, False, "", "q", 3), packed)
    talking.join()


class Interrupted(BaseException):
    """As a time limit or a keyboard interrupt is raised: at any place."""


def test_interrupted_write_ends_the_link(wire: Wire) -> None:
    link, _ = wire
    link.sock = Saboteur(link.sock, "send")  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        link.send(b"half a frame")
    with pytest.raises(LinkLost, match="interrupted write"):
        link.send(b"more")


def test_interrupted_read_ends_the_link(wire: Wire) -> None:
    link, _ = wire
    link.sock = Saboteur(link.sock, "recv_into")  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        link.fill(0)
    with pytest.raises(LinkLost, match="interrupted read"):
        link.fill(0)


def test_interrupted_call_ends_the_link(wire: Wire) -> None:
    link, peer = wire

    def interrupt(event: Any) -> None:
        raise Interrupted

    link.handlers[1] = interrupt
    peer.sendall(amqp.method(1, METHODS["basic.cancel"], "me", True))
    with pytest.raises(Interrupted):
        link.call(1, DECLARE, "q", False, False, False, False, False, {}, timeout_s=5)
    with pytest.raises(LinkLost, match="wait for an answer was interrupted"):
        link.fill(0)


class Saboteur:
    """A socket that is interrupted in one of its methods."""

    def __init__(self, sock: socket.socket, method: str) -> None:
        self._sock, self._method = sock, method

    def __getattr__(self, name: str) -> Any:
        if name == self._method:
            raise Interrupted
        return getattr(self._sock, name)


def test_close_waits_for_the_answer_and_no_longer(amqp_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link_module, "CLOSE_TIMEOUT_S", 60.0)
    link = Link.open(parse(amqp_url))
    started = time.monotonic()
    link.close()
    assert time.monotonic() - started < 30
    link.close()
    link.abandon()
    with pytest.raises(LinkLost, match="was closed"):
        link.fill()


def test_close_does_not_wait_for_a_broker_that_is_silent(wire: Wire) -> None:
    link, _ = wire
    started = time.monotonic()
    link.close()
    assert time.monotonic() - started < 5


def test_child_of_a_fork_lets_go_without_a_word(link: Link) -> None:
    channel = link.open_channel()
    if not (child := os.fork()):
        link.abandon()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert declare(link, channel, "q")[0] == "q"
