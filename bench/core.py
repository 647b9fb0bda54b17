"""How fast are scan, ring and execution alone, with the messages in memory and no broker?

One row a system: `value` is tasks/s from the first message handed to the ring to the last outcome collected, one
child, no-op task, real enveloped messages; `cpu_us_per_task` that of both processes. The yardstick decodes the same
JSON body and calls the same function in a plain loop. A system takes part by a module of peers/ with a
`core(n, timed)`, which returns the seconds of wall and CPU time that n messages took.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import BARE, FASTQ, System

CASE = "no broker, 1 child"
PACE = 1_000_000
MODULES = {FASTQ: "fastq_core", BARE: "bare_peer"}


def once(system: System, n: int) -> list[Reading]:
    with stage(replace(system, module=MODULES[system.name])) as at:
        took = at.produce("core", n)
    return [Reading(CASE, n / took["wall_s"], took["cpu_s"] / n * 1e6, {"tasks": n})]


def trials(plan: Plan) -> list[Trial]:
    n = plan.tasks(PACE)
    systems = [system for system in plan.systems if system.name in MODULES]
    return [Trial(system.name, CASE, partial(once, system, n)) for system in systems]


QUESTION = Question(
    "core", "Core: scan, ring and execution of a no-op task without a broker", "tasks/s", trials, stores=False
)
