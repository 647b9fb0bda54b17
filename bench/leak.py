"""Does a worker grow whose tasks fail, and by how much?

Every task raises from 30 frames down. `value` is the RSS after twice so many tasks, in percent of what it was after the
first half: 100 is a worker that keeps nothing of a failure. The process that was started and all below it are counted
apart; a worker of one process has no second figure.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import System

MIB = 1 << 20
PACE = 2_000
"""Failures a second, roughly, and with their lines in the log."""
DEADLINE_S = 900.0


def once(system: System, n: int) -> list[Reading]:
    with stage(system, concurrency=2) as at:
        at.produce("mark")
        with at.worker() as worker:
            worker.wait("first")
            held = []
            for _ in range(2):
                at.produce("failing", n)
                at.wait_empty(DEADLINE_S)
                held.append(worker.memory_apart())
    first, second = held
    return [Reading(case(n, who), after.rss / before.rss * 100, None,
                    {"tasks": n, "first_mib": before.rss / MIB, "second_mib": after.rss / MIB,
                     "processes": after.processes})
            for who, before, after in zip(("first process", "those below it"), first, second, strict=True)
            if before.rss]


def case(n: int, who: str) -> str:
    return f"RSS after {2 * n:,} failures, {who}"


def trials(plan: Plan) -> list[Trial]:
    n = plan.tasks(PACE, 50.0)
    return [Trial(system.name, case(n, "first process"), partial(once, system, n))
            for system in plan.systems if system.works]


QUESTION = Question(
    "leak", "Leak: a worker whose tasks fail, against itself after half of them", "%", trials, more_is_better=False,
    rounds=1)
