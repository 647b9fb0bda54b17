"""The rounds, each a test: nothing confirmed is lost, and nothing runs twice but beside a death."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.fault.account import COLUMNS, figures
from tests.fault.rounds import ROUNDS, Round, play

SEED = int(os.environ.get("FASTQ_FAULT_SEED", "1"))


@pytest.mark.parametrize("round_", ROUNDS, ids=lambda round_: round_.name)
def test_nothing_is_lost_and_nothing_runs_twice_without_a_death(round_: Round, tmp_path: Path) -> None:
    outcome = play(round_, tmp_path, SEED)
    assert outcome.faults == []
    assert len(figures(outcome)) == len(COLUMNS) - 1


def test_there_are_twenty_rounds_of_five_thousand_tasks_at_least() -> None:
    assert len(ROUNDS) >= 20
    assert min(round_.tasks for round_ in ROUNDS) >= 5000
