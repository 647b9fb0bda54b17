"""The producer side of Redis, against a real server, and read by kombu."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import kombu
import pytest

from fastq._ext import envelope
from fastq._ext import kombu as codec
from fastq._ext.resp import command
from fastq.exceptions import BrokerFull, BrokerRefused, ConnectionLost, OperationalError, TransportError, Undeliverable
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_link import Link, Push
from fastq.transport.redis_publish import Publisher
from fastq.transport.redis_route import Routes
from fastq.transport.redis_way import Way
from fastq.types import Message
from fastq.wire.entity import Exchange, Queue, binding
from tests.deadline import wait_until
from tests.unit.transport.redisroom import RedisRoom

QUEUES = {queue.name: queue for queue in (
    Queue("celery", Exchange("celery"), "celery"),
    Queue("video", Exchange("media", type="topic"), "video.#",
          bindings=[binding(Exchange("media", type="topic"), "film.*.new")]),
    Queue("audio", Exchange("media", type="topic"), "*.sound"),
    Queue("left", Exchange("sides"), "left"),
    Queue("listener", Exchange("news", type="fanout"), ""),
    Queue("brief", Exchange("brief"), "brief", expires=60),
)}


def content(body: bytes = b"[[], {}, {}]", **headers: object) -> bytes:
    return envelope.pack({"content_type": "application/json", "content_encoding": "utf-8"},
                         {"task": "add", "id": "1", **headers}, body)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisRoom]:
    with RedisRoom(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def probe(room: RedisRoom) -> Iterator[Link]:
    link = room.link()
    link.call("FLUSHALL")
    yield link
    link.close()


Open = Callable[..., Publisher]


@pytest.fixture
def open_publisher(room: RedisRoom) -> Iterator[Open]:
    opened: list[Publisher] = []

    def open_one(server: RedisRoom = room, timeout_s: float = 5.0, **keys: Any) -> Publisher:
        routes = Routes(Keys(**keys), lambda name: QUEUES.get(name, Queue(name, name, name)),
                        lambda exchange: [queue for queue in QUEUES.values() if queue.exchange.name == exchange])
        opened.append(Publisher(Way([server.target]).connect, routes, timeout_s=timeout_s))
        return opened[-1]

    yield open_one
    for publisher in opened:
        publisher.close()


@pytest.fixture
def publisher(open_publisher: Open) -> Publisher:
    return open_publisher()


def bodies(probe: Link, key: str | bytes) -> list[bytes]:
    """What is in a list, the next in line first."""
    found = probe.call("LRANGE", key, 0, -1)
    assert isinstance(found, list)
    return [envelope.unpack(codec.parse(each))[2] for each in reversed(found)]


# --- what is stored ---


def test_kombu_receives_what_was_published(publisher: Publisher, room: RedisRoom, probe: Link) -> None:
    publisher.publish_one("celery", content(b"[[1], {}, {}]", lang="py"))
    with kombu.Connection(f"redis://127.0.0.1:{room.port}/0") as connection:
        queue = connection.SimpleQueue("celery")
        message = queue.get(timeout=5)
        assert message.payload == [[1], {}, {}]
        assert message.headers == {"task": "add", "id": "1", "lang": "py"}
        message.ack()
        queue.close()


@pytest.mark.parametrize("exchange", ["celery", "media", "brief"])
def test_bindings_are_those_that_kombu_writes(open_publisher: Open, room: RedisRoom, probe: Link,
                                              exchange: str) -> None:
    names = [name for name, queue in QUEUES.items() if queue.exchange.name == exchange]

    def tables() -> list[object]:
        kinds = [probe.call(command, *args) for command, *args in (
            ("SMEMBERS", f"_kombu.binding.{exchange}"), ("SMEMBERS", f"_kombu.binding_permanent.{exchange}"),
            ("ZRANGE", "_kombu.binding_deadlines", 0, -1))]
        return [sorted(kind) for kind in kinds if isinstance(kind, list)]

    open_publisher().declare(names)
    ours = tables()
    probe.call("FLUSHALL")
    with kombu.Connection(f"redis://127.0.0.1:{room.port}/0") as connection:
        for name in names:
            own = QUEUES[name]
            place = kombu.Exchange(exchange, own.exchange.type)
            kombu.Queue(name, place, own.routing_key, expires=own.expires)(connection.default_channel).declare()
            for each in own.bindings:
                connection.default_channel.queue_bind(name, exchange, each.routing_key)
    assert ours == tables()
    assert ours[0]


def test_a_priority_is_kombus_list(publisher: Publisher, probe: Link) -> None:
    for priority in (0, 4, 9):
        publisher.publish_one("celery", content(b"%d" % priority), priority)
    assert [bodies(probe, f"celery{end}") for end in ("", "\x06\x163", "\x06\x169")] == [[b"0"], [b"4"], [b"9"]]
    with pytest.raises(ValueError, match="from 0 to 9"):
        publisher.publish_one("celery", content(), 10)


def test_names_have_the_prefix(open_publisher: Open, probe: Link) -> None:
    open_publisher(prefix="app:").publish_one("celery", content())
    found = probe.call("KEYS", "*")
    assert isinstance(found, list)
    assert sorted(found) == [b"app:_kombu.binding.celery", b"app:_kombu.binding_permanent.celery", b"app:celery",
                             b"app:fastq.queues"]


def test_a_queue_is_noted_once(publisher: Publisher, probe: Link) -> None:
    for _ in range(3):
        publisher.publish_one("other", content())
    assert probe.call("SMEMBERS", "fastq.queues") == [b"other"]
    stats = probe.call("INFO", "commandstats")
    assert isinstance(stats, bytes)
    assert b"cmdstat_lpush:calls=" in stats


def test_an_eta_goes_to_the_list_and_any_other_time_to_the_set(publisher: Publisher, probe: Link) -> None:
    at = time.time() + 60
    publisher.publish_one("celery", content(b"eta", eta="2040-01-01T00:00:00+00:00"), 0, at)
    publisher.publish_one("celery", content(b"later"), 5, at)
    assert bodies(probe, "celery") == [b"eta"]
    found = probe.call("ZRANGE", "fastq.future.celery", 0, -1, "WITHSCORES")
    assert isinstance(found, list)
    key, _, stored = found[0].partition(b"\n")
    assert key == b"celery\x06\x163"
    assert envelope.unpack(codec.parse(stored))[2] == b"later"
    assert int(found[1]) == int(at * 1000)


def test_a_time_goes_along_to_every_queue_of_an_exchange(publisher: Publisher, probe: Link) -> None:
    publisher.publish_one("video.sound", content(), 0, time.time() + 60, "media")
    assert [probe.call("ZCARD", f"fastq.future.{name}") for name in ("audio", "video")] == [1, 1]


def test_a_queue_that_expires_lives_as_long_after_each_message(publisher: Publisher, probe: Link) -> None:
    publisher.publish_one("brief", content())
    assert 59_000 < int(str(probe.call("PTTL", "brief"))) <= 60_000


# --- exchanges ---


@pytest.mark.parametrize(("key", "queues"), [
    ("video.new", ["video"]), ("film.x.new", ["video"]), ("film.sound", ["audio"]), ("video.sound", ["audio", "video"]),
])
def test_a_topic_goes_to_all_queues_whose_pattern_it_meets(publisher: Publisher, probe: Link, key: str,
                                                         queues: list[str]) -> None:
    publisher.publish_one(key, content(), exchange="media")
    assert [name for name in ("audio", "video") if probe.call("LLEN", name)] == queues
    found = probe.call("LINDEX", queues[0], 0)
    assert isinstance(found, bytes)
    assert json.loads(found)["properties"]["delivery_info"] == {"exchange": "media", "routing_key": key}


def test_an_exchange_that_leads_nowhere_is_an_error(publisher: Publisher, probe: Link) -> None:
    with pytest.raises(Undeliverable, match="'media' by the key 'nothing'"):
        publisher.publish_one("nothing", content(), exchange="media")
    publisher.publish_one("celery", content())


def test_queues_that_others_bound_are_fed_too(publisher: Publisher, probe: Link) -> None:
    probe.call("SADD", "_kombu.binding.sides", "left\x06\x16\x06\x16theirs", "right\x06\x16\x06\x16right")
    publisher.publish_one("left", content(), exchange="sides")
    assert [probe.call("LLEN", name) for name in ("left", "theirs", "right")] == [1, 1, 0]


def test_a_fanout_is_published_and_not_stored(publisher: Publisher, room: RedisRoom, probe: Link) -> None:
    probe.send(command("SUBSCRIBE", "/0.news"))
    probe.receive()
    publisher.publish_one("", content(b"hello"), exchange="news")
    kind, channel, payload = probe.receive()  # type: ignore[misc]
    assert (kind, channel) == (b"message", b"/0.news")
    assert envelope.unpack(codec.parse(payload))[2] == b"hello"
    assert not isinstance(payload, Push)


# --- many ---


def test_many_messages_keep_their_order(publisher: Publisher, probe: Link) -> None:
    count = publisher.publish(Message("celery", content(b"%d" % number)) for number in range(5000))
    assert count == 5000
    assert bodies(probe, "celery") == [b"%d" % number for number in range(5000)]


def test_many_messages_go_to_their_places(publisher: Publisher, probe: Link) -> None:
    messages = [
        Message("celery", content(b"a")), Message("celery", content(b"b"), 9), Message("other", content(b"c")),
        Message("celery", content(b"d"), 0, time.time() + 60), Message("video.x", content(b"e"), 0, None, "media"),
        Message("brief", content(b"f")), Message("celery", content(bytes(300_000))), Message("celery", content(b"g")),
    ]
    assert publisher.publish(iter(messages)) == len(messages)
    assert bodies(probe, "celery") == [b"a", bytes(300_000), b"g"]
    assert [bodies(probe, key) for key in ("celery\x06\x169", "other", "video", "brief")] == [
        [b"b"], [b"c"], [b"e"], [b"f"]]
    assert probe.call("ZCARD", "fastq.future.celery") == 1


def test_no_messages_need_no_server(open_publisher: Open, tmp_path: Path) -> None:
    assert open_publisher(RedisRoom(tmp_path)).publish([]) == 0


def test_messages_that_raise_leave_the_publisher_usable(publisher: Publisher, probe: Link) -> None:
    def source() -> Iterator[Message]:
        yield from [Message("celery", content())] * 300
        raise LookupError("user code")

    with pytest.raises(LookupError):
        publisher.publish(source())
    assert publisher.publish([Message("other", content())] * 300) == 300
    assert probe.call("LLEN", "other") == 300


def test_a_stream_survives_its_connection(publisher: Publisher, room: RedisRoom, probe: Link) -> None:
    def source() -> Iterator[Message]:
        for number in range(20_000):
            if number in (3000, 9000, 15_000):
                probe.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            yield Message("celery", content(b"%d" % number))

    assert publisher.publish(source()) == 20_000
    assert {*bodies(probe, "celery")} == {b"%d" % number for number in range(20_000)}


# --- trouble ---


def test_a_broken_connection_is_made_anew_and_the_message_sent(publisher: Publisher, probe: Link) -> None:
    for _ in range(3):
        publisher.publish_one("celery", content())
        probe.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    publisher.publish_one("celery", content())
    assert probe.call("LLEN", "celery") == 4


def test_a_server_that_is_away_is_an_error_at_once_and_comes_back(open_publisher: Open, tmp_path: Path) -> None:
    server = RedisRoom(tmp_path)
    publisher = open_publisher(server)
    with pytest.raises(OperationalError, match=f"cannot reach Redis at 127.0.0.1:{server.port}/0: connection refused"):
        publisher.publish_one("celery", content())
    with pytest.raises(OperationalError, match="connection refused"):
        publisher.publish([Message("celery", content())])
    with server:
        publisher.publish_one("celery", content())
        server.kill()
        with pytest.raises(OperationalError, match="connection refused"):
            publisher.publish_one("celery", content())
        server.start()
        publisher.publish_one("celery", content())


def test_a_silent_server_costs_the_timeout_once(open_publisher: Open, tmp_path: Path) -> None:
    with RedisRoom(tmp_path) as server:
        publisher = open_publisher(server, timeout_s=0.5)
        publisher.publish_one("celery", content())
        assert server.pid
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            with pytest.raises(TransportError, match=f"127.0.0.1:{server.port}"):
                publisher.publish_one("celery", content())
            assert time.monotonic() - began < 4
            began = time.monotonic()
            with pytest.raises(TransportError):
                publisher.publish_one("celery", content())
            assert time.monotonic() - began < 0.4
        finally:
            os.kill(server.pid, signal.SIGCONT)
        with pytest.raises(TransportError):
            publisher.publish_one("celery", content())

        def is_stored() -> bool:
            try:
                publisher.publish_one("celery", content())
            except TransportError:
                return False
            return True

        wait_until(is_stored)


def test_a_server_that_is_not_ready_is_waited_for(publisher: Publisher, probe: Link) -> None:
    probe.call("CONFIG", "SET", "min-replicas-to-write", 1)
    threads = [threading.Thread(target=publisher.publish_one, args=("celery", content())),
               threading.Thread(target=publisher.publish, args=([Message("celery", content())] * 3,))]
    for thread in threads:
        thread.start()

    def refusals() -> int:
        told = probe.call("INFO", "errorstats")
        assert isinstance(told, bytes)
        return int(told.partition(b"errorstat_NOREPLICAS:count=")[2].split(b"\r")[0] or 0)

    try:
        wait_until(lambda: refusals() >= 3)
        assert threads[0].is_alive()
    finally:
        probe.call("CONFIG", "SET", "min-replicas-to-write", 0)
        for thread in threads:
            thread.join()
    assert probe.call("LLEN", "celery") == 4


def test_a_full_server_says_so_and_how_much_it_took(publisher: Publisher, probe: Link) -> None:
    publisher.publish_one("celery", content())
    probe.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(BrokerFull, match="maxmemory"):
            publisher.publish_one("celery", content())
        with pytest.raises(BrokerFull, match="0 messages before it were stored"):
            publisher.publish([Message("celery", content())] * 1000)
    finally:
        probe.call("CONFIG", "SET", "maxmemory", "0")
    publisher.publish_one("celery", content())
    assert probe.call("LLEN", "celery") == 2


def test_a_message_beyond_the_servers_limit_is_refused_with_the_reason(publisher: Publisher, probe: Link) -> None:
    probe.call("CONFIG", "SET", "proto-max-bulk-len", 1024 * 1024)
    try:
        publisher.publish_one("celery", content())
        with pytest.raises(BrokerRefused, match="proto-max-bulk-len"):
            publisher.publish_one("celery", content(bytes(8_000_000)))
    finally:
        probe.call("CONFIG", "SET", "proto-max-bulk-len", 512 * 1024 * 1024)


def test_threads_share_a_publisher(publisher: Publisher, probe: Link) -> None:
    def send() -> None:
        for _ in range(200):
            publisher.publish_one("celery", content())
        publisher.publish([Message("celery", content())] * 200)

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert probe.call("LLEN", "celery") == 6 * 400


def test_a_forked_child_has_connections_of_its_own(publisher: Publisher, probe: Link) -> None:
    publisher.publish_one("celery", content())
    publisher.publish([Message("celery", content())])
    child = os.fork()
    if child == 0:
        try:
            publisher.after_fork()
            publisher.publish_one("celery", content(b"child"))
            publisher.close()
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    publisher.publish_one("celery", content())
    publisher.publish([Message("celery", content())])
    assert probe.call("LLEN", "celery") == 5


def test_an_idle_connection_that_the_server_dropped_is_not_used(publisher: Publisher, probe: Link) -> None:
    publisher.publish_one("celery", content())
    assert publisher._link is not None
    publisher._link.heard_at -= 100
    probe.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    publisher.publish_one("celery", content())
    assert probe.call("LLEN", "celery") == 2


def test_a_closed_publisher_opens_again(publisher: Publisher, probe: Link) -> None:
    publisher.publish_one("celery", content())
    publisher.close()
    publisher.close()
    publisher.publish_one("celery", content())
    with pytest.raises(ConnectionLost):
        probe.close()
        probe.call("PING")
