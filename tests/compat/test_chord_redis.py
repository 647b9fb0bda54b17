"""Chords that Celery's clients send, joined by workers of fastq, of Celery, and of both at once, over Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import celery
import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.bench.servers.redis import Redis
from tests.compat.sides import SIDES, Client, Worker
from tests.deadline import wait_until

pytestmark = pytest.mark.redis
FLEETS = [("fastq",), ("preset",), ("fastq", "celery")]


@pytest.fixture(scope="module")
def place(redis: Redis) -> Iterator[str]:
    url = redis.place()
    yield url
    redis.reclaim(url)


class Fleet:
    """A client of Celery, and workers on its queue."""

    def __init__(self, place: str, folder: Path, sides: tuple[str, ...], settings: dict[str, Any]) -> None:
        told = {"task_default_queue": f"chords-{uuid4().hex}", **settings}
        self.workers = [Worker(SIDES[side], place, folder, **told) for side in sides]
        self.client = Client(SIDES["celery"], place, told)
        self.app, self.tasks = self.client.app, self.client.tasks

    def noted(self, key: str) -> list[str]:
        return self.workers[0].noted(key)   # they share one file

    def close(self) -> None:
        for worker in self.workers:
            worker.stop()
        self.client.close()


@pytest.fixture(scope="module", params=FLEETS, ids="+".join)
def fleet(request: pytest.FixtureRequest, place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    yield from _running(Fleet(place, tmp_path_factory.mktemp("chords"), request.param, {}))


@pytest.fixture(scope="module", params=[
    {"result_serializer": "msgpack"}, {"result_serializer": "yaml"}, {"result_compression": "gzip"},
    {"task_serializer": "pickle", "result_serializer": "pickle"}], ids=str)
def other(request: pytest.FixtureRequest, place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    sides = ("fastq", "celery") if "result_compression" in request.param else ("fastq",)
    yield from _running(Fleet(place, tmp_path_factory.mktemp("chords"), sides, request.param))


@pytest.fixture(scope="module")
def ours(place: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    yield from _running(Fleet(place, tmp_path_factory.mktemp("chords"), ("fastq", "fastq"), {}))


@pytest.fixture(scope="module")
def apart(place: str, rabbitmq: RabbitMQ, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Messages on RabbitMQ, results on Redis."""
    url = rabbitmq.vhost()
    settings = {"result_backend": place, "task_default_queue_type": "classic"}
    yield from _running(Fleet(url, tmp_path_factory.mktemp("chords"), ("fastq", "celery"), settings))
    rabbitmq.reclaim(url)


def _running(fleet: Fleet) -> Iterator[Fleet]:
    try:
        for worker in fleet.workers:
            worker.wait_until_ready()
        yield fleet
    finally:
        fleet.close()


def test_a_body_gets_the_values_in_the_order_of_the_header(fleet: Fleet):
    tasks = fleet.tasks
    for size in (1, 2, 50):
        result = celery.chord([tasks.add.s(n, n) for n in range(size)], app=fleet.app)(tasks.gather.s())
        assert result.get(timeout=30) == [2 * n for n in range(size)]
    assert result.parent.get(timeout=30) == [2 * n for n in range(50)]


def test_a_body_follows_the_member_that_ended_last(fleet: Fleet):
    tasks = fleet.tasks
    header = [tasks.add.s(1, 1), tasks.add.s(2, 2)]
    facts = celery.chord(header, app=fleet.app)(tasks.facts.si()).get(timeout=30)
    assert facts["parent_id"] is not None
    assert facts["root_id"] is not None


def test_a_failed_member_fails_the_body_and_calls_its_errbacks(fleet: Fleet):
    tasks, key = fleet.tasks, uuid4().hex
    body = tasks.gather.s().on_error(tasks.keep_failure.s(key))
    result = celery.chord([tasks.add.s(1, 1), tasks.fail.s("ours"), tasks.add.s(2, 2)], app=fleet.app)(body)
    with pytest.raises(celery.exceptions.ChordError, match=r"Broken\('no good', 3\)$"):
        result.get(timeout=30, follow_parents=False)
    (culprit,) = [member.id for member in result.parent if member.state == "FAILURE"]
    said = [f"Dependency {culprit} raised Broken('no good', 3)"]
    if len(fleet.workers) > 1:
        said.append("Broken('no good', 3)")     # of Celery's chord_unlock, when it finds the failure by joining
    assert str(result.result) in said
    wait_until(lambda: any("ChordError" in line for line in fleet.noted(key)), 20)


