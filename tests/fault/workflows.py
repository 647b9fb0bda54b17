"""The rounds with workflows: chains, chords, and what is made of both, killed at each step."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from fastq import Fastq, points, transport
from fastq._ext.envelope import unpack
from tests.fault import workflow_verdict
from tests.fault.crew import Crew
from tests.fault.history import Letter, Verdict
from tests.fault.rounds import Round, all_of, kill_children, kill_producers, kill_supervisors, peace

WORKFLOWS = 500
LEASE_S = 1.0
STEPS = 4
"""Tasks of a workflow, at least, on the average."""
PLACES = {"sqlite": {}, "redis": {"on_redis": True}, "rabbitmq": {"queue_type": "quorum", "on_redis": True}}
"""Where messages are; those of RabbitMQ have their results, and their chords, on Redis."""
SUPERVISOR = ("collected", "counted", "before-settle", "settled", "closing", "staged", "released")


def judge(crew: Crew) -> Verdict:
    """The verdict on what *crew* did, once it is at rest."""
    crew.seen.follow()
    app = Fastq("fault", broker=crew.engine.url, **crew.engine.settings())
    try:
        ids = Path(f"{crew.journal.path}.ids").read_text().split()
        values = {int(number): _outcome(app, task_id) for number, task_id in zip(ids[::2], ids[1::2], strict=True)}
    finally:
        app.close()
    return workflow_verdict.judge(crew.seen.records, values, _dead(crew), crew.bosses, is_atomic=crew.engine.is_atomic)


def _outcome(app: Fastq, task_id: str) -> object:
    result = app.AsyncResult(task_id)
    return result.result if result.successful() else f"{result.state}: {result.result!r}"


def _dead(crew: Crew) -> list[Letter]:
    looker = transport.open(crew.engine.url)
    try:
        return [Letter(str(number_in(letter.content)), letter.deaths, letter.reason)
                for letter in looker.dead_letters(limit=1_000_000)]
    finally:
        looker.close()


def number_in(content: bytes) -> int:
    """Return the number of the workflow that a message is of: its own, or that of the body that it is to send."""
    found = re.search(rb'"number":\s*(\d+)', unpack(content)[2])
    assert found is not None, content
    return int(found[1])


def _rounds() -> Iterator[Round]:
    everybody = all_of(kill_children(12), kill_supervisors(4), kill_producers(3))
    for place, where in PLACES.items():
        def made(name: str, *, place: str = place, where: dict[str, object] = where, **told: object) -> Round:
            fixed = {"lease_s": LEASE_S, "tasks": WORKFLOWS, "runs_each": STEPS, "producer_role": "sender",
                     "judge": judge, "spares_servers": True, "patience_s": 180.0, "nemesis": peace}
            return Round(f"{place}, workflows: {name}", **{**fixed, **where, **told})

        yield made("kill -9 of children", nemesis=kill_children(20), least_deaths=15)
        yield made("kill -9 of supervisors", nemesis=kill_supervisors(6), workers=2, least_deaths=6)
        yield made("kill -9 of everybody", nemesis=everybody, workers=2, least_deaths=15)
        for label in SUPERVISOR:
            yield made(f"supervisor dies at {label!r}", least_deaths=3,
                       worker_env=(f"{label}:3", f"{label}:9", f"{label}:30"))
        for label in points.CHILD + points.BUILT_IN:
            yield made(f"children die at {label!r}", worker_env=(f"{label}:40",), least_deaths=3)
        for label in points.PRODUCER:
            yield made(f"producer dies at {label!r}", least_deaths=3, may_duplicate=False,
                       producer_env=(f"{label}:3", f"{label}:40", f"{label}:100"))


ON_WORKFLOWS = tuple(_rounds())
