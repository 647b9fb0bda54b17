"""Crashes of RabbitMQ, each a test, and shorter than `python -m tests.fault --broker rabbitmq` plays them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.fault.outages import crash, outage, strike
from tests.fault.rounds import Round, play
from tests.fault.test_rounds import SEED

CRASH = outage("one kill -9 of the broker", strike(1, crash, most=0.6), tasks=1000, least_cuts=1)


@pytest.mark.parametrize("round_", [replace(CRASH, queue_type=kind) for kind in ("quorum", "classic")],
                         ids=lambda round_: round_.queue_type)
def test_nothing_confirmed_is_lost_in_a_crash_of_the_broker(round_: Round, tmp_path: Path, rabbitmq: RabbitMQ) -> None:
    assert play(round_, tmp_path, SEED, server=rabbitmq).faults == []
