"""Some rounds on RabbitMQ, each a test, and shorter than `python -m tests.fault --broker rabbitmq` plays them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.fault.outages import ON_RABBITMQ, crash, outage, strike
from tests.fault.rounds import ROUNDS, Round, play
from tests.fault.test_rounds import SEED

TASKS = 600
CRASH = outage("one kill -9 of the broker", strike(1, crash, most=0.6), tasks=1000, least_cuts=1)
NAMES = (
    "quorum: kill -9 of everybody", "quorum: kill -9 with two workers", "quorum: the broker stops and starts",
    "quorum: close_all_connections, two workers", "quorum: a short memory alarm", "quorum: half-open",
    "quorum: kills and cuts", "classic: cut", "classic: split",
)
POINTS = ("supervisor dies at 'settled'", "supervisor dies at 'released'")
"""On classic queues: those on quorum queues stand in the whole account."""
PLAYED = [
    *(replace(CRASH, name=f"{kind}: {CRASH.name}", queue_type=kind) for kind in ("quorum", "classic")),
    *(replace(round_, tasks=min(round_.tasks, TASKS)) for name in NAMES for round_ in ON_RABBITMQ
      if round_.name == name),
    *(replace(round_, name=f"classic: {name}", queue_type="classic", tasks=TASKS) for name in POINTS
      for round_ in ROUNDS if round_.name == name),
]


@pytest.mark.parametrize("round_", PLAYED, ids=lambda round_: round_.name)
def test_nothing_is_lost_and_nothing_runs_twice_without_a_reason(round_: Round, tmp_path: Path,
                                                                 rabbitmq: RabbitMQ) -> None:
    assert play(round_, tmp_path, SEED, rabbitmq=rabbitmq).faults == []


def test_every_name_is_one_of_a_round() -> None:
    assert len(PLAYED) == 2 + len(NAMES) + len(POINTS)
