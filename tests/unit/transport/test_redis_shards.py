"""A cluster as a broker: queues on several nodes, slots that move, nodes that go away and come back."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from fastq import transport
from fastq.bench.servers.cluster import Cluster as Nodes
from fastq.exceptions import LeaseLost, NotHeld, TransportError
from fastq.transport.redis_shards import ShardedTransport
from fastq.types import Message, QueueStat
from fastq.wire.entity import Exchange, Queue
from tests.deadline import wait_until
from tests.unit.transport.redisdesk import Row, Worker, bodies, message, pack, runs, working

pytestmark = pytest.mark.cluster


@pytest.fixture
def producer(cluster_url: str) -> Iterator[ShardedTransport]:
    opened = transport.open(cluster_url)
    assert isinstance(opened, ShardedTransport)
    yield opened
    opened.close()


@pytest.fixture
def names(cluster: Nodes) -> list[str]:
    """A queue on each node."""
    found = {cluster.owner(f"{{q{n}}}").port: f"q{n}" for n in range(30)}
    assert len(found) == 3
    return list(found.values())


def ready(producer: ShardedTransport) -> dict[str, int]:
    return {name: stat.ready for name, stat in producer.queues().items() if stat != QueueStat()}


def drain(worker: Worker, count: int, between: Callable[[int], None] = lambda came: None) -> list[str]:
    """Take and ack until *count* deliveries have ended; *between* is told how many have come."""
    found: list[str] = []
    rows: list[Row] = []

    def step() -> bool:
        nonlocal rows
        rows = worker.turn(20, ack=runs(rows))
        found.extend(bodies(rows))
        between(len(found))
        if not rows and len(found) < count:
            worker.sleep()
        return len(found) >= count and not rows

    wait_until(step, 60, what=f"{count} deliveries")
    return found


def test_queues_on_several_nodes_are_served_in_turn(
        cluster_url: str, producer: ShardedTransport, names: list[str]) -> None:
    producer.publish(message(name, f"{name}-{n}") for n in range(200) for name in names)
    assert ready(producer) == dict.fromkeys(names, 200)
    with working(cluster_url, *names) as worker:
        first = worker.take(90)
        worker.turn(ack=runs(first))
        found = bodies(first) + drain(worker, 510)
    # One node may be the slowest to answer, but none waits until another's queue is empty.
    assert {body.rpartition("-")[0] for body in found[:300]} == set(names)
    assert Counter(found) == Counter(f"{name}-{n}" for n in range(200) for name in names)
    for name in names:
        assert [body for body in found if body.startswith(name)] == [f"{name}-{n}" for n in range(200)]
    assert ready(producer) == {}


def test_a_full_window_takes_no_more(cluster_url: str, producer: ShardedTransport, names: list[str]) -> None:
    producer.publish(message(name, str(n)) for n in range(10) for name in names)
    with working(cluster_url, *names) as worker:
        rows = worker.take(2)
        assert len(rows) == 2
        assert worker.turn(0) == []
        worker.turn(ack=runs(rows))


@pytest.mark.parametrize("is_idle", [False, True], ids=["busy", "idle"])
def test_a_slot_that_moves_loses_and_doubles_nothing(
        cluster: Nodes, cluster_url: str, producer: ShardedTransport, names: list[str], is_idle: bool) -> None:
    moving, staying = names[:2]
    total = 400
    with working(cluster_url, moving, staying) as worker:
        held = []
        if is_idle:
            assert worker.turn(20) == []
            worker.sleep()
        producer.publish(message(name, f"{name}-{n}") for n in range(total // 4) for name in (moving, staying))
        if is_idle:
            held = worker.take(5, 20)
        moved: list[int] = []

        def move(came: int) -> None:
            if not moved and came >= (0 if is_idle else 50):
                moved.append(cluster.move(f"{{{moving}}}").port)
                producer.publish(message(name, f"{name}-{n}") for n in range(total // 4, total // 2)
                                 for name in (moving, staying))

        found = drain(worker, total - len(held), move)
        worker.turn(ack=runs(held))
        assert Counter(found + bodies(held)) == Counter(
            f"{name}-{n}" for n in range(total // 2) for name in (moving, staying))
    assert cluster.owner(f"{{{moving}}}").port == moved[0]
    assert producer.queues()[moving] == QueueStat()


def test_an_idle_worker_hears_of_work_where_its_slot_went(
        cluster: Nodes, cluster_url: str, producer: ShardedTransport) -> None:
    with working(cluster_url, "q") as worker:
        assert worker.turn(5) == []
        worker.sleep()
        cluster.move("{q}")
        producer.publish_one("q", pack("a"))
        rows = worker.take(1)
        assert bodies(rows) == ["a"]
        worker.turn(ack=runs(rows))


def test_a_node_that_is_killed_and_comes_back_loses_nothing(
        cluster: Nodes, cluster_url: str, producer: ShardedTransport, names: list[str]) -> None:
    killed, other = names[:2]
    producer.publish(message(name, f"{name}-{n}") for n in range(50) for name in (killed, other))
    with working(cluster_url, killed, other) as worker:
        rows = worker.take(20)
        node = cluster.owner(f"{{{killed}}}")
        node.kill()
        worker.turn(ack=runs(rows))
        producer.publish_one(other, pack("goes on"))
        elsewhere = 51 - sum(queue == other for queue, *_ in rows)
        found = []
        while len(found) < elsewhere:
            more = worker.take(1, 20)
            assert {queue for queue, *_ in more} <= {other, killed}
            worker.turn(ack=runs(more))
            found += bodies([row for row in more if row[0] == other])
            rows += [row for row in more if row[0] == killed]
        node.start()
        left = 50 - sum(queue == killed for queue, *_ in rows)
        found += drain(worker, left)
        assert len(set(found)) == len(found) == elsewhere + left
    assert ready(producer) == {}


def test_a_queue_whose_node_is_away_is_not_chosen(cluster: Nodes, cluster_url: str, producer: ShardedTransport,
                                                  names: list[str]) -> None:
    killed, own, third = names
    assert ready(producer) == {}     # it knows all nodes
    with working(cluster_url, own, connect_timeout_s=1.0) as worker:
        node = cluster.owner(f"{{{killed}}}")
        node.kill()
        try:
            with pytest.raises(TransportError):
                worker.transport.consume([own, third, killed])
            producer.publish([message(third, "not for us")])
            producer.publish([message(own, "goes on")])
            assert drain(worker, 1) == ["goes on"]
            assert worker.turn(5) == []
        finally:
            node.start()
        wait_until(lambda: ready(producer) == {third: 1})
        worker.transport.consume([own, third, killed])
        producer.publish([message(killed, "back")])
        assert sorted(drain(worker, 2)) == ["back", "not for us"]


# -- what leaves with a turn -------------------------------------------------------------------------------------------


def test_a_retry_is_one_step_with_its_ack(cluster_url: str, producer: ShardedTransport) -> None:
    producer.publish_one("q", pack("a"))
    with working(cluster_url, "q", "other") as worker:
        rows = worker.take(1)
        worker.turn(ack=runs(rows), publish=[message("q", "again", run_at=4e9)])
        worker.until(lambda: producer.queues()["q"] == QueueStat(future=1))


def test_what_goes_to_another_queue_is_there_before_the_ack(
        cluster: Nodes, cluster_url: str, producer: ShardedTransport, names: list[str]) -> None:
    first, then = names[:2]
    producer.publish_one(first, pack("a"))
    with working(cluster_url, first) as worker:
        rows = worker.take(1)
        paused, other = cluster.owner(f"{{{first}}}"), cluster.owner(f"{{{then}}}")
        paused.ask("CLIENT", "PAUSE", 60000, "WRITE")
        try:
            worker.turn(ack=runs(rows), publish=[message(then, "callback")])
            assert other.ask("LLEN", f"{{{then}}}") == 1
            assert producer.queues()[first] == QueueStat(held=1)
        finally:
            paused.ask("CLIENT", "UNPAUSE")
        worker.until(lambda: producer.queues()[first] == QueueStat())


def test_a_wrong_turn_is_given_back_whole(cluster_url: str, producer: ShardedTransport) -> None:
    producer.publish_one("q", pack("a"))
    with working(cluster_url, "q", "p") as worker:
        rows = worker.take(1)
        endings: dict[str, Any] = {"ack": runs(rows), "publish": [message("p", "b", priority=10)]}
        with pytest.raises(ValueError, match="priority"):
            worker.turn(**endings)
        with pytest.raises(NotHeld):
            worker.turn(ack=[(1 << 60, 1 << 60)])
        worker.turn(ack=runs(rows))
        worker.until(lambda: producer.queues()["q"] == QueueStat())


def test_a_lost_lease_of_one_queue_settles_the_others(
        cluster: Nodes, cluster_url: str, producer: ShardedTransport, names: list[str]) -> None:
    ended, other = names[:2]
    producer.publish([message(ended, "a"), message(other, "b")])
    with working(cluster_url, ended, other) as worker:
        rows = worker.take(2)
        cluster.owner(f"{{{ended}}}").ask("DEL", f"fastq.lives.{{{ended}}}")
        with pytest.raises(LeaseLost):
            worker.turn(ack=runs(rows))
            worker.until(lambda: False)
        worker.transport.attach(worker.name, worker.queues)
        worker.until(lambda: producer.queues()[other] == QueueStat())


# -- exchanges ---------------------------------------------------------------------------------------------------------


@contextmanager
def routed(url: str, *queues: Queue) -> Iterator[Any]:
    """A transport of an app with *queues*."""
    known = {queue.name: queue for queue in queues}
    opened = transport.open(url, {
        "queue_of": known.get, "known": lambda: list(known),
        "bound_to": lambda exchange: [queue for queue in queues if queue.exchange.name == exchange]})
    try:
        yield opened
    finally:
        opened.close()


def test_an_exchange_feeds_queues_on_other_nodes(
        cluster_url: str, producer: ShardedTransport, names: list[str]) -> None:
    topic = Exchange("news", "topic")
    queues = [Queue(name, topic, key) for name, key in zip(names, ("eu.#", "*.sport", "us.sport"), strict=True)]
    with routed(cluster_url, *queues) as opened:
        opened.publish_one("eu.sport", pack("a"), exchange="news")
        opened.publish([Message("us.sport", pack("b"), exchange="news")])
    assert ready(producer) == {names[0]: 1, names[1]: 2, names[2]: 1}


# -- looking -----------------------------------------------------------------------------------------------------------


def test_dead_letters_of_several_queues_have_numbers_of_their_own(
        cluster_url: str, producer: ShardedTransport, names: list[str]) -> None:
    producer.publish(message(name, f"{name}-{n}") for n in range(2) for name in names)
    with working(cluster_url, *names) as worker:
        rows = worker.take(6)
        worker.turn(dead=[(tag, "no good") for _, tag, _, _ in rows],
                    rows={tag: (queue, deaths, content) for queue, tag, deaths, content in rows})
        worker.until(lambda: len(producer.dead_letters()) == 6)
    letters = producer.dead_letters()
    assert len({letter.id for letter in letters}) == 6
    chosen = [letter for letter in letters if letter.queue == names[0]]
    assert producer.resolve_dead([letter.id for letter in chosen], replay=True) == 2
    assert ready(producer)[names[0]] == 2
    assert len(producer.dead_letters()) == 4
    assert {letter.queue for letter in producer.dead_letters(names[1])} == {names[1]}
    assert producer.purge(names[0]) == 2


def test_a_forked_child_has_connections_of_its_own(producer: ShardedTransport) -> None:
    producer.publish_one("q", pack("parent"))
    child = os.fork()
    if not child:
        status = 1
        try:
            producer.publish_one("q", pack("child"))
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    producer.publish_one("q", pack("parent"))
    assert ready(producer) == {"q": 3}
