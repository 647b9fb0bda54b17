"""Long chains, most of which the result store keeps, and workers that die on the way."""

from __future__ import annotations

import json
import os
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastq import Fastq, chain
from tests.fault.crew import Crew
from tests.fault.engines import Engine

SEED = int(os.environ.get("FASTQ_FAULT_SEED", "7"))
CHAINS = int(os.environ.get("FASTQ_FAULT_CHAINS", "12"))
LEASE_S = 1.5


@pytest.fixture
def crew(engine: Engine, tmp_path: Path) -> Iterator[Crew]:
    crew = Crew(tmp_path, engine, 0, lease_s=LEASE_S)
    for _ in range(2):
        crew.start_worker()
    yield crew
    crew.leave()


def ends_of(crew: Crew) -> dict[int, list[tuple[int, list[int]]]]:
    """Of each chain the runs of its last step: deaths before, and what came to it."""
    path, found = Path(f"{crew.journal.path}.ends"), defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else ():
        number, deaths, values = line.split(" ", 2)
        found[int(number)].append((int(deaths), json.loads(values)))
    return found


def test_long_chains_survive_kills_of_children_and_workers(crew: Crew) -> None:
    chance = random.Random(SEED)
    app = Fastq("fault", broker=crew.engine.url, task_workflow_inline=False, **crew.engine.settings())
    sizes: dict[int, int] = {}
    results = {}
    try:
        for number in range(CHAINS):
            sizes[number] = chance.choice((40, 60, 90))
            told = [("link", ([],)), *[("link", ())] * (sizes[number] - 1), ("end", (number,))]
            steps = [app.signature(f"tests.fault.proj.{name}", args) for name, args in told]
            results[number] = chain(steps, app=app).apply_async()
            if number % 3 == 2:
                crew.watch()
                victim = chance.choice(crew.workers)
                children = victim.children()
                crew.kill(chance.choice(children) if children and chance.random() < 0.6 else victim.pid)
        for result in results.values():
            crew.wait(result.ready, 90, what="the chains to end")
        crew.wait(crew.engine.is_empty, 30, what="the broker to be empty")
        failed = {number: result.result for number, result in results.items() if not result.successful()}
        assert all("killed" in str(error) for error in failed.values()), failed  # too often, and dead-lettered for it
        ends = ends_of(crew)
        for number, size in sizes.items():
            assert all(values == list(range(size)) for _, values in ends[number])
            assert len(ends[number]) >= (number not in failed)
            assert len([deaths for deaths, _ in ends[number] if deaths == 0]) <= 1, f"chain {number} ended twice"
    finally:
        app.close()
