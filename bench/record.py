"""What was measured, as JSON lines: every line tells all that is needed to judge it alone."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import IO, Any, NamedTuple

from fastq.bench.broker import EMBEDDED, Broker
from fastq.bench.question import Question, Reading
from fastq.bench.system import System


class Summary(NamedTuple):
    """The rounds of one system in one case."""

    case: str
    system: str
    median: float
    low: float
    high: float
    cpu_us: float | None
    rounds: int
    broker_us: float | None = None


@dataclass
class Ledger:
    """The readings of one question, and why some are not there."""

    question: Question
    out: IO[str] | None = None
    readings: dict[tuple[str, str], list[Reading]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    broker: Broker = EMBEDDED

    @property
    def title(self) -> str:
        on = "" if self.broker is EMBEDDED else f" - {self.broker.title}"
        return f"{self.question.title}{on} ({self.question.unit})"

    @property
    def facts(self) -> str:
        served = f"{self.broker.title} {self.broker.version()}"
        store = f"SQLite {FACTS['sqlite']}" if self.broker is EMBEDDED else served
        return f"{FACTS['machine']}; Python {FACTS['python']}, {store}"

    def add(self, system: System, reading: Reading, repetition: int) -> None:
        self.readings.setdefault((reading.case, system.name), []).append(reading)
        if "broke" in reading.params:  # what was read until then counts, and the reader must know
            self.failed[system.name] = reading.params["broke"]
        if self.out is None:
            return
        line = {
            "question": self.question.name, "case": reading.case, "system": system.name, "value": reading.value,
            "unit": self.question.unit, "cpu_us_per_task": reading.cpu_us, "broker_cpu_us_per_task": reading.broker_us,
            "repetition": repetition, "broker": system.broker.name, "broker_version": system.broker.version(),
            "params": reading.params, "versions": system.versions(), **FACTS,
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }  # fmt: skip
        self.out.write(json.dumps(line) + "\n")
        self.out.flush()

    def summaries(self) -> Iterator[Summary]:
        """One line for each case and system, in the order first measured, grouped by case."""
        cases = list(dict.fromkeys(case for case, _ in self.readings))
        for wanted in cases:
            for (case, system), readings in self.readings.items():
                if case == wanted:
                    values = [reading.value for reading in readings]
                    cpu = middle(reading.cpu_us for reading in readings)
                    broker = middle(reading.broker_us for reading in readings)
                    yield Summary(case, system, median(values), min(values), max(values), cpu, len(values), broker)


def middle(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def machine() -> dict[str, Any]:
    """The facts about this machine and this tree that a figure depends on."""
    return {
        "machine": f"{cpu_model()} x {os.cpu_count()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "commit": commit(),
    }


def cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def commit() -> str | None:
    """The commit of the source tree this runs from, None in an installed copy."""
    tree = Path(__file__).resolve().parent.parent
    if not (tree / ".git").exists():
        return None
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip() or None


FACTS = machine()
