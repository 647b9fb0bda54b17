"""What does traffic cost: a producer calls one task after the other while a worker runs, which was idle before?

The time is from the first call until the last task has run, so the slower of the two sets the pace; the CPU is that of
the worker's whole process tree. `drain` finds a full queue: here a worker meets its tasks as they come.
"""

from __future__ import annotations

from functools import partial

from fastq.bench.process import stage
from fastq.bench.question import Plan, Question, Reading, Trial, per_task
from fastq.bench.system import Kind, System

CASE = "calls to a running worker"


def once(system: System, kind: Kind, n: int) -> list[Reading]:
    with stage(system, kind) as at:
        at.produce("mark")
        with at.worker() as worker:
            worker.wait("first")
            at.wait_empty()
            cpu, broker = worker.cpu_s(), at.broker_cpu_s()
            answer = at.produce("live", n)
            last_ns, last_cpu, last_broker = worker.wait("last"), worker.cpu_s(), at.broker_cpu_s()
            at.wait_empty()
    took = {"wall_s": (last_ns - answer["began_ns"]) / 1e9, "cpu_s": last_cpu - cpu}
    if broker is not None and last_broker is not None:
        took["broker_s"] = last_broker - broker
    return [per_task(kind.case(CASE), n, took, {"tasks": n, "sent_s": answer["wall_s"]})]


def trials(plan: Plan) -> list[Trial]:
    found = []
    for system in plan.systems:
        n = plan.tasks(min(system.pace.enqueue, system.pace.drain))
        if system.works and 1 in system.concurrency:
            found += [Trial(system.name, kind.case(CASE), partial(once, system, kind, n))
                      for kind in plan.kinds(system)]
    return found


QUESTION = Question(
    "live", "Live: one call after the other to a worker of one that runs, until the last has run", "tasks/s", trials)
