"""A worker that chooses other queues: what the server knows of it, whatever breaks meanwhile."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastq._ext import kombu
from fastq.bench.servers.redis import Redis
from fastq.wire.entity import Broadcast, Exchange, Queue
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.redisdesk import Server, Worker, bodies, pack, working

pytestmark = pytest.mark.redis


@pytest.fixture
def proxy(redis: Redis) -> Iterator[Proxy]:
    with Proxy(redis.port) as standing:
        yield standing


def test_what_a_wait_got_of_a_queue_chosen_later_comes_back_from_the_dead(server: Server) -> None:
    dead = Worker(server.url, "q", lease_s=0.5)
    dead.transport.consume(["q", "r"])
    dead.idle()
    life = dead.desk.lanes.life
    server.put("a", queue="r")
    wait_until(lambda: server.client.llen(f"fastq.inbox.{life}.1") == 1)
    dead.die()
    with working(server.url, "r", lease_s=0.5) as other:
        (queue, _, deaths, _), = other.take(1)
        assert (queue, deaths) == ("r", 1)


def test_what_a_wait_got_of_a_queue_chosen_later_goes_back_when_the_worker_leaves(server: Server) -> None:
    worker = Worker(server.url, "q")
    worker.transport.consume(["q", "r"])
    worker.idle()
    life = worker.desk.lanes.life
    server.put("a", queue="r")
    wait_until(lambda: server.client.llen(f"fastq.inbox.{life}.1") == 1)
    worker.transport.close()
    assert (server.bodies("q"), server.bodies("r")) == ([], ["a"])


def test_what_a_wait_got_as_its_queue_was_left_is_taken(server: Server) -> None:
    with working(server.url, "q", "r") as worker:
        worker.idle()
        server.put("a", queue="r")
        life = worker.desk.lanes.life
        wait_until(lambda: server.client.llen(f"fastq.inbox.{life}.1") == 1)
        worker.transport.consume(["q"])
        assert bodies(worker.take(1)) == ["a"]
        server.put("b", queue="r")
        worker.until(lambda: worker.desk.has_settled)
        assert server.bodies("r") == ["b"]


def test_a_choice_that_the_server_did_not_hear_is_told_again(server: Server, proxy: Proxy) -> None:
    worker = Worker(proxy.url(server.url), "q", lease_s=2.0)
    life = worker.desk.lanes.life
    proxy.half_open(down=False)
    worker.transport.consume(["q", "r"])
    assert server.client.hget(f"fastq.life.{life}", "queues") == b"1"
    proxy.behave()
    proxy.cut()
    server.put("a", queue="r")
    assert bodies(worker.take(1)) == ["a"]
    assert server.client.hget(f"fastq.life.{life}", "queues") == b"2"
    worker.die()
    with working(server.url, "r", lease_s=2.0) as other:
        assert bodies(other.take(1)) == ["a"]


def test_the_figures_count_what_waits_got(server: Server) -> None:
    with working(server.url, "q") as worker:
        worker.transport.consume(["q", "r"])
        worker.idle()
        server.put("a", queue="r")
        wait_until(lambda: server.client.llen(f"fastq.inbox.{worker.desk.lanes.life}.1") == 1)
        assert [worker.transport.queues()[name].held for name in "qr"] == [0, 1]


def test_nobody_moves_what_falls_due_in_a_queue_that_was_left(server: Server) -> None:
    with working(server.url, "q", "r") as worker:
        assert server.client.exists("fastq.mover.q", "fastq.mover.r") == 2
        worker.transport.consume(["q"])
        worker.until(lambda: worker.desk.has_settled)
        assert [server.client.exists(f"fastq.mover.{name}") for name in "qr"] == [1, 0]


def test_a_queue_that_everybody_feeds_is_listened_to_from_then_on(server: Server) -> None:
    queues = {"q": Queue("q"), "mine": Broadcast("news", queue="mine")}
    channel = f"/{server.url.rpartition('/')[2]}.news"
    with working(server.url, "q", queue_of=queues.get) as worker:
        worker.transport.consume(["q", "mine"])
        assert server.client.publish(channel, kombu.dump(pack("a"), "news", "")) == 1
        assert bodies(worker.take(1)) == ["a"]
        assert b"mine" not in server.client.smembers("fastq.queues")
        worker.transport.consume(["q"])
        wait_until(lambda: server.client.publish(channel, kombu.dump(pack("b"), "news", "")) == 0)


def test_queues_are_bound_to_their_exchanges_from_then_on(server: Server) -> None:
    queues = {name: Queue(name, Exchange(f"x-{name}"), "key") for name in "qr"}

    def bound(name: str) -> bool:
        return bool(server.client.exists(f"_kombu.binding.x-{name}"))

    with working(server.url, "q", queue_of=queues.get) as worker:
        worker.until(lambda: bound("q"))
        assert not bound("r")
        worker.transport.consume(["q", "r"])
        worker.until(lambda: bound("r"))
