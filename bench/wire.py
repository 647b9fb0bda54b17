"""How many bytes does a workflow put on the wire, from the call to its result?"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from fastq.bench.process import stage
from fastq.bench.question import NotOffered, Plan, Question, Reading, Trial
from fastq.bench.system import System


class Shape(NamedTuple):
    """A workflow: the operation of peers/produce.py that runs it, and how large it is; *quick* is for the quick run."""

    operation: str
    sizes: tuple[int, ...]
    quick: tuple[int, ...] = ()


SHAPES = {
    "chords 10 x 10 x 10": Shape("cube", (3, 10)),
    "chords 5 deep: in headers": Shape("header", (5, 10)),
    "chords 5 deep: in bodies": Shape("body", (5, 10)),
    "chords 5 deep: in chains in headers": Shape("links", (5, 10), (2, 2)),
    "chain of 100": Shape("chain", (100,), (5,)),
    "chain of 1,000": Shape("chain", (1_000,)),
}


def once(system: System, sizes: dict[str, tuple[int, ...]]) -> list[Reading]:
    found: list[Reading] = []
    with stage(system, results=True) as at:
        wire = at.place.wire
        if wire is None:
            raise NotOffered("the store does not count its bytes")
        at.produce("mark")
        with at.worker() as worker:
            worker.wait("first")
            for case, told in sizes.items():
                operation, nothing = SHAPES[case].operation, (0,) * len(told)
                if not found:
                    at.produce(operation, *nothing)     # the worker's first of all: scripts, connections that stay
                start = wire()
                at.produce(operation, *nothing)
                middle = wire()
                at.produce(operation, *told)
                # Both have begun with the same connections and the same small workflow.
                found.append(Reading(case, (wire() - middle) - (middle - start), None, {"size": told}))
    return found


def trials(plan: Plan) -> list[Trial]:
    sizes = {case: shape.quick if plan.quick else shape.sizes for case, shape in SHAPES.items()}
    sizes = {case: told for case, told in sizes.items() if told}
    return [
        Trial(system.name, next(iter(sizes)), partial(once, system, sizes))
        for system in plan.systems
        if system.works and 1 in system.concurrency and (system.produces or system.only == ("wire",))
    ]


QUESTION = Question(
    "wire", "Wire: bytes that the server reads and writes for a workflow, from the call to its result", "bytes", trials,
    more_is_better=False, rounds=2,
    notes=("10 in each header; what idle workers say meanwhile is in it.",
           "fastq alone: with task_workflow_inline=False, for fleets without Celery's workers."),
)  # fmt: skip
