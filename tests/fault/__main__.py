"""``python -m tests.fault [--broker KIND] [--seed N] [NAME ...]``: play the rounds, or those that contain a NAME."""

from __future__ import annotations

import argparse
import sys

from tests.fault.account import run
from tests.fault.outages import ON_RABBITMQ
from tests.fault.outages_redis import ON_REDIS
from tests.fault.pools import ON_POOLS
from tests.fault.rounds import ROUNDS
from tests.fault.workflows import ON_WORKFLOWS

BROKERS = {"sqlite": ROUNDS, "rabbitmq": ON_RABBITMQ, "redis": ON_REDIS, "pools": ON_POOLS, "workflows": ON_WORKFLOWS}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m tests.fault",
        description="Kill, stop and end things under load, and count what was lost and what ran twice.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only rounds whose names contain this")
    parser.add_argument("--seed", type=int, help="strike at the moments of an earlier run")
    parser.add_argument("--broker", choices=sorted(BROKERS),
                        help="only rounds on this, those of every kind of pool, or those of workflows; without, all")
    told = parser.parse_args()
    rounds = BROKERS[told.broker] if told.broker else [round_ for group in BROKERS.values() for round_ in group]
    picked = [round_ for round_ in rounds if not told.names or any(name in round_.name for name in told.names)]
    if not picked:
        parser.error(f"no round has such a name; there are: {', '.join(round_.name for round_ in rounds)}")
    sys.exit(run(picked, told.seed))
