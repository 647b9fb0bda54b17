"""Some rounds on Redis, each a test, and shorter than `python -m tests.fault --broker redis` plays them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fastq.bench.servers.redis import Redis
from tests.fault.account import SYNCED
from tests.fault.outages_redis import ON_REDIS
from tests.fault.rounds import Round, play
from tests.fault.test_rounds import SEED
from tests.servers.redis import standing

pytestmark = pytest.mark.redis
TASKS = 1000
LEASE_S = 1.0
NAMES = (
    "kill -9 of everybody", "kill -9 with two workers", "stop of a supervisor", "stop of a whole worker",
    "stop of a whole worker, the store apart", "cold shutdowns (INT, INT)", "kill -9 of the server",
    "all connections closed, two workers", "a full server", "scripts forgotten", "half-open", "slow", "split",
    "kills and cuts",
)
PLAYED = [replace(round_, tasks=min(round_.tasks, TASKS), lease_s=LEASE_S) for name in NAMES for round_ in ON_REDIS
          if round_.name == f"redis: {name}"]


@pytest.fixture(scope="module")
def synced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """A server that forgets nothing that it has answered."""
    def make(folder: Path) -> Redis:
        return Redis(folder, aof=True, config=(SYNCED,))

    with standing(make, tmp_path_factory.mktemp("synced")) as server:
        yield server


@pytest.mark.parametrize("round_", PLAYED, ids=lambda round_: round_.name)
def test_nothing_is_lost_and_nothing_runs_twice_without_a_death(round_: Round, tmp_path: Path, synced: Redis) -> None:
    assert play(round_, tmp_path, SEED, redis=synced).faults == []


def test_every_name_is_one_of_a_round() -> None:
    assert len(PLAYED) == len(NAMES)
