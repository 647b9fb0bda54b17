"""Does the drain rate depend on how long the queue is?

A share of the queue is worked off, the rest lies behind it and is never touched.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.drain import between_marks
from fastq.bench.process import stage
from fastq.bench.question import NotOffered, Plan, Question, Reading, Trial
from fastq.bench.system import System

LENGTHS = (1_000, 10_000, 100_000, 1_000_000)
FILL_S = 30.0


def once(system: System, length: int, n: int) -> list[Reading]:
    with stage(system) as at:
        at.produce("fill", n, length - n)
        reading = between_marks(at, "", n)
    return [reading._replace(case=case_of(length), params={**reading.params, "length": length})]


def too_slow(system: System, length: int) -> list[Reading]:
    raise NotOffered(f"{length:,} queued is left out: filling it would take over {FILL_S:.0f} s")


def case_of(length: int) -> str:
    return f"{length:,} queued"


def trials(plan: Plan) -> list[Trial]:
    lengths = (100, 1_000) if plan.quick else LENGTHS if plan.long else LENGTHS[:3]
    found = []
    for length in lengths:
        for system in plan.systems:
            if not system.works or not system.produces:
                continue
            n = min(length, plan.tasks(system.pace.drain))
            fits = length / system.pace.fill <= FILL_S * (10 if plan.long else 1)
            run = partial(once, system, length, n) if fits else partial(too_slow, system, length)
            found.append(Trial(system.name, case_of(length), run))
    return found


QUESTION = Question(
    "length", "Length: drain rate at the head of a queue of that length, concurrency 1", "tasks/s", trials, rounds=3,
    notes=("1,000,000 queued is measured under --long.",),
)  # fmt: skip
