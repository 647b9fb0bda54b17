"""Starting and watching the processes of a system: its producer, its worker, what they cost.

CPU is read per process from its CPU clock (nanoseconds, all its threads), and from /proc for children that ended.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any, NamedTuple

import psutil

import fastq
from fastq.bench.broker import Place
from fastq.bench.question import NotOffered, TrialFailed
from fastq.bench.system import Kind, System

PEERS = Path(__file__).with_name("peers")
SOURCES = str(Path(next(iter(fastq.__path__))).parent)
CONTENT_BYTES = 220
"""What a fastq message of the no-op task weighs, so that the bare rows store as much."""
DEADLINE_S = 300.0


class Memory(NamedTuple):
    """Of a whole process tree, in bytes; ``pss`` shares a page among those who map it."""

    rss: int
    pss: int
    processes: int


class Stage:
    """A folder of its own for one trial, where the system keeps its files, and the FIFO its tasks ring on."""

    def __init__(
        self, system: System, folder: Path, place: Place, *,
        kind: Kind | None = None, concurrency: int = 1, results: bool = False,
    ) -> None:  # fmt: skip
        self.system = system
        self.folder = folder
        self.place = place
        self.concurrency = concurrency
        paths = [str(PEERS), *filter(None, [system.path, os.environ.get("PYTHONPATH")]), SOURCES]
        self.env = {
            **os.environ, **system.env, **place.env, **(kind or system.kinds[0]).env,
            "PYTHONPATH": os.pathsep.join(paths),
            "BENCH_FOLDER": str(folder), "BENCH_CONCURRENCY": str(concurrency), "BENCH_RESULTS": str(int(results)),
            "BENCH_CONTENT_BYTES": str(CONTENT_BYTES),
            # Empty is unset: no user compiles every module at every start, and none here should.
            "PYTHONDONTWRITEBYTECODE": "",
        }  # fmt: skip
        os.mkfifo(folder / "bell")

    def produce(self, operation: str, *numbers: int) -> dict[str, Any]:
        """Run one operation of peers/produce.py. Raises NotOffered, TrialFailed."""
        command = [sys.executable, str(PEERS / "produce.py"), self.system.module, operation, *map(str, numbers)]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
            )
        except subprocess.TimeoutExpired as slow:
            raise TrialFailed(f"{operation} took longer than {DEADLINE_S:.0f} s") from slow
        if done.returncode:
            raise TrialFailed(f"{operation}: {last_lines(done.stderr)}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        if "absent" in answer:
            raise NotOffered(self.system.lacks.get(answer["absent"], f"has no {answer['absent']}()"))
        return answer

    def wait_empty(self, deadline_s: float = 30.0) -> None:
        """Wait until the system says that nothing is left. Raises TrialFailed."""
        end = time.monotonic() + deadline_s
        while left := self.backlog():
            if time.monotonic() > end:
                raise TrialFailed(f"{left} messages are still stored after the last task ran")

    def backlog(self) -> int:
        """How many messages are stored and not finished."""
        if self.place.backlog:
            return self.place.backlog()
        return int(self.produce("backlog")["backlog"])

    def broker_cpu_s(self) -> float | None:
        """CPU time of the server so far, None where there is none."""
        return cpu_clock_s(self.place.pid) if self.place.pid else None

    def worker(self) -> Worker:
        return Worker(self)


@contextmanager
def stage(
    system: System, kind: Kind | None = None, *, concurrency: int = 1, results: bool = False
) -> Iterator[Stage]:
    """Make a folder and a place at the broker for one trial; without a *kind* of queue, the system's first."""
    with ExitStack() as stack:
        place = stack.enter_context(system.broker.place())
        folder = stack.enter_context(TemporaryDirectory(prefix="fastq-bench-", ignore_cleanup_errors=True))
        yield Stage(system, Path(folder), place, kind=kind, concurrency=concurrency, results=results)


class Worker:
    """A worker that runs while the `with` block does; killed at its end, since its folder is thrown away."""

    def __init__(self, at: Stage) -> None:
        if at.system.worker is None:
            raise NotOffered("has no worker")
        self.command = at.system.worker(at.concurrency)
        self.at = at
        self.log = at.folder / "worker.log"
        self.pending = b""

    def __enter__(self) -> Worker:
        # Read and write: a FIFO with no writer left would report end-of-file for ever.
        self.bell = os.open(self.at.folder / "bell", os.O_RDWR | os.O_NONBLOCK)
        with self.log.open("wb") as log:
            self.started_ns = time.monotonic_ns()
            self.process = subprocess.Popen(
                self.command, cwd=self.at.folder, env=self.at.env, stdin=subprocess.DEVNULL,
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        family = self.family()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        for process in family:  # those that made a session of their own
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait()
        psutil.wait_procs(family, timeout=10)
        os.close(self.bell)

    def wait(self, name: str, deadline_s: float = DEADLINE_S) -> int:
        """Sleep until a task rings with *name*; returns its time (CLOCK_MONOTONIC, ns).

        Raises TrialFailed when another rings first, when the worker ends, and after *deadline_s*.
        """
        end = time.monotonic() + deadline_s
        while True:
            line, newline, rest = self.pending.partition(b"\n")
            if newline:
                self.pending = rest
                rung, at_ns = line.split()
                if rung.decode() == name:
                    return int(at_ns)
                raise TrialFailed(f"{rung.decode()!r} rang before {name!r}: the queue was not worked off in its order")
            ready, _, _ = select.select([self.bell], [], [], 1.0)
            if ready:
                self.pending += os.read(self.bell, 4096)
            elif self.process.poll() is not None:
                raise TrialFailed(f"the worker ended: {last_lines(self.log.read_text(errors='replace'))}")
            elif time.monotonic() > end:
                raise TrialFailed(f"no {name!r} within {deadline_s:.0f} s")

    def family(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self.process.pid)
            return [root, *root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def cpu_s(self) -> float:
        """User and system time of the tree so far, children that ended included."""
        total = 0.0
        for process in self.family():
            with suppress(psutil.NoSuchProcess):
                times = process.cpu_times()
                # The ended ones come from a counter of 10 ms ticks, the living from a clock of nanoseconds.
                total += times.children_user + times.children_system + (cpu_clock_s(process.pid) or sum(times[:2]))
        return total

    def memory(self) -> Memory:
        return memory_of(self.family())

    def memory_apart(self) -> tuple[Memory, Memory]:
        """That of the process that was started, and that of all below it."""
        family = self.family()
        return memory_of(family[:1]), memory_of(family[1:])


def memory_of(family: list[psutil.Process]) -> Memory:
    pages = [rollup(process.pid) for process in family]
    return Memory(sum(rss for rss, _ in pages), sum(pss for _, pss in pages), len(family))


def cpu_clock_s(pid: int) -> float | None:
    """Read the CPU clock of a process; None where the system has none (or it just ended)."""
    try:
        return time.clock_gettime((~pid << 3) | 2)  # the kernel's encoding of (pid, CPUCLOCK_SCHED)
    except (OSError, AttributeError):
        return None


def rollup(pid: int) -> tuple[int, int]:
    """RSS and PSS of one process in bytes, (0, 0) when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0
    kib = {words[0]: int(words[1]) for words in map(str.split, lines[1:])}
    return kib["Rss:"] * 1024, kib["Pss:"] * 1024


def last_lines(text: str, count: int = 3) -> str:
    return " | ".join(line.strip() for line in text.strip().splitlines()[-count:]) or "it said nothing"
