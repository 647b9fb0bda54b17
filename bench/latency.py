"""How long is a round trip, from the call to the result in the caller's hand, one at a time on an idle worker?"""

from __future__ import annotations

from functools import partial
from statistics import quantiles

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial
from fastq.bench.system import System

SAMPLES = 2_000
BUDGET_S = 10.0


def once(system: System, samples: int, budget_s: float) -> list[Reading]:
    with stage(system, results=True) as at:
        at.produce("mark")
        with at.worker() as worker:
            worker.wait("first")
            answer = at.produce("latency", samples, int(budget_s * 1000))
    taken = answer.pop("ns")
    params = {"samples": len(taken), **answer}
    cuts = quantiles([ns / 1e6 for ns in taken], n=100, method="inclusive")
    return [Reading("p50", cuts[49], None, params), Reading("p99", cuts[98], None, params)]


def trials(plan: Plan) -> list[Trial]:
    samples, budget_s = (20, 1.0) if plan.quick else (SAMPLES, BUDGET_S)
    return [
        Trial(system.name, "p50", partial(once, system, samples, budget_s))
        for system in plan.systems
        if system.worker and 1 in system.concurrency
    ]


QUESTION = Question(
    "latency", "Latency: round trip of one task, call to result, idle worker of one", "ms", trials,
    more_is_better=False,
    notes=(f"Up to {SAMPLES:,} samples or {BUDGET_S:.0f} s a round: slow systems give fewer, the JSON says how many.",),
)  # fmt: skip
