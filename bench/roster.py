"""The systems that are compared: one row each. What runs inside their processes is in peers/.

``pace`` says roughly how many tasks a second a system does on a small machine. It only sizes its load, so that
each is measured for about as long; no figure is derived from it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import NamedTuple

BARE = "bare"
FASTQ = "fastq"


class Pace(NamedTuple):
    """Tasks a second, roughly: single calls, bulk calls (0: it has none), worked off."""

    enqueue: int
    bulk: int
    drain: int

    @property
    def fill(self) -> int:
        return self.bulk or self.enqueue


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
    concurrency: tuple[int, ...] = (1, 2)
    env: dict[str, str] = field(default_factory=dict)
    produces: bool = True
    """False where another row of this table has the same producer."""

    def missing(self) -> str | None:
        """Say why it cannot be measured here, None if it can."""
        present = all(find_spec(name) for name in self.needs)
        return None if present else "not installed: pip install fastq[bench]"

    def versions(self) -> dict[str, str]:
        return {name: version_of(name) for name in self.distributions}


def version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "source tree"


def run_module(*words: str) -> list[str]:
    return [sys.executable, "-m", *words]


def celery(module: str, pool: str) -> Callable[[int], list[str]]:
    return lambda n: run_module(
        "celery", "-A", module, "worker", "-P", pool, "-c", str(n), "-l", "ERROR",
        "--without-gossip", "--without-mingle", "--without-heartbeat",
    )  # fmt: skip


def huey(kind: str) -> Callable[[int], list[str]]:
    # 1 ms between polls without back-off, no scheduler of periodic tasks, no health check, no log but errors.
    return lambda n: run_module(
        "huey.bin.huey_consumer", "huey_peer.huey", "-k", kind, "-w", str(n),
        "-d", "0.001", "-m", "0.001", "-b", "1", "-n", "-C", "-q",
    )  # fmt: skip


def flexiq(_n: int) -> list[str]:  # its threads are a setting of the queue, see flexiq_peer.py
    return run_module("flexiq.cli", "worker", "--app", "flexiq_peer:queue")


def fastq(n: int) -> list[str]:
    return run_module("fastq", "-A", "fastq_peer", "worker", "-c", str(n), "-l", "warning")


def celery_row(store: str, pool: str, pace: Pace) -> System:
    module = f"celery_{store}_peer"
    return System(
        f"celery {store} {pool}", module, pace, celery(module, pool), "from celery import Celery",
        needs=("celery", "sqlalchemy"), distributions=("celery", "kombu", "sqlalchemy"),
        concurrency=(1,) if pool == "solo" else (1, 2), produces=pool == "solo",
    )  # fmt: skip


def huey_row(kind: str) -> System:
    return System(
        f"huey {kind}", "huey_peer", Pace(30_000, 0, 15_000), huey(kind), "from huey import SqliteHuey",
        needs=("huey",), distributions=("huey",), produces=kind == "thread",
    )  # fmt: skip


def flexiq_row(name: str, threads: int | None) -> System:
    return System(
        name, "flexiq_peer", Pace(7_000, 25_000, 600), flexiq, "from flexiq import Queue",
        needs=("flexiq",), distributions=("flexiq",), produces=threads is None,
        concurrency=(1, 2) if threads is None else (threads,), env={"FLEXIQ_LOG_LEVEL": "ERROR"},
    )  # fmt: skip


SYSTEMS = (
    System(
        FASTQ, "fastq_peer", Pace(40_000, 150_000, 200_000), fastq, "from fastq import Fastq",
        distributions=("fastq",),
    ),
    System(BARE, "bare_peer", Pace(60_000, 400_000, 200_000)),
    huey_row("thread"),
    huey_row("process"),
    flexiq_row("flexiq", None),
    flexiq_row("flexiq 16 threads", 16),
    celery_row("files", "solo", Pace(3_000, 0, 1_000)),
    celery_row("files", "prefork", Pace(3_000, 0, 1_000)),
    celery_row("sqlite", "solo", Pace(800, 0, 400)),
    celery_row("sqlite", "prefork", Pace(800, 0, 400)),
)