def test_groups_in_the_header_keep_their_shape(fleet: Fleet):
    tasks = fleet.tasks
    header = celery.group([tasks.add.s(1, 1), tasks.add.s(2, 2)], app=fleet.app)
    result = celery.chord([tasks.add.s(0, 0), celery.chord(header, tasks.gather.s(), app=fleet.app)],
                          app=fleet.app)(tasks.gather.s())
    values = result.get(timeout=30)
    assert values[0] == 0
    assert sorted(values[1]) == [2, 4]


def test_chains_are_members_too_and_fail_the_body_from_any_step(fleet: Fleet):
    tasks = fleet.tasks
    chain = celery.chain(tasks.add.s(1, 1), tasks.add.s(1), app=fleet.app)
    result = celery.chord([chain, tasks.add.s(5, 5)], app=fleet.app)(tasks.gather.s())
    assert result.get(timeout=30) == [3, 10]
    broken = celery.chain(tasks.fail.s("lookup"), tasks.add.s(1), app=fleet.app)
    result = celery.chord([broken, tasks.add.s(5, 5)], app=fleet.app)(tasks.gather.s())
    with pytest.raises(celery.exceptions.ChordError, match="KeyError"):
        result.get(timeout=30, follow_parents=False)


def test_an_expired_member_fails_the_body(fleet: Fleet):
    tasks = fleet.tasks
    header = [tasks.add.s(1, 1), tasks.add.s(2, 2).set(expires=-1)]
    result = celery.chord(header, app=fleet.app)(tasks.gather.s())
    with pytest.raises(celery.exceptions.ChordError, match="expired"):
        result.get(timeout=30, follow_parents=False)


def test_a_failing_chord_inside_a_chord_fails_that_one_as_well(ours: Fleet):
    """Celery's own workers leave the outer one waiting for ever."""
    tasks, fleet = ours.tasks, ours
    inner = celery.chord([tasks.fail.s("lookup"), tasks.add.s(1, 1)], tasks.gather.s(), app=fleet.app)
    result = celery.chord([inner, tasks.add.s(2, 2)], app=fleet.app)(tasks.gather.s())
    with pytest.raises(celery.exceptions.ChordError, match="ChordError"):
        result.get(timeout=30, follow_parents=False)


def keys_of(fleet: Fleet) -> Callable[[], set[bytes]]:
    """Run a chord, and return what tells its keys."""
    tasks = fleet.tasks
    result = celery.chord([tasks.add.s(n, n) for n in range(5)], app=fleet.app)(tasks.gather.s())
    assert len(result.get(timeout=30)) == 5
    return lambda: set(fleet.app.backend.client.scan_iter(f"*{result.parent.id}*"))


def test_every_key_of_a_chord_expires(fleet: Fleet):
    server = fleet.app.backend.client
    assert all(server.ttl(key) != -1 for key in keys_of(fleet)())     # -2: gone meanwhile


def test_of_a_chord_that_is_done_one_key_is_left_for_a_while(ours: Fleet):
    """A worker of Celery that sends the body leaves the others to expire, too."""
    left = keys_of(ours)
    wait_until(lambda: [key[-2:] for key in left()] == [b".c"], 20, what="the keys to go")


def test_values_travel_in_other_forms(other: Fleet):
    tasks = other.tasks
    result = celery.chord([tasks.add.s(n, n) for n in range(20)], app=other.app)(tasks.gather.s())
    assert result.get(timeout=30) == [2 * n for n in range(20)]


@pytest.mark.rabbitmq
def test_members_may_come_by_another_broker(apart: Fleet):
    tasks = apart.tasks
    result = celery.chord([tasks.add.s(n, n) for n in range(50)], app=apart.app)(tasks.gather.s())
    assert result.get(timeout=30) == [2 * n for n in range(50)]
    result = celery.chord([tasks.add.s(1, 1), tasks.fail.s("lookup")], app=apart.app)(tasks.gather.s())
    with pytest.raises(celery.exceptions.ChordError, match="KeyError"):
        result.get(timeout=30, follow_parents=False)
