"""How many tasks a second does one producer store, one committed call at a time, and in bulk?"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.roster import System

SINGLE, BULK = "single calls", "10,000 a call"


def once(system: System, case: str, n: int) -> list[Reading]:
    with stage(system) as at:
        took = at.produce("enqueue" if case == SINGLE else "bulk", n)
    return [Reading(case, n / took["wall_s"], took["cpu_s"] / n * 1e6, {"tasks": n})]


def trials(plan: Plan) -> list[Trial]:
    systems = [system for system in plan.systems if system.produces]
    return [
        Trial(system.name, case, partial(once, system, case, plan.tasks(pace or system.pace.enqueue)))
        for case in (SINGLE, BULK)
        for system in systems
        for pace in (system.pace.enqueue if case == SINGLE else system.pace.bulk,)
    ]


QUESTION = Question("enqueue", "Enqueue: no-op tasks stored per second by one producer", "tasks/s", trials)
