"""What goes wrong between Redis and those who use it, and the rounds on Redis.

The server has an append-only file, so that a crash loses nothing that it has answered.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace

from fastq.bench.servers.redis import Redis
from tests.fault.crew import Crew
from tests.fault.engines import Database
from tests.fault.history import CONFIRM
from tests.fault.outages import Blow, behave, cut, go_silent, outage, strike
from tests.fault.rounds import (
    ROUNDS,
    Round,
    all_of,
    kill_children,
    kill_producers,
    kill_supervisors,
    stop_supervisors,
)
from tests.servers.proxy import Manner

TASKS = 2000
PAUSE_S = 1.0
LEASE_S = 2.0
"""What a killed worker held is back after so long, and the round goes on."""


def server_of(crew: Crew) -> Redis:
    assert isinstance(crew.engine, Database)
    return crew.engine.server


def restart(crew: Crew) -> Iterator[None]:
    """Stop the server in order, and start it with the data that it had."""
    server_of(crew).stop()
    yield
    server_of(crew).start()


def crash(crew: Crew) -> Iterator[None]:
    """Kill the server, and start it again."""
    server_of(crew).kill()
    yield
    server_of(crew).start()


def close_connections(crew: Crew) -> Iterator[None]:
    """Close all connections as an administrator does."""
    yield
    server_of(crew).close_connections()


def run_out_of_memory(seconds: float) -> Blow:
    """Let it store nothing for so long: publishers are refused, and acks go on."""
    def blow(crew: Crew) -> Iterator[None]:
        confirmed = crew.seen.counts[CONFIRM]
        server_of(crew).ask("CONFIG", "SET", "maxmemory", 1)
        try:
            yield from _passing(seconds)
            assert crew.seen.counts[CONFIRM] < confirmed + 100, "a full server refused nobody"
        finally:
            server_of(crew).ask("CONFIG", "SET", "maxmemory", 0)
    return blow


def pause(crew: Crew) -> Iterator[None]:
    """Let it answer nobody for a while."""
    yield
    server_of(crew).ask("CLIENT", "PAUSE", int(PAUSE_S * 1000))
    yield from _passing(PAUSE_S)


def sleep(crew: Crew) -> Iterator[None]:
    """Stop the whole server for longer than a lease: all workers are late, and none may judge another."""
    server = server_of(crew)
    yield
    os.kill(server.pid, signal.SIGSTOP)
    try:
        yield from _passing(crew.lease_s * 1.5)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def _passing(seconds: float) -> Iterator[None]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        yield


def forget_scripts(crew: Crew) -> Iterator[None]:
    """Drop all scripts from the server's cache, as a restart does."""
    yield
    server_of(crew).ask("SCRIPT", "FLUSH")


OUTAGES = (
    outage("the server stops and starts", strike(2, restart), least_cuts=2),
    outage("kill -9 of the server", strike(2, crash), least_cuts=2),
    outage("all connections closed", strike(6, close_connections), least_cuts=6),
    outage("all connections closed, two workers", strike(6, close_connections), workers=2, least_cuts=6),
    outage("a full server", strike(2, run_out_of_memory(1.5), most=0.5, is_outage=False), may_duplicate=False),
    outage("a pause of all clients", strike(2, pause, is_outage=False), may_duplicate=False),
    outage("the server sleeps, two workers", strike(2, sleep, is_outage=False), workers=2,
           may_duplicate=False),
    outage("scripts forgotten", strike(6, forget_scripts, is_outage=False), may_duplicate=False),
    outage("cut", strike(6, cut), is_proxied=True, least_cuts=6),
    outage("half-open", strike(1, go_silent), is_proxied=True, heartbeat_s=2.0, least_cuts=1),
    outage("slow", behave(Manner(bytes_per_ms=200)), is_proxied=True, tasks=600, may_duplicate=False),
    outage("split", behave(Manner(piece=50)), is_proxied=True, tasks=600, may_duplicate=False),
    Round("kills and cuts", all_of(kill_children(4), kill_supervisors(2), kill_producers(2), strike(3, cut)),
          workers=2, is_proxied=True, least_deaths=4, least_cuts=3),
    Round("stop of a whole worker, the store apart", stop_supervisors(2, whole=True), workers=2, is_apart=True),
)

ON_REDIS = tuple(replace(round_, name=f"redis: {round_.name}", on_redis=True, tasks=min(round_.tasks, TASKS),
                         lease_s=min(round_.lease_s, LEASE_S))
                 for round_ in (*ROUNDS, *OUTAGES))
