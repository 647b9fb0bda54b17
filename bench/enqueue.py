"""How many tasks a second does one producer store, one committed call at a time, and in bulk?"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial, per_task
from fastq.bench.system import Kind, System

SINGLE, BULK = "single calls", "10,000 a call"


def once(system: System, kind: Kind, case: str, n: int) -> list[Reading]:
    with stage(system, kind) as at:
        took = at.produce("enqueue" if case == SINGLE else "bulk", n)
    return [per_task(kind.case(case), n, took, {"tasks": n})]


def trials(plan: Plan) -> list[Trial]:
    return [
        Trial(system.name, kind.case(case), partial(once, system, kind, case, plan.tasks(pace or system.pace.enqueue)))
        for case in (SINGLE, BULK)
        for system in plan.systems
        if system.produces
        for pace in (system.pace.enqueue if case == SINGLE else system.pace.bulk,)
        for kind in plan.kinds(system)
    ]


QUESTION = Question("enqueue", "Enqueue: no-op tasks stored per second by one producer", "tasks/s", trials)
