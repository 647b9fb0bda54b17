"""What is published to everybody on Redis: it comes to each who listens, and nothing is left of one who goes."""

from __future__ import annotations

import pytest

from fastq._ext import kombu
from fastq.wire.entity import Broadcast, Exchange, Queue
from tests.deadline import wait_until
from tests.unit.transport.redisdesk import Server, Worker, bodies, pack, runs, working

pytestmark = pytest.mark.redis
QUEUES = {"mine": Broadcast("news", queue="mine"), "yours": Broadcast("news", queue="yours"),
          "kept": Queue("kept", Exchange("news", "fanout"), "video.*")}


def listening(server: Server, name: str) -> Worker:
    return Worker(server.url, name, queue_of=QUEUES.get)


def publish(server: Server, body: str, key: str = "") -> int:
    db = server.url.rpartition("/")[2]
    return int(server.client.publish(f"/{db}.news{key}", kombu.dump(pack(body), "news", key)))


def test_each_gets_its_own_and_leaves_nothing(server: Server) -> None:
    workers = [listening(server, name) for name in ("mine", "yours", "kept")]
    for worker in workers:
        worker.idle()
    assert (publish(server, "a"), publish(server, "b", "/video.big")) == (2, 1)
    rows = [worker.take(1) for worker in workers]
    assert [bodies(each) for each in rows] == [["a"], ["a"], ["b"]]
    for worker, each in zip(workers, rows, strict=True):
        worker.turn(ack=runs(each))
        worker.transport.close()
    assert server.client.keys("*mine*") == server.client.keys("*yours*") == []
    assert server.client.smembers("fastq.queues") == {b"kept"}


def test_what_was_not_run_goes_with_its_worker_and_expires_when_that_is_killed(server: Server) -> None:
    worker = listening(server, "mine")
    worker.idle()
    publish(server, "a")
    assert bodies(worker.take(1)) == ["a"]
    worker.transport.close()
    assert not server.client.exists("mine")
    killed = listening(server, "yours")
    wait_until(lambda: publish(server, "b") == 1)
    wait_until(lambda: killed.turn() or server.client.pttl("yours") > 0)
    killed.die()


def test_a_broken_connection_is_made_anew(server: Server) -> None:
    with working(server.url, "mine", queue_of=QUEUES.get) as worker:
        worker.idle()
        assert publish(server, "a") == 1
        rows = worker.take(1)
        server.client.client_kill_filter(_type="pubsub")

        def listens() -> bool:
            worker.turn()
            worker.sleep(0.01)
            return publish(server, "b") == 1

        wait_until(listens, 20)
        assert bodies(worker.take(1, ack=runs(rows))) == ["b"]
