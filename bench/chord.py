"""How long does a chord take, from the call to its body's result, and does that grow with its size only?"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import NotOffered, Plan, Question, Reading, Trial
from fastq.bench.system import System

SIZES = (1_000, 5_000, 50_000, 100_000)
LONGEST_S = 60.0
"""A chord that takes longer, at ten milliseconds for each member, is left out unless the measurement may be long."""
JOINING = ("fastq_peer", "fastq_redis_peer", "celery_redis_peer")
"""The modules of those whose result store counts the members of chords."""


def once(system: System, size: int) -> list[Reading]:
    with stage(system, results=True) as at:
        at.produce("mark")
        with at.worker() as worker:
            worker.wait("first")
            took = at.produce("chord", size)
    return [Reading(case_of(size), took["whole_s"] * 1000, None, {"size": size, **took})]


def too_slow(size: int) -> list[Reading]:
    raise NotOffered(f"a chord of {size:,} is left out: it would take minutes (--long measures it)")


def case_of(size: int) -> str:
    return f"{size:,} members"


def trials(plan: Plan) -> list[Trial]:
    found = []
    for size in (20, 50) if plan.quick else SIZES:
        for system in plan.systems:
            if system.module not in JOINING or not system.works or 1 not in system.concurrency:
                continue
            is_slow = not system.name.startswith("fastq") and size * 0.01 > LONGEST_S and not plan.long
            run = partial(too_slow, size) if is_slow else partial(once, system, size)
            found.append(Trial(system.name, case_of(size), run))
    return found


QUESTION = Question(
    "chord", "Chord: members that add, call to result of the body, one worker of one", "ms", trials,
    more_is_better=False, rounds=3,
    notes=("fastq's chord is sent as a client sends it: the size to the store, then the members in a batch.",),
)  # fmt: skip
