"""How fast does a fresh worker work off a queue of tasks whose results are stored, and who waits told of them?

The same as the drain, with tasks that return a number. A system that tells nobody stores only.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.drain import between_marks
from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import Kind, System

CASE = "stored"


def once(system: System, kind: Kind, n: int) -> list[Reading]:
    with stage(system, kind, results=True) as at:
        at.produce("fill_answers", n)
        return [between_marks(at, kind.case(CASE), n)]


def trials(plan: Plan) -> list[Trial]:
    return [
        Trial(system.name, kind.case(CASE), partial(once, system, kind, plan.tasks(system.pace.drain, seconds=1.0)))
        for system in plan.systems
        if system.works and system.concurrency[0] == 1
        for kind in plan.kinds(system)
    ]


QUESTION = Question("result", "Results: tasks worked off per second by one fresh worker, each result stored", "tasks/s",
                    trials)  # fmt: skip
