"""The producer's side of a trial, in a process of its own: `produce.py MODULE OPERATION [NUMBER...]`.

Prints one JSON object. MODULE is a file of this folder and offers what its system has of:

    call()          enqueue one no-op task, the way its documentation tells; stored when it returns
    call_each(n)    the same n times, one after the other, where the system has its own loop for that (asyncio)
    call_many(n)    the same for n tasks, by its documented bulk way
    call_later()    enqueue a no-op task that is due in an hour
    flush()         wait until all that was enqueued is stored, where a call returns before
    mark(name)      enqueue a task that rings the bell with that name
    answers(n)      enqueue n tasks whose results are stored, by its documented bulk way if it has one
    call_naps(n)    enqueue n tasks that wait a second each (see naps.py)
    ask()           enqueue a task and wait for its result
    send_group(n)   send a group of n no-op tasks that keep their results; stored when it returns
    run_chain(n)    send a chain of n tasks and wait for its result
    run_nested(shape, depth, width)     send chords in chords and wait for the result (see workflows.py)
    backlog()       how many messages are stored and not finished
    fail(n)         enqueue n tasks that raise from 30 frames down, in bulk
    call_long()     enqueue a task of a minute that rings as it begins (see behind.py)
    call_shorts(n)  enqueue n tasks of 5 ms that ring as they end
    chord(n)        run a chord of n members and wait for its body; returns when all was sent (perf_counter)
    drain(n)        work n messages off in this very process (bare yardsticks only)
    core(n)         the same with the messages in memory (see core.py)

What a system has not is reported as absent, never imitated.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from itertools import repeat
from types import ModuleType
from typing import Any

BULK = 10_000
"""Tasks in one bulk call: as many as a program might have at hand."""
ORDERED = 1_000
"""In a shorter queue, tasks that run at a time may ring in any order."""


BROKER_PID = os.environ.get("BENCH_BROKER_PID")


def timed(work: Callable[[], Any]) -> dict[str, float]:
    """Run *work*; returns its wall time, its CPU time, and that of the server, in seconds."""
    clock = (~int(BROKER_PID) << 3) | 2 if BROKER_PID else None  # the kernel's encoding of (pid, CPUCLOCK_SCHED)
    broker = time.clock_gettime(clock) if clock is not None else 0.0
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    work()
    took = {"wall_s": (time.perf_counter_ns() - wall) / 1e9, "cpu_s": (time.process_time_ns() - cpu) / 1e9}
    return took if clock is None else {**took, "broker_s": time.clock_gettime(clock) - broker}


def flush(peer: ModuleType) -> None:
    getattr(peer, "flush", lambda: None)()


def call_each(peer: ModuleType, n: int) -> None:
    if hasattr(peer, "call_each"):
        peer.call_each(n)
    else:
        call = peer.call
        for _ in repeat(None, n):
            call()
    flush(peer)


def enqueue(peer: ModuleType, n: int) -> dict[str, float]:
    call_each(peer, 1)  # opening the store and making the tables is not the question
    return timed(lambda: call_each(peer, n))


def bulk(peer: ModuleType, n: int) -> dict[str, float]:
    call_each(peer, 1)

    def work() -> None:
        for start in range(0, n, BULK):
            peer.call_many(min(BULK, n - start))
        flush(peer)

    return timed(work)


def fill(peer: ModuleType, n: int, behind: int = 0) -> dict[str, float]:
    """Queue a first mark, n tasks with a mark in their middle, a last mark, and some more tasks behind it."""
    many = getattr(peer, "call_many", None) or (lambda count: call_each(peer, count))
    return timed(lambda: between(peer, many, n, behind))


def fill_answers(peer: ModuleType, n: int) -> dict[str, float]:
    """The same with tasks whose results are stored."""
    return timed(lambda: between(peer, peer.answers, n))


def between(peer: ModuleType, many: Callable[[int], Any], n: int, behind: int = 0) -> None:
    peer.mark("first")
    next_tick()
    many(n // 2)
    next_tick()
    if n >= ORDERED:
        peer.mark("middle")
        next_tick()
    many(n - n // 2)
    next_tick()
    peer.mark("last")
    if behind:
        next_tick()
        many(behind)
    flush(peer)


def next_tick() -> None:
    """Let the clock move on: some systems order their queue by milliseconds and at random within one."""
    end = time.monotonic() + 0.005
    while time.monotonic() < end:
        pass


def latency(peer: ModuleType, samples: int, budget_ms: int) -> dict[str, Any]:
    """Round trips one at a time, until there are enough samples, the time is over, or one does not come back."""
    peer.ask()
    end = time.monotonic() + budget_ms / 1000
    taken: list[int] = []
    clock = time.perf_counter_ns
    while len(taken) < samples and (len(taken) < 2 or time.monotonic() < end):
        start = clock()
        try:
            peer.ask()
        except Exception as error:
            if len(taken) < 2:
                raise
            return {"ns": taken, "broke": f"{type(error).__name__} after {len(taken)} round trips"}
        taken.append(clock() - start)
    return {"ns": taken}


def live(peer: ModuleType, n: int) -> dict[str, float]:
    """Call n tasks one after the other, the last of which rings."""
    began_ns = time.monotonic_ns()
    took = timed(lambda: call_each(peer, n - 1))
    next_tick()
    peer.mark("last")
    flush(peer)
    return {"began_ns": began_ns, **took}


def ahead(peer: ModuleType, n: int) -> dict[str, float]:
    """Enqueue n tasks that are due in an hour."""

    def work() -> None:
        for _ in repeat(None, n):
            peer.call_later()
        flush(peer)

    return timed(work)


def whole(name: str) -> Callable[[ModuleType, int], dict[str, float]]:
    """Return what times a workflow of n tasks, after a small one; of none, only that."""

    def run(peer: ModuleType, n: int) -> dict[str, float]:
        work = getattr(peer, name)
        work(2)
        return timed(lambda: work(n) if n else None)

    return run


def nested(shape: str) -> Callable[[ModuleType, int, int], dict[str, float]]:
    """The same for chords in chords."""

    def run(peer: ModuleType, depth: int, width: int) -> dict[str, float]:
        peer.run_nested(shape, 2, 2)
        return timed(lambda: peer.run_nested(shape, depth, width) if depth else None)

    return run


def mark(peer: ModuleType) -> dict[str, float]:
    def work() -> None:
        peer.mark("first")
        flush(peer)

    return timed(work)


def naps(peer: ModuleType, n: int) -> dict[str, float]:
    def work() -> None:
        peer.call_naps(n)
        flush(peer)

    return timed(work)


def backlog(peer: ModuleType) -> dict[str, int]:
    return {"backlog": peer.backlog()}


def failing(peer: ModuleType, n: int) -> dict[str, float]:
    def work() -> None:
        peer.fail(n)
        flush(peer)

    return timed(work)


def behind(peer: ModuleType, n: int, alone: int) -> dict[str, float]:
    """Queue a long task, or a mark in its place, and *n* short ones behind it."""

    def work() -> None:
        if alone:
            peer.mark("first")
        else:
            peer.call_long()
        next_tick()
        peer.call_shorts(n)
        flush(peer)

    return timed(work)


def chord(peer: ModuleType, n: int) -> dict[str, float]:
    """A small chord to begin with, so that connections and tables are there, then one of *n* members."""
    peer.chord(2)
    began = time.perf_counter()
    sent = peer.chord(n)
    return {"sent_s": sent - began, "whole_s": time.perf_counter() - began}


def drain(peer: ModuleType, n: int) -> dict[str, float]:
    result: dict[str, float] = peer.drain(n, timed)
    return result


def core(peer: ModuleType, n: int) -> dict[str, float]:
    result: dict[str, float] = peer.core(n, timed)
    return result


# operation -> (what runs it, what the system must offer for it)
OPERATIONS: dict[str, tuple[Callable[..., dict[str, Any]], str]] = {
    "enqueue": (enqueue, "call"),
    "bulk": (bulk, "call_many"),
    "fill": (fill, "mark"),
    "fill_answers": (fill_answers, "answers"),
    "mark": (mark, "mark"),
    "live": (live, "call"),
    "ahead": (ahead, "call_later"),
    "naps": (naps, "call_naps"),
    "latency": (latency, "ask"),
    "group": (whole("send_group"), "send_group"),
    "chain": (whole("run_chain"), "run_chain"),
    **{shape: (nested(shape), "run_nested") for shape in ("cube", "header", "body", "links")},
    "backlog": (backlog, "backlog"),
    "failing": (failing, "fail"),
    "behind": (behind, "call_shorts"),
    "chord": (chord, "chord"),
    "drain": (drain, "drain"),
    "core": (core, "core"),
}


def main(module: str, operation: str, *numbers: str) -> None:
    run, needed = OPERATIONS[operation]
    peer = importlib.import_module(module)
    answer = run(peer, *map(int, numbers)) if hasattr(peer, needed) else {"absent": needed}
    # A line of its own: a peer may have written to stdout before, and without a newline.
    sys.stdout.write("\n" + json.dumps(answer) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
