"""Workflows whose messages only point to what follows, over Redis: on fastq's workers, and as Celery's take them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from fastq import chain, chord
from fastq.bench.servers.redis import Redis
from tests.compat.sides import SIDES, Client, Worker
from tests.deadline import wait_until

pytestmark = pytest.mark.redis


class Ours:
    """A client of ours whose messages point to the rest of their workflow, and one worker."""

    def __init__(self, place: str, folder: Path, side: str, **settings: Any) -> None:
        told = {"task_default_queue": f"pointers-{uuid4().hex}", **settings}
        self.worker = Worker(SIDES[side], place, folder, **told)
        self.client = Client(SIDES["fastq"], place, {**told, "task_workflow_inline": False})
        self.app, self.tasks = self.client.app, self.client.tasks


@pytest.fixture(scope="module", params=["fastq", "celery"])
def side(request: pytest.FixtureRequest, redis: Redis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    place = redis.place()
    settings = {"task_workflow_inline": False} if request.param == "fastq" else {}
    made = Ours(place, tmp_path_factory.mktemp("pointers"), request.param, **settings)
    try:
        made.worker.wait_until_ready()
        yield made
    finally:
        made.worker.stop()
        made.client.close()
        redis.reclaim(place)


@pytest.mark.parametrize("side", ["fastq"], indirect=True)
def test_chords_in_chords_come_out_right_and_leave_no_key_behind(side: Ours):
    tasks = side.tasks
    made: Any = chord([tasks.add.s(n, n) for n in range(10)], tasks.gather.s(), app=side.app)
    for _ in range(3):
        body = chord([tasks.gather.s(), tasks.gather.s()], tasks.gather.s(), app=side.app)
        made = chord([made, tasks.add.s(1, 1)], body, app=side.app)
    assert len(made.apply_async().get(timeout=30)) == 2
    store = side.app.backend
    wait_until(lambda: not store._chords._ask(b"", lambda link: link.call("KEYS", "*.b")), 20, what="the bodies to go")


@pytest.mark.parametrize("side", ["fastq"], indirect=True)
def test_a_long_chain_comes_out_right_and_is_kept_for_a_while_only(side: Ours):
    tasks = side.tasks
    assert chain([tasks.add.s(0, 1), *(tasks.add.s(1) for _ in range(99))]).apply_async().get(timeout=30) == 100
    ask = side.app.backend._chords._ask
    (key,) = ask(b"", lambda link: link.call("KEYS", "*.r"))
    wait_until(lambda: 0 < ask(b"", lambda link: link.call("TTL", key)) <= 300, 20, what="the chain to be closed")
    assert all(ask(b"", lambda link, key=key: link.call("TTL", key)) > 0
               for key in ask(b"", lambda link: link.call("KEYS", "celery-task*")))


@pytest.mark.parametrize("side", ["celery"], indirect=True)
def test_a_worker_of_celery_fails_a_long_chain_by_name_where_its_message_ends(side: Ours):
    tasks = side.tasks
    result = chain([tasks.add.s(0, 1), *(tasks.add.s(1) for _ in range(99))]).apply_async()
    with pytest.raises(Exception, match=r"fastq\.rest_is_in_the_store") as caught:
        result.get(timeout=30)
    assert type(caught.value).__name__ == "NotRegistered"


@pytest.mark.parametrize("side", ["celery"], indirect=True)
def test_a_worker_of_celery_that_completes_such_a_chord_fails_its_body_by_name(side: Ours):
    tasks = side.tasks
    result = chord([tasks.add.s(1, 1), tasks.add.s(2, 2)], tasks.gather.s(), app=side.app).apply_async()
    with pytest.raises(Exception, match=r"fastq\.rest_is_in_the_store") as caught:
        result.get(timeout=30)
    assert type(caught.value).__name__ == "NotRegistered"
