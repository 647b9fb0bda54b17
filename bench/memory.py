"""How much memory do the processes of an idle worker hold?"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import System

MIB = 1 << 20


def once(system: System, concurrency: int) -> list[Reading]:
    with stage(system, concurrency=concurrency) as at:
        at.produce("mark")
        with at.worker() as worker:
            worker.wait("first")  # it is up, and has run a task: all that is imported late is there
            at.wait_empty()
            held = worker.memory()
    params = {"concurrency": concurrency, "processes": held.processes}
    return [
        Reading(f"PSS, concurrency {concurrency}", held.pss / MIB, None, params),
        Reading(f"RSS, concurrency {concurrency}", held.rss / MIB, None, params),
    ]


def trials(plan: Plan) -> list[Trial]:
    return [
        Trial(system.name, f"PSS, concurrency {concurrency}", partial(once, system, concurrency))
        for system in plan.systems
        if system.works
        for concurrency in system.concurrency
    ]


QUESTION = Question(
    "memory", "Memory: an idle worker, all its processes together", "MiB", trials, more_is_better=False, rounds=3,
    notes=("PSS counts a shared page once for all; RSS counts it in each process.",),
)  # fmt: skip
