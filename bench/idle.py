"""How much of a core does a worker burn that has nothing to do?"""

from __future__ import annotations

import time
from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import System


def once(system: System, watch_s: float) -> list[Reading]:
    with stage(system) as at:
        at.produce("mark")
        with at.worker() as worker:
            worker.wait("first")
            at.wait_empty()
            start, cpu = time.monotonic(), worker.cpu_s()
            time.sleep(watch_s)
            share = (worker.cpu_s() - cpu) / (time.monotonic() - start)
    return [Reading("concurrency 1", share * 100, None, {"watched_s": watch_s})]


def trials(plan: Plan) -> list[Trial]:
    watch_s = 0.2 if plan.quick else 5.0
    return [
        Trial(system.name, "concurrency 1", partial(once, system, watch_s))
        for system in plan.systems
        if system.works and 1 in system.concurrency
    ]


QUESTION = Question(
    "idle", "Idle: CPU of a worker with an empty queue", "% of a core", trials, more_is_better=False, rounds=3,
    notes=("With the polling intervals that the latency figures were measured with.",),
)  # fmt: skip
