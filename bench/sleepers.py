"""How long does one worker take for 10,000 tasks that wait a second each, 1,000 at a time?

The tasks are queued first; the time is from the start of the worker's process until the last one has ended. It cannot
be less than 10 s. CPU is that of the worker's whole process tree.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import System

TASKS, TOGETHER = 10_000, 1_000
CASE = "1,000 at a time"


def once(system: System, tasks: int) -> list[Reading]:
    with stage(system, concurrency=TOGETHER) as at:
        at.produce("naps", tasks)
        with at.worker() as worker:
            took_s = (worker.wait("last") - worker.started_ns) / 1e9
            cpu_us = worker.cpu_s() / tasks * 1e6
    return [Reading(CASE, took_s, cpu_us, {"tasks": tasks, "concurrency": TOGETHER})]


def trials(plan: Plan) -> list[Trial]:
    tasks = 20 if plan.quick else plan.load or TASKS
    return [Trial(system.name, CASE, partial(once, system, tasks)) for system in plan.systems if system.naps]


QUESTION = Question(
    "sleepers", "Sleepers: 10,000 tasks that await one second, 1,000 at a time, from the worker's start", "s", trials,
    more_is_better=False, rounds=1,
    notes=("The least that is possible is 10 s.",),
)
