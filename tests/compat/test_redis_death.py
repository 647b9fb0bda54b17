"""What a killed worker of one side held on Redis, a worker of the other side runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis as redis_py

from tests.compat.sides import SIDES, Client, Pair, Worker
from tests.deadline import wait_until

pytestmark = pytest.mark.redis
QUEUE = "shared"
LEASE_S = 1.0
PATIENT = {"task_default_queue": QUEUE, "task_acks_late": True, "broker_lease": LEASE_S}
FASTQ = ["fastq", "preset"]


class Stage:
    """One database, its workers and its clients."""

    def __init__(self, url: str, folder: Path, stack: ExitStack) -> None:
        self.url = url
        self.keys = redis_py.Redis.from_url(url, decode_responses=True)
        self._folder = folder
        self._stack = stack
        stack.callback(self.keys.close)

    def start(self, side: str, **settings: object) -> Worker:
        """Start a worker; fastq's own settings mean nothing to Celery's."""
        known = {name: value for name, value in settings.items() if side != "celery" or name != "broker_lease"}
        worker = Worker(SIDES[side], self.url, self._folder, **known)
        self._stack.callback(lambda: worker.stop() if worker.process.returncode is None else None)
        worker.wait_until_ready()
        return worker

    def pair(self, side: str, worker: Worker) -> Pair:
        """A client of *side*, beside *worker*."""
        client = Client(SIDES[side], self.url, {"task_default_queue": QUEUE})
        self._stack.callback(client.close)
        return Pair(client, worker)


@pytest.fixture
def stage(redis_url: str, tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(redis_url, tmp_path, stack)


@pytest.mark.parametrize("side", FASTQ)
def test_what_a_killed_worker_of_ours_held_may_be_run_by_celery(stage: Stage, key: str, side: str) -> None:
    """Another worker of ours brings it back, whatever queue it works on; it comes as Celery's own redeliveries do."""
    victim = stage.start(side, **PATIENT)
    pair = stage.pair("celery", victim)
    sent = pair.tasks.hold.delay(key)
    pair.wait_for_notes(key)
    stage.start(side, **{**PATIENT, "task_default_queue": "elsewhere"})
    stage.start("celery", **PATIENT)
    victim.kill()
    assert pair.wait_for_notes(key, 2) == ["", ""]
    victim.allow(key)
    wait_until(lambda: not stage.keys.hlen("unacked") and not stage.keys.llen(QUEUE))
    assert sent.state == "PENDING"      # it ignores its result
    assert list(stage.keys.scan_iter("fastq.held.*")) == []


@pytest.mark.parametrize("side", FASTQ)
@pytest.mark.parametrize("client", ["celery", "fastq"])
def test_what_a_killed_worker_of_celery_held_is_run_after_the_visibility_timeout(
        stage: Stage, key: str, side: str, client: str) -> None:
    victim = stage.start("celery", **PATIENT)
    pair = stage.pair(client, victim)
    pair.tasks.hold.delay(key)
    pair.wait_for_notes(key)
    pair.tasks.keep.delay("behind it", key)
    victim.kill()
    [(_, taken_at)] = stage.keys.zrange("unacked_index", 0, 0, withscores=True)
    wait_until(lambda: stage.keys.time()[0] > taken_at + 1)
    assert stage.keys.hlen("unacked") > 0
    stage.start(side, **PATIENT, broker_transport_options={"visibility_timeout": 1})
    victim.allow(key)
    assert sorted(pair.wait_for_notes(key, 3)) == ["", "", "'behind it'"]
    wait_until(lambda: not stage.keys.exists("unacked", "unacked_index", QUEUE))


@pytest.mark.parametrize("side", FASTQ)
@pytest.mark.parametrize("client", ["celery", "fastq"])
def test_what_is_for_later_waits_in_a_set_and_in_nobodys_hands(stage: Stage, key: str, side: str, client: str) -> None:
    """Celery sends it as if it were for now; whoever of ours takes it puts it where it costs nothing."""
    worker = stage.start(side, **PATIENT)
    pair = stage.pair(client, worker)
    for n in range(20):
        pair.tasks.keep.apply_async((n, key), countdown=600)
    pair.tasks.keep.apply_async(("soon", key), countdown=1)
    wait_until(lambda: stage.keys.zcard(f"fastq.future.{QUEUE}") >= 20)
    assert pair.wait_for_notes(key) == ["'soon'"]
    assert stage.keys.zcard(f"fastq.future.{QUEUE}") == 20
    assert stage.keys.llen(QUEUE) == 0
    assert list(stage.keys.scan_iter("fastq.held.*")) == []
