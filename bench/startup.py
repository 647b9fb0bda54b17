"""How long from the start of a worker's process until its first task ran?"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import System


def once(system: System) -> list[Reading]:
    with stage(system) as at:
        at.produce("mark")
        with at.worker() as worker:
            ran_ns = worker.wait("first")
            return [Reading("concurrency 1", (ran_ns - worker.started_ns) / 1e6, None, {"concurrency": 1})]


def trials(plan: Plan) -> list[Trial]:
    return [
        Trial(system.name, "concurrency 1", partial(once, system))
        for system in plan.systems
        if system.works and 1 in system.concurrency
    ]


QUESTION = Question(
    "startup", "Start-up: from the start of the worker's process to its first task", "ms", trials, more_is_better=False
)
