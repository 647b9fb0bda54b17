"""What goes wrong between RabbitMQ and those who use it, and the rounds on RabbitMQ.

Connections that break void nothing that a worker runs: what was under way may come twice, and no more than that. So
each nemesis writes down when its outage began and when it was over.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.fault.crew import Crew
from tests.fault.engines import Database, Host
from tests.fault.history import CONFIRM
from tests.fault.rounds import (
    ROUNDS,
    Nemesis,
    Round,
    all_of,
    kill_children,
    kill_producers,
    kill_supervisors,
    moments,
    stop_supervisors,
)
from tests.servers.proxy import Manner, Proxy

Blow = Callable[["Crew"], Iterator[None]]

TASKS = 2000
NOTICE_S = 20.0
"""Within this everybody has to find out that a connection is dead."""


def server_of(crew: Crew) -> RabbitMQ:
    assert isinstance(crew.engine, Host)
    return crew.engine.server


def proxy_of(crew: Crew) -> Proxy:
    assert isinstance(crew.engine, (Host, Database)) and crew.engine.proxy is not None
    return crew.engine.proxy


def strike(count: int, blow: Blow, *, most: float = 0.9, is_outage: bool = True) -> Nemesis:
    """Deal *blow* at *count* moments, each once somebody is connected."""
    def nemesis(crew: Crew, chance: random.Random) -> Iterator[None]:
        for is_now in moments(crew, chance, count, most=most):
            if is_now:
                while not all(worker.children() for worker in crew.workers):
                    yield
                with crew.outage() if is_outage else nullcontext():
                    yield from blow(crew)
            yield
    return nemesis


# -- blows: what happens, and until when ----------------------------------------------------------------


def restart(crew: Crew) -> Iterator[None]:
    """Stop the broker in order, and start it with the data that it had."""
    server_of(crew).stop()
    yield
    server_of(crew).start()


def crash(crew: Crew) -> Iterator[None]:
    """Kill the broker, and start it again.

    What it confirms for quorum queues that are younger than a second it may lose, and no client can help it: see
    docs/decisions/012-quorum-queues-by-default.md. So here they are older.
    """
    server_of(crew).write_names()
    server_of(crew).kill()
    yield
    server_of(crew).start()


def close_connections(crew: Crew) -> Iterator[None]:
    """Close all connections as an administrator does."""
    yield
    server_of(crew).close_all_connections()


def cut(crew: Crew) -> Iterator[None]:
    """Reset all connections."""
    yield
    proxy_of(crew).cut()


def go_silent(crew: Crew) -> Iterator[None]:
    """Swallow what the connections that stand send, until everybody has found out by himself."""
    before = crew.connections()
    proxy_of(crew).strand()
    until = time.monotonic() + NOTICE_S
    while before & crew.connections():
        if time.monotonic() > until:
            raise AssertionError(f"after {NOTICE_S} s of silence these still hope: {before & crew.connections()}")
        yield


def run_out_of_memory(seconds: float) -> Blow:
    """Raise the memory alarm for so long: publishers are blocked, and acks go on."""
    def blow(crew: Crew) -> Iterator[None]:
        confirmed = crew.seen.counts[CONFIRM]
        server_of(crew).alarm(True)
        try:
            until = time.monotonic() + seconds
            while time.monotonic() < until:
                yield
            assert crew.seen.counts[CONFIRM] < confirmed + 100, "the alarm blocked nobody"
        finally:
            server_of(crew).alarm(False)
    return blow


def behave(manner: Manner) -> Nemesis:
    """Treat all bytes so, from the beginning."""
    def nemesis(crew: Crew, chance: random.Random) -> Iterator[None]:
        proxy_of(crew).behave(manner)
        yield
    return nemesis


# -- the rounds -----------------------------------------------------------------------------------------

def outage(name: str, nemesis: Nemesis, **more: Any) -> Round:
    """Return a round in which no process dies: what it loses is lost for nothing."""
    return Round(name, nemesis, may_lose_early=False, least_deaths=0, **more)


OUTAGES = (
    outage("the broker stops and starts", strike(2, restart), least_cuts=2),
    outage("kill -9 of the broker", strike(2, crash), least_cuts=2),
    outage("close_all_connections", strike(6, close_connections), least_cuts=6),
    outage("close_all_connections, two workers", strike(6, close_connections), workers=2, least_cuts=6),
    outage("a short memory alarm", strike(2, run_out_of_memory(1.5), most=0.5, is_outage=False), may_duplicate=False),
    outage("a long memory alarm", strike(1, run_out_of_memory(8.0), most=0.5, is_outage=False)),
    outage("cut", strike(6, cut), is_proxied=True, least_cuts=6),
    outage("half-open", strike(1, go_silent), is_proxied=True, heartbeat_s=2.0, least_cuts=1),
    outage("slow", behave(Manner(bytes_per_ms=200)), is_proxied=True, tasks=600, may_duplicate=False),
    outage("split", behave(Manner(piece=50)), is_proxied=True, tasks=600, may_duplicate=False),
    Round("kills and cuts", all_of(kill_children(4), kill_supervisors(2), kill_producers(2), strike(3, cut)),
          workers=2, is_proxied=True, least_deaths=4, least_cuts=3),
)

STOPPED = Round("stop of a whole worker", stop_supervisors(1, whole=True), workers=2, lease_s=4.0, heartbeat_s=1.0)


def of(queue_type: str) -> Iterator[Round]:
    """Yield the rounds on queues of *queue_type*."""
    for round_ in (*(one for one in ROUNDS if not one.name.startswith("stop of")), STOPPED):
        yield replace(round_, name=f"{queue_type}: {round_.name}", queue_type=queue_type, tasks=TASKS)
    for round_ in OUTAGES:
        yield replace(round_, name=f"{queue_type}: {round_.name}", queue_type=queue_type,
                      tasks=min(round_.tasks, TASKS))


ON_RABBITMQ = (*of("quorum"), *(round_ for round_ in of("classic") if " dies at " not in round_.name
                               and " die at " not in round_.name))
