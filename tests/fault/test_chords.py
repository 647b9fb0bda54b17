"""Chords under kill -9: every body runs, with the values of all members, and twice only where a death explains it."""

from __future__ import annotations

import json
import os
import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from fastq import Fastq, chain, points
from fastq.bench.servers.redis import Redis
from fastq.wire.chord import plan
from fastq.wire.rest import pointer
from tests.deadline import wait_until
from tests.fault.crew import Crew
from tests.fault.engines import Database, Engine, File

CHORDS = int(os.environ.get("FASTQ_FAULT_CHORDS", "150"))
SEED = int(os.environ.get("FASTQ_FAULT_SEED", "1"))
LEASE_S = 1.5
Start = Callable[..., Crew]


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made: Engine
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis")
        made = Database(server)
    else:
        made = File(tmp_path)
    yield made
    made.close()


@pytest.fixture
def start(engine: Engine, tmp_path: Path) -> Iterator[Start]:
    crews: list[Crew] = []

    def begin(workers: int = 2, environments: tuple[dict[str, str], ...] = ()) -> Crew:
        crew = Crew(tmp_path, engine, 0, lease_s=LEASE_S, environments=list(environments))
        crews.append(crew)
        for _ in range(workers):
            crew.start_worker()
        return crew

    yield begin
    for crew in crews:
        crew.leave()


class Chords:
    """Chords as a client sends them: *sizes* of them by their numbers."""

    def __init__(self, crew: Crew) -> None:
        self.crew = crew
        self.sizes: dict[int, int] = {}
        self.ids: dict[int, str] = {}
        self._app = Fastq("fault", broker=crew.engine.url, **crew.engine.settings())

    def send(self, number: int, size: int) -> None:
        """Send one chord: its members' values are numbers from 0."""
        group_id, task_id = uuid4().hex, uuid4().hex
        body = {"task": "tests.fault.proj.body", "args": [number], "kwargs": {}, "subtask_type": None,
                "immutable": False, "options": {"task_id": task_id, "group_id": group_id}}
        kept = b""
        if number % 2:      # half of them point to a body that the store keeps
            kept, body = plan(group_id, body, serializer="json"), pointer(task_id)
        self._app.backend.chord_open(group_id, size, plan=kept, expires_at=time.time() + 3600)
        with self._app.batch():
            for place in range(size):
                self._app.send_task("tests.fault.proj.member", (place,), group_id=group_id, group_index=place,
                                    chord=body)
        self.sizes[number], self.ids[number] = size, task_id

    def send_chain(self, number: int, length: int) -> None:
        """Send a chain, most of which the store keeps, whose last step gets as many values."""
        told = [("link", ([],)), *[("link", ())] * (length - 1), ("body", (number,))]
        steps = [self._app.signature(f"tests.fault.proj.{name}", args) for name, args in told]
        self._app.conf.task_workflow_inline = False
        self.sizes[number], self.ids[number] = length, chain(steps, app=self._app).apply_async().id

    def runs(self) -> dict[int, list[tuple[int, list[int]]]]:
        """Of each chord the runs of its body: deaths before, and values."""
        path, found = Path(f"{self.crew.journal.path}.bodies"), defaultdict(list)
        for line in path.read_text().splitlines() if path.exists() else ():
            number, deaths, _, values = line.split(" ", 3)
            found[int(number)].append((int(deaths), json.loads(values)))
        return found

    def wait(self) -> None:
        """Wait until every body has ended, and the broker is empty."""
        ids = list(self.ids.values())
        self.crew.wait(lambda: len(self._app.backend.get(ids)) == len(ids), 60, what="all bodies to end")
        self.crew.wait(self.crew.engine.is_empty, 30, what="the broker to be empty")

    def faults(self) -> list[str]:
        """What must not be, deaths or not."""
        runs, told = self.runs(), list[str]()
        for number, size in self.sizes.items():
            told += [f"chord {number} has values {values}" for _, values in runs[number]
                     if values != list(range(size))]
            if len([deaths for deaths, _ in runs[number] if deaths == 0]) > 1:
                told.append(f"chord {number} has sent its body twice: {runs[number]}")
        for number, task_id in self.ids.items():
            result = self._app.AsyncResult(task_id)
            if not result.successful() and "killed" not in str(result.result):  # too often, and dead-lettered for it
                told.append(f"chord {number} is {result.state}: {result.result!r}")
        return told

    def close(self) -> None:
        self._app.close()


@pytest.fixture
def send(request: pytest.FixtureRequest) -> Iterator[Callable[[Crew], Chords]]:
    made: list[Chords] = []

    def make(crew: Crew) -> Chords:
        made.append(Chords(crew))
        return made[-1]

    yield make
    for chords in made:
        chords.close()


def test_bodies_survive_kills_of_children_and_workers(start: Start, send: Callable[[Crew], Chords]) -> None:
    chance = random.Random(SEED)
    crew = start()
    chords = send(crew)
    for number in range(CHORDS):
        chords.send(number, chance.choice((1, 2, 3, 8)))
        if number % 12 == 5:
            crew.watch()
            victim = chance.choice(crew.workers)
            children = victim.children()
            crew.kill(chance.choice(children) if children and chance.random() < 0.6 else victim.pid)
    chords.wait()
    assert chords.faults() == []


def test_long_chains_survive_kills_of_children_and_workers(start: Start, send: Callable[[Crew], Chords]) -> None:
    chance = random.Random(SEED)
    crew = start()
    chains = send(crew)
    for number in range(CHORDS // 10):
        chains.send_chain(number, chance.choice((40, 60, 90)))
        if number % 4 == 3:
            crew.watch()
            victim = chance.choice(crew.workers)
            children = victim.children()
            crew.kill(chance.choice(children) if children and chance.random() < 0.6 else victim.pid)
    chains.wait()
    assert chains.faults() == []


@pytest.mark.parametrize("point", ["collected", "counted", "before-settle", "settled", "claimed", "called", "recorded",
                                   "done"])
def test_bodies_survive_a_kill_at_the_worst_moment(start: Start, send: Callable[[Crew], Chords], point: str) -> None:
    assert point in points.SUPERVISOR + points.CHILD
    crew = start(2, tuple({"FASTQ_KILL_AT": f"{point}:{count}"} for count in (3, 9)))
    chords = send(crew)
    for number in range(20):
        chords.send(number, 1 + number % 4)
    chords.send_chain(20, 60)
    chords.wait()
    assert chords.faults() == []


def test_a_member_that_kills_its_child_every_time_fails_the_body(start: Start, engine: Engine) -> None:
    crew = start(1)
    app = Fastq("fault", broker=engine.url, **engine.settings())
    try:
        group_id = uuid4().hex
        body = {"task": "tests.fault.proj.body", "args": [1], "kwargs": {}, "subtask_type": None, "immutable": False,
                "options": {"task_id": uuid4().hex, "group_id": group_id}}
        app.backend.chord_open(group_id, 2, expires_at=time.time() + 3600)
        for place, name in enumerate(("member", "suicide")):
            app.send_task(f"tests.fault.proj.{name}", (place,), group_id=group_id, group_index=place, chord=body)
        result = app.AsyncResult(body["options"]["task_id"])
        wait_until(lambda: crew.watch() or result.ready(), 60, what="the body to fail")
        assert "killed" in str(result.result)
        assert type(result.result).__name__ == "ChordError"
    finally:
        app.close()
