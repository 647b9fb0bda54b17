"""Messages for later on Redis: who puts them where, and what becomes of them when fastq's workers go."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from fastq import transport
from fastq._ext import envelope, kombu
from fastq.exceptions import BrokerFull
from fastq.transport.redis_hand_over import PIECE, HandedOver, StillServed
from fastq.types import Message
from fastq.wire.entity import Queue
from tests.deadline import wait_until
from tests.unit.transport.redisdesk import Server, Worker, said, working

pytestmark = pytest.mark.redis
ETA = "2099-01-01T00:00:00+00:00"
DUE = time.time() + 3600


def content(body: str, **headers: Any) -> bytes:
    return envelope.pack({}, {"task": "add", "id": "1", **headers}, body.encode())


@pytest.fixture
def producer(redis_url: str) -> Iterator[Any]:
    opened = transport.open(redis_url)
    yield opened
    opened.close()


def future(server: Server, queue: str = "q") -> list[tuple[str, str]]:
    """(key of the list, body) of what is in the set, the first to be due first."""
    members = [member.partition(b"\n") for member in server.client.zrange(f"fastq.future.{queue}", 0, -1)]
    return [(key.decode(), said(each)) for key, _, each in members]


def test_an_eta_goes_to_the_set_while_a_worker_serves_the_queue_and_else_to_the_list(server: Server,
                                                                                     producer: Any) -> None:
    def send(body: str, queue: str = "q", priority: int = 0) -> None:
        producer.publish_one(queue, content(body, eta=ETA), priority, DUE)

    send("before")
    worker = Worker(server.url)
    worker.turn()
    send("while", priority=6)
    send("elsewhere", "other")
    assert future(server) == [("q\x06\x166", "while")]
    worker.transport.close()
    send("after")
    assert (future(server), server.bodies(), server.bodies("other")) == (
        [("q\x06\x166", "while")], ["before", "after"], ["elsewhere"])


def test_many_go_there_too(server: Server, producer: Any) -> None:
    with working(server.url):
        producer.publish([Message("q", content(str(at), eta=ETA), 0, DUE + at) for at in range(300)])
        assert [body for _, body in future(server)] == [str(at) for at in range(300)]


def test_a_killed_worker_is_believed_for_its_lease_and_a_living_one_as_long_as_it_lives(server: Server) -> None:
    with working(server.url, "kept") as living:
        worker = Worker(server.url, lease_s=0.5)
        assert 0 < server.client.pttl("fastq.mover.q") <= 500
        assert 0 < server.client.pttl("fastq.mover.kept") <= 30_000
        worker.die()
        wait_until(lambda: not server.client.exists("fastq.mover.q"))
        server.client.pexpire("fastq.mover.kept", 1000)
        living.transport.keep()
        assert server.client.pttl("fastq.mover.kept") > 1000


def test_one_that_leaves_is_replaced_by_those_that_stay(server: Server) -> None:
    with working(server.url) as stays:
        with working(server.url):
            pass
        assert not server.client.exists("fastq.mover.q")
        stays.transport.keep()
        wait_until(lambda: server.client.exists("fastq.mover.q"))


def test_a_worker_that_cannot_renew_itself_is_believed_too(server: Server) -> None:
    with working(server.url, lease_s=86_400.0, kept_lease_s=0.3):
        renewals, left = 0, 300

        def grew() -> bool:
            nonlocal renewals, left
            before, left = left, server.client.pttl("fastq.mover.q")
            renewals += left > before
            return renewals > 1

        wait_until(grew)


def test_a_queue_that_expires_keeps_its_messages_to_itself(redis_url: str, server: Server) -> None:
    brief = transport.open(redis_url, {"queue_of": lambda name: Queue(name, name, name, expires=60)})
    with working(server.url):
        brief.publish_one("q", content("a", eta=ETA), 0, DUE)
        assert (server.bodies(), future(server)) == (["a"], [])
        assert 0 < server.client.pttl("q") <= 60_000
    brief.close()


@pytest.mark.parametrize("sent", ["before", "after"])
def test_what_falls_due_is_moved_by_workers_that_want_nothing(server: Server, producer: Any, sent: str) -> None:
    server.put("a")
    with working(server.url) as worker:
        def send() -> None:
            producer.publish_one("q", content("b"), 0, time.time() + 0.5)

        if sent == "before":
            send()
        worker.take(1)
        worker.until(lambda: not worker.desk._turns)
        if sent == "after":
            send()
        assert (server.bodies(), future(server)) == ([], [("q", "b")])
        # As a full worker does: it sleeps, and has no turn.
        wait_until(lambda: (worker.sleep(), server.bodies() == ["b"])[1])
        assert worker.desk.gathered == 0
        assert (worker.transport.arm() or 0) <= 1.0


def test_a_full_server_says_so(server: Server, producer: Any) -> None:
    with working(server.url):
        producer.publish_one("q", content("a", eta=ETA), 0, DUE)
        server.client.config_set("maxmemory", 1)
        try:
            with pytest.raises(BrokerFull):
                producer.publish_one("q", content("b", eta=ETA), 0, DUE)
        finally:
            server.client.config_set("maxmemory", 0)


# --- going back to Celery ---


def test_what_waits_apart_is_handed_over_once_the_workers_have_gone(server: Server, producer: Any) -> None:
    count = PIECE + 20
    with working(server.url):
        producer.publish([Message("q", content(str(at), eta=ETA), at % 2 * 9, DUE) for at in range(count)])
        server.client.lpush("fastq.trial.q", kombu.dump(content("suspect"), "", "q"))
        with pytest.raises(StillServed, match="stop it first"):
            producer.hand_over("q")
        assert len(future(server)) == count
    assert producer.hand_over("q") == HandedOver(count, 1)
    assert server.bodies()[0] == "suspect"
    assert sorted([*server.bodies()[1:], *server.bodies("q\x06\x169")], key=int) == [str(at) for at in range(count)]
    assert (future(server), server.client.exists("fastq.trial.q"), producer.hand_over("q")) == ([], 0, HandedOver())


def test_a_worker_that_comes_back_takes_them_again(server: Server, producer: Any) -> None:
    producer.publish_one("q", content("a", eta=ETA), 0, DUE)
    with working(server.url) as worker:
        rows = worker.take(1)
        worker.turn(later=[(rows[0][1], DUE)])
        worker.until(lambda: future(server) == [("q", "a")])
        assert not server.bodies()
