"""How fast does a fresh worker work off a full queue of no-op tasks, and what CPU does a task cost?

The first and the last task of the queue ring; the time between is the drain, the CPU that of the whole process
tree of the worker. One in the middle rings too: a queue that is not worked off in its order has no such time. After
that the queue must be empty.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.peers.produce import ORDERED
from fastq.bench.process import Stage, stage
from fastq.bench.question import Plan, Question, Reading, Trial, per_task
from fastq.bench.system import Kind, System

CPU_FROM_S = 0.1
"""The clocks are read a few milliseconds after a mark rang: in a shorter drain that would be a part of the figure."""


def between_marks(at: Stage, case: str, n: int) -> Reading:
    """Start a worker and read what it took from the first mark to the last, n tasks later."""
    with at.worker() as worker:
        first_ns, first_cpu, first_broker = worker.wait("first"), worker.cpu_s(), at.broker_cpu_s()
        if n >= ORDERED:
            worker.wait("middle")
        last_ns, last_cpu, last_broker = worker.wait("last"), worker.cpu_s(), at.broker_cpu_s()
        if case:
            at.wait_empty()
    done, took_s = n + 1, (last_ns - first_ns) / 1e9
    params = {"tasks": n, "concurrency": at.concurrency}
    if took_s < CPU_FROM_S:
        return Reading(case, done / took_s, None, params)
    broker_us = None if first_broker is None or last_broker is None else (last_broker - first_broker) / done * 1e6
    return Reading(case, done / took_s, (last_cpu - first_cpu) / done * 1e6, params, broker_us)


def with_worker(system: System, kind: Kind, concurrency: int, n: int) -> list[Reading]:
    with stage(system, kind, concurrency=concurrency) as at:
        at.produce("fill", n)
        return [between_marks(at, case_of(kind, concurrency), n)]


def in_one_loop(system: System, kind: Kind, n: int) -> list[Reading]:
    with stage(system, kind) as at:
        took = at.produce("drain", n)
    return [per_task(case_of(kind, 1), n, took, {"tasks": n, "concurrency": 1})]


def case_of(kind: Kind, concurrency: int) -> str:
    # A system with a fixed number of threads is measured once, beside those that run two at a time.
    return kind.case("concurrency 1" if concurrency == 1 else "concurrency 2 or more")


def trials(plan: Plan) -> list[Trial]:
    found = []
    for system in plan.systems:
        n = plan.tasks(system.pace.drain)
        for kind in plan.kinds(system):
            if system.loops:
                found.append(Trial(system.name, case_of(kind, 1), partial(in_one_loop, system, kind, n)))
                continue
            for concurrency in system.concurrency[:1] if plan.quick else system.concurrency:
                run = partial(with_worker, system, kind, concurrency, n)
                found.append(Trial(system.name, case_of(kind, concurrency), run))
    return found


QUESTION = Question("drain", "Drain: no-op tasks worked off per second by one fresh worker", "tasks/s", trials)
