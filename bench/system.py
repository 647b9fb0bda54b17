"""What a row of the roster is: a system, how fast it is about, how its worker starts, and the kinds of queue it has."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, distributions, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from fastq.bench.broker import EMBEDDED, Broker

BARE = "bare"
FASTQ = "fastq"
WORKING = ("drain", "live", "latency", "memory", "idle", "startup")
"""What is asked of a second kind of worker; its producer and its way with future tasks are those of the first."""
EARLY = ("drain", "live", "latency")
"""What is asked of workers that ack before they run, which is what a program that comes from Celery has."""
APART = Path(sys.prefix, "apart")
"""Folders for systems whose requirements clash with the others'."""


class Pace(NamedTuple):
    """Tasks a second, roughly: single calls, bulk calls (0: it has none), worked off."""

    enqueue: int
    bulk: int
    drain: int

    @property
    def fill(self) -> int:
        return self.bulk or self.enqueue


class Kind(NamedTuple):
    """A kind of queue that a broker has; ``env`` tells the processes of a system to use it."""

    name: str
    env: dict[str, str]

    def case(self, text: str) -> str:
        """The name of a case of this kind."""
        return f"{self.name}, {text}" if self.name else text


ONLY = Kind("", {})
"""Of a store that has but one kind of queue."""


@dataclass(frozen=True)
class System:
    """A task queue, or the yardstick. ``worker`` gives the command line of a worker with N at a time."""

    name: str
    module: str
    pace: Pace
    worker: Callable[[int], list[str]] | None = None
    imports: str = ""
    needs: tuple[str, ...] = ()
    distributions: tuple[str, ...] = ()
    apart: str = ""
    """The folder below `APART` that it and its requirements are in; none for most."""
    loops: bool = False
    """Whether it drains in a loop of its producer instead (bare yardsticks); a worker of it then only answers."""
    concurrency: tuple[int, ...] = (1, 2)
    env: dict[str, str] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    """The questions that it is asked; none stands for all."""
    produces: bool = True
    """False where another row of this table has the same producer."""
    broker: Broker = EMBEDDED
    kinds: tuple[Kind, ...] = (ONLY,)
    """The first is measured where only one is."""
    naps: bool = False
    """Whether it is asked for many tasks that wait at the same time."""
    lacks: dict[str, str] = field(default_factory=dict)
    """Why it has not an operation of peers/produce.py, where that is not plain."""

    @property
    def works(self) -> bool:
        """Whether it has a worker that runs tasks."""
        return self.worker is not None and not self.loops

    @property
    def path(self) -> str:
        """What its processes find first; mostly nothing."""
        return str(APART / self.apart) if self.apart else ""

    def missing(self) -> str | None:
        """Say why it cannot be measured here, None if it can."""
        if self.apart and not (APART / self.apart).is_dir():
            return f"not installed: pip install --target {self.path} {self.apart}"
        present = all(find_spec(name) for name in self.needs)
        return self.broker.missing() if present else "not installed: pip install fastq[bench]"

    def versions(self) -> dict[str, str]:
        if not self.apart:
            return {name: version_of(name) for name in self.distributions}
        found = {one.name: one.version for one in distributions(path=[self.path])}
        return {name: found[name] for name in self.distributions}


def version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "source tree"


def run_module(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]
