"""How fast are workflows: a group until it is sent, and a chain until its result is there?"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial, per_task
from fastq.bench.system import System

GROUP, CHAIN = "group of 10,000, sent", "chain of 1,000"
SIZES = {GROUP: 10_000, CHAIN: 1_000}


def once(system: System, case: str, n: int) -> list[Reading]:
    with stage(system, results=True) as at:
        if case == GROUP:
            took = at.produce("group", n)
        else:
            at.produce("mark")
            with at.worker() as worker:
                worker.wait("first")
                took = at.produce("chain", n)
    return [per_task(case, n, took, {"tasks": n})]


def trials(plan: Plan) -> list[Trial]:
    return [
        Trial(system.name, case, partial(once, system, case, 20 if plan.quick else plan.load or size))
        for case, size in SIZES.items()
        for system in plan.systems
        if system.worker and system.produces and 1 in system.concurrency
    ]


QUESTION = Question(
    "workflow", "Workflows: a group until it is sent, a chain until its result is there", "tasks/s",
    trials, rounds=3,
)
