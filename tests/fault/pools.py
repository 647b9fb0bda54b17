"""Rounds for every kind of pool that runs several tasks in a child, on every broker: kill -9 of whom it may hit."""

from __future__ import annotations

from collections.abc import Iterator

from tests.fault.rounds import Round, kill_children, kill_supervisors

TASKS = 1500
LEASE_S = 1.0
POOLS = ("threads", "asyncio", "gevent", "eventlet")
BROKERS = ("sqlite", "rabbitmq", "redis")


def _rounds() -> Iterator[Round]:
    for broker in BROKERS:
        for pool in POOLS:
            for what, nemesis, deaths in (("children", kill_children(4), 4), ("supervisors", kill_supervisors(2), 2)):
                yield Round(
                    f"{broker}, {pool}: kill -9 of {what}", nemesis, tasks=TASKS, least_deaths=deaths, pool=pool,
                    lease_s=LEASE_S if broker == "redis" else 30.0, on_redis=broker == "redis",
                    queue_type="quorum" if broker == "rabbitmq" else "")


ON_POOLS = tuple(_rounds())
