"""Do tasks that are due in an hour cost a worker memory, or those behind them time?

A fresh worker meets a queue of immediate tasks, once alone and once behind many that are due in an hour. Its time is
taken from its start to the last immediate task, its memory after that one.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.peers.produce import ORDERED
from fastq.bench.process import Stage, stage
from fastq.bench.question import Plan, Question, Reading, Trial, TrialFailed
from fastq.bench.system import Kind, System

AHEAD, BEHIND = 100_000, 5_000
DEADLINE_S = 60.0
MIB = 1 << 20


def once(system: System, kind: Kind, ahead: int, behind: int) -> list[Reading]:
    alone_s, alone_mib = behind_tasks(system, kind, 0, behind)
    took_s, held_mib = behind_tasks(system, kind, ahead, behind)
    params = {"ahead": ahead, "behind": behind, "alone_s": alone_s}
    return [
        Reading(kind.case("s"), took_s, None, params),
        Reading(kind.case("s longer than alone"), max(took_s - alone_s, 0.0), None, params),
        Reading(kind.case("MiB more than alone"), max(held_mib - alone_mib, 0.0), None, params),
    ]


def behind_tasks(system: System, kind: Kind, ahead: int, behind: int) -> tuple[float, float]:
    """Seconds that a fresh worker takes for the tasks *behind* those *ahead*, and the MiB that it then holds."""
    with stage(system, kind) as at:
        at.produce("mark")
        with at.worker() as worker:  # some systems make what they keep future tasks in when a worker starts
            worker.wait("first")
            at.wait_empty()
        if ahead:
            at.produce("ahead", ahead)
        at.produce("fill", behind)
        return work_off(at, behind)


def work_off(at: Stage, behind: int) -> tuple[float, float]:
    with at.worker() as worker:
        try:
            for name in ("first", "middle") if behind >= ORDERED else ("first",):
                worker.wait(name, DEADLINE_S)
            last_ns = worker.wait("last", DEADLINE_S)
        except TrialFailed as why:
            raise TrialFailed(f"{why}; its worker then held {worker.memory().rss / MIB:.0f} MiB") from why
        return (last_ns - worker.started_ns) / 1e9, worker.memory().rss / MIB


def trials(plan: Plan) -> list[Trial]:
    ahead, behind = (200, 20) if plan.quick else (AHEAD, BEHIND)
    return [
        Trial(system.name, kind.case("s"), partial(once, system, kind, ahead, behind))
        for system in plan.systems
        if system.works and 1 in system.concurrency
        for kind in plan.kinds(system)
    ]


QUESTION = Question(
    "future", f"Future: {BEHIND:,} immediate tasks behind {AHEAD:,} that are due in an hour, from a worker's start",
    "s, MiB of RSS", trials, more_is_better=False, rounds=3,
)  # fmt: skip
