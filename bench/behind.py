"""Does a long task hold up the short ones behind it?

A task of 60 s is queued, and behind it 1,000 of 5 ms each. `value` is how long a worker of two takes for the short
ones, in percent of what a worker of one takes for the same without the long one: 100 is a long task that occupies its
own child and nothing else. Both times are from the moment the first task runs until the last short one has ended.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import Kind, System

SHORT = 1_000
CASE = "two children, one of them busy"


def takes_s(system: System, kind: Kind, n: int, *, alone: bool) -> float:
    """How long *n* short tasks take, on a worker of one or behind a long one on a worker of two."""
    with stage(system, kind, concurrency=1 if alone else 2) as at:
        at.produce("behind", n, int(alone))
        with at.worker() as worker:
            began_ns = worker.wait("first")
            for _ in range(n):
                ended_ns = worker.wait("short")
    return (ended_ns - began_ns) / 1e9


def once(system: System, kind: Kind, n: int) -> list[Reading]:
    alone_s, behind_s = (takes_s(system, kind, n, alone=alone) for alone in (True, False))
    params = {"tasks": n, "alone_s": alone_s, "behind_s": behind_s}
    return [Reading(kind.case(CASE), behind_s / alone_s * 100, None, params)]


def trials(plan: Plan) -> list[Trial]:
    n = 20 if plan.quick else plan.load or SHORT
    return [Trial(system.name, kind.case(CASE), partial(once, system, kind, n))
            for system in plan.systems if system.works for kind in plan.kinds(system)]


QUESTION = Question(
    "behind", "Behind: 1,000 tasks of 5 ms behind one of 60 s, on two children, against one child without it", "%",
    trials, more_is_better=False, rounds=1)
