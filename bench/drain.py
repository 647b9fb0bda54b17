"""How fast does a fresh worker work off a full queue of no-op tasks, and what CPU does a task cost?

The first and the last task of the queue ring; the time between is the drain, the CPU that of the whole process
tree of the worker. After that the queue must be empty.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import Stage, stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.roster import System

CPU_FROM_S = 0.1
"""The clocks are read a few milliseconds after a mark rang: in a shorter drain that would be a part of the figure."""


def between_marks(at: Stage, case: str, n: int) -> Reading:
    """Start a worker and read what it took from the first mark to the last, n tasks later."""
    with at.worker() as worker:
        first_ns, first_cpu = worker.wait("first"), worker.cpu_s()
        last_ns, last_cpu = worker.wait("last"), worker.cpu_s()
        if case:
            at.wait_empty()
    done, took_s = n + 1, (last_ns - first_ns) / 1e9
    cpu_us = (last_cpu - first_cpu) / done * 1e6 if took_s >= CPU_FROM_S else None
    return Reading(case, done / took_s, cpu_us, {"tasks": n, "concurrency": at.concurrency})


def with_worker(system: System, concurrency: int, n: int) -> list[Reading]:
    with stage(system, concurrency=concurrency) as at:
        at.produce("fill", n)
        return [between_marks(at, case_of(concurrency), n)]


def in_one_loop(system: System, n: int) -> list[Reading]:
    with stage(system) as at:
        took = at.produce("drain", n)
    return [Reading(case_of(1), n / took["wall_s"], took["cpu_s"] / n * 1e6, {"tasks": n, "concurrency": 1})]


def case_of(concurrency: int) -> str:
    # A system with a fixed number of threads is measured once, beside those that run two at a time.
    return "concurrency 1" if concurrency == 1 else "concurrency 2 or more"


def trials(plan: Plan) -> list[Trial]:
    found = []
    for system in plan.systems:
        n = plan.tasks(system.pace.drain)
        if system.worker is None:
            found.append(Trial(system.name, case_of(1), partial(in_one_loop, system, n)))
            continue
        for concurrency in system.concurrency:
            found.append(Trial(system.name, case_of(concurrency), partial(with_worker, system, concurrency, n)))
    return found


QUESTION = Question("drain", "Drain: no-op tasks worked off per second by one fresh worker", "tasks/s", trials)
