"""The values of a benchmark: a question, its trials, what a trial read. Imports nothing of the harness."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from fastq.bench.system import Kind, System


class NotOffered(Exception):
    """The system has no such operation; the reason is shown in its place, and that is no failure."""


class TrialFailed(Exception):
    """A trial broke: the message says what the system's log said last."""


class Reading(NamedTuple):
    """One figure of one trial. ``cpu_us`` is CPU per task, None where that means nothing."""

    case: str
    value: float
    cpu_us: float | None
    params: dict[str, Any]
    broker_us: float | None = None
    """CPU per task of the server in between."""


def per_task(case: str, n: int, took: dict[str, float], params: dict[str, Any]) -> Reading:
    """The rate and the CPU of *n* tasks, from what peers/produce.py has timed."""
    broker_us = took["broker_s"] / n * 1e6 if "broker_s" in took else None
    return Reading(case, n / took["wall_s"], took["cpu_s"] / n * 1e6, params, broker_us)


class Trial(NamedTuple):
    """One run of one system; ``run`` starts from nothing and leaves nothing."""

    system: str
    case: str
    run: Callable[[], list[Reading]]


@dataclass(frozen=True)
class Plan:
    """How much to measure: what the command line asked for."""

    systems: tuple[System, ...]
    rounds: int = 5
    quick: bool = False
    long: bool = False
    load: int | None = None
    """As many tasks for every system, where its pace would say how many."""

    def tasks(self, pace: int, seconds: float = 2.0, *, least: int = 200) -> int:
        """How many tasks keep a system of *pace* tasks/s busy for *seconds* (a hundredth of it when quick)."""
        if self.load is not None:
            return self.load
        scale, floor = (0.01, 100) if self.quick else (1.0, least)
        return max(floor, int(pace * seconds * scale))


    def kinds(self, system: System) -> tuple[Kind, ...]:
        """The kinds of queue that *system* is measured on."""
        return system.kinds[:1] if self.quick else system.kinds


@dataclass(frozen=True)
class Question:
    """One question, answered by trials that are run round by round, all systems in each round.

    ``rounds`` overrides the plan's where one reading costs little and scatters much.
    """

    name: str
    title: str
    unit: str
    trials: Callable[[Plan], list[Trial]]
    more_is_better: bool = True
    rounds: int | None = None
    stores: bool = True
    """False where no broker takes part."""
    notes: tuple[str, ...] = ()
