"""Some rounds for each kind of pool, shorter than `python -m tests.fault --broker pools` plays them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.pools import ON_POOLS, POOLS
from tests.fault.rounds import Round, all_of, kill_children, kill_supervisors, play
from tests.fault.test_rounds import SEED


@pytest.mark.parametrize("pool", POOLS)
def test_nothing_is_lost_and_nothing_runs_twice_without_a_death(pool: str, tmp_path: Path) -> None:
    nemesis = all_of(kill_children(2), kill_supervisors(1))
    round_ = Round(f"{pool}: kill -9", nemesis, tasks=600, least_deaths=3, pool=pool)
    assert play(round_, tmp_path, SEED).faults == []


def test_there_is_a_round_for_each_kind_of_pool_on_each_broker_for_children_and_for_workers() -> None:
    assert len({round_.name for round_ in ON_POOLS}) == 24
