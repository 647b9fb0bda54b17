"""Some rounds of workflows, each a test, and shorter than `python -m tests.fault --broker workflows` plays them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fault.rounds import Round, play
from tests.fault.shapes import SHAPES
from tests.fault.test_rounds import SEED
from tests.fault.workflows import ON_WORKFLOWS, PLACES, SUPERVISOR

WORKFLOWS = int(os.environ.get("FASTQ_FAULT_WORKFLOWS", "60"))
EVERYBODY = "kill -9 of everybody"
POINTS = ("'counted'", "'settled'", "'closing'", "'unlocking'", "'published'")
"""Those that are about workflows; at the others tasks of all kinds are killed in `test_rounds.py`."""


def _played() -> Iterator[object]:
    marks = {"sqlite": (), "redis": (pytest.mark.redis,), "rabbitmq": (pytest.mark.rabbitmq, pytest.mark.redis)}
    for round_ in ON_WORKFLOWS:
        place = round_.name.partition(",")[0]
        if round_.name.endswith((EVERYBODY, *POINTS)):
            yield pytest.param(round_, id=round_.name, marks=marks[place])


@pytest.mark.parametrize("round_", [*_played()])
def test_no_task_of_a_workflow_is_lost_and_none_runs_twice_without_a_death(
        round_: Round, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    servers = {name: request.getfixturevalue(name) for name, is_used in (
        ("redis", round_.on_redis), ("rabbitmq", round_.queue_type)) if is_used}
    assert play(short(round_), tmp_path, SEED, **servers).faults == []


def short(round_: Round) -> Round:
    """The same with fewer workflows, and with fewer deaths where chance has the choice."""
    def sooner(at: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(f"{label}:{max(2, int(count) * WORKFLOWS // round_.tasks)}"
                     for label, _, count in (one.partition(":") for one in at))

    return replace(round_, tasks=WORKFLOWS, patience_s=90.0, worker_env=sooner(round_.worker_env),
                   producer_env=sooner(round_.producer_env))


def test_every_round_has_five_hundred_workflows_and_every_shape() -> None:
    assert min(round_.tasks for round_ in ON_WORKFLOWS) >= 500
    assert {round_.name.partition(",")[0] for round_ in ON_WORKFLOWS} == PLACES.keys()
    assert len(SHAPES) <= WORKFLOWS
    assert all(any(label in round_.name for round_ in ON_WORKFLOWS) for label in SUPERVISOR)
