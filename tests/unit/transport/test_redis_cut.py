"""The producer of Redis over a connection that is cut, split and slow: nothing is lost, what is doubled was cut."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from fastq._ext import envelope
from fastq._ext import kombu as codec
from fastq.exceptions import OperationalError
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_link import Link
from fastq.transport.redis_publish import Publisher
from fastq.transport.redis_route import Routes
from fastq.transport.redis_target import Target
from fastq.transport.redis_way import Way
from fastq.types import Message
from fastq.wire.entity import Queue
from tests.deadline import wait_until
from tests.servers.proxy import Manner, Proxy
from tests.unit.transport.redisroom import RedisRoom


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


@pytest.fixture
def proxy(room: RedisRoom) -> Iterator[Proxy]:
    with Proxy(room.port) as opened:
        yield opened


@pytest.fixture
def publisher(proxy: Proxy) -> Iterator[Publisher]:
    port = int(proxy.url("redis://127.0.0.1:1").rpartition(":")[2])
    routes = Routes(Keys(), lambda name: Queue(name, name, name), lambda _: ())
    made = Publisher(Way([Target("127.0.0.1", port)]).connect, routes, timeout_s=2)
    yield made
    made.close()


def content(number: int) -> bytes:
    return envelope.pack({}, {"task": "add", "id": str(number)}, b"%d" % number)


def stored(probe: Link) -> list[int]:
    found = probe.call("LRANGE", "celery", 0, -1)
    assert isinstance(found, list)
    return [int(envelope.unpack(codec.parse(each))[2]) for each in reversed(found)]


def test_a_reply_that_is_lost_doubles_the_message(publisher: Publisher, proxy: Proxy, probe: Link) -> None:
    publisher.publish_one("celery", content(0))
    proxy.half_open(up=False, down=True)
    sender = threading.Thread(target=publisher.publish_one, args=("celery", content(1)))
    sender.start()
    wait_until(lambda: stored(probe) == [0, 1])
    proxy.behave()  # what was swallowed stays so
    proxy.cut()
    sender.join()
    assert stored(probe) == [0, 1, 1]


def test_a_stream_under_cuts_loses_nothing(publisher: Publisher, proxy: Proxy, probe: Link) -> None:
    def source() -> Iterator[Message]:
        for number in range(10_000):
            if number % 1500 == 1499:
                proxy.cut()
            yield Message("celery", content(number))

    assert publisher.publish(source()) == 10_000
    assert {*stored(probe)} == {*range(10_000)}


def test_replies_that_come_in_pieces_are_put_together(publisher: Publisher, proxy: Proxy, probe: Link) -> None:
    proxy.behave(Manner(piece=3), up=False)
    for number in range(5):
        publisher.publish_one("celery", content(number))
    assert publisher.publish(Message("celery", content(number)) for number in range(5, 50)) == 45
    assert stored(probe) == [*range(50)]


def test_a_peer_that_is_silent_or_takes_nothing_costs_the_timeout(publisher: Publisher, proxy: Proxy,
                                                                  probe: Link) -> None:
    publisher.publish_one("celery", content(0))
    for misbehave in (proxy.half_open, proxy.stall):
        misbehave()
        began = time.monotonic()
        with pytest.raises(OperationalError, match=r"127\.0\.0\.1"):
            publisher.publish_one("celery", content(1))
        with pytest.raises(OperationalError, match=r"127\.0\.0\.1"):
            publisher.publish(Message("celery", content(2) + bytes(100_000)) for _ in range(300))
        assert time.monotonic() - began < 11
        proxy.cut()
        proxy.behave()

        def is_stored() -> bool:
            try:
                publisher.publish_one("celery", content(3))
            except OperationalError:
                return False
            return True

        wait_until(is_stored)
