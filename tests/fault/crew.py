"""The processes of one round: started, watched, replaced when they die, and ended at last.

The crew stands outside: it sends signals, reads the journal as it grows, and asks the broker what it holds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.deadline import wait_until
from tests.fault.engines import Engine
from tests.fault.history import ATTEMPT, COLD, CONT, CUT, DIED, KILL, MEND, STOP, Journal, Reader

ROOT = Path(__file__).parents[2]


@dataclass
class Member:
    """One started program."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    role: str
    is_stopped: bool = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[int]:
        """The pids of its children; of a worker, those that run tasks."""
        try:
            text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        except FileNotFoundError:
            return []
        return [int(pid) for pid in text.split()]

    def said(self) -> str:
        """The end of what it wrote to its terminal."""
        return self.log.read_text(errors="replace")[-3000:]


@dataclass
class Crew:
    """Starts producers and workers on one broker, and knows how far they are."""

    folder: Path
    engine: Engine
    tasks: int
    lease_s: float = 30.0
    children: int = 2
    """Tasks that a worker runs at a time."""
    pool: str = "prefork"
    environments: list[dict[str, str]] = field(default_factory=list)
    """What the workers to come get into their environment, one each; the later ones get nothing."""
    producer_environments: list[dict[str, str]] = field(default_factory=list)
    producer_role: str = "producer"
    """The program that sends."""
    runs: int = 0
    """How many runs all tasks lead to, about."""

    def __post_init__(self) -> None:
        self.journal = Journal(str(self.folder / "journal"))
        self.seen = Reader(self.journal.path)
        self.workers: list[Member] = []
        self.producer: Member | None = None
        self.bosses: set[int] = set()
        self._made = 0

    # -- starting ---------------------------------------------------------------------------------

    def _start(self, role: str, arguments: list[str], more: dict[str, str]) -> Member:
        self._made += 1
        name = f"{role}{self._made}"
        log = self.folder / f"{name}.log"
        environment = os.environ | {
            "FAULT_BROKER": self.engine.url, "FAULT_JOURNAL": self.journal.path,
            "FAULT_SETTINGS": json.dumps({"broker_lease": self.lease_s, **self.engine.settings()}),
            "PYTHONPATH": str(ROOT), "TMPDIR": str(self.folder)} | more
        with open(log, "wb") as out:
            process = subprocess.Popen([sys.executable, "-m", f"tests.fault.{role}", *arguments], cwd=self.folder,
                                       env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        return Member(name, process, log, role)

    def start_worker(self) -> Member:
        """Start one more worker."""
        more = self.environments.pop(0) if self.environments else {}
        member = self._start("worker", [str(self.children), f"w{self._made}@fault", self.pool], more)
        self.workers.append(member)
        self.bosses.add(member.pid)
        return member

    def start_producer(self) -> None:
        """Start a producer that goes on after the last task that was attempted."""
        self.seen.follow()
        more = self.producer_environments.pop(0) if self.producer_environments else {}
        first = self.seen.counts[ATTEMPT]
        if first < self.tasks:
            self.producer = self._start(self.producer_role, [str(first), str(self.tasks - 1)], more)

    # -- watching ---------------------------------------------------------------------------------

    def watch(self) -> None:
        """Read the journal, and replace who was killed. Raises AssertionError for one that ended in another way."""
        self.seen.follow()
        for member in list(self.workers):
            if member.process.poll() is not None:
                self._bury(member)
                self.workers.remove(member)
                self.start_worker()
        if self.producer is not None and self.producer.process.poll() is not None:
            member, self.producer = self.producer, None
            if member.process.returncode != 0:
                self._bury(member)
                self.start_producer()

    def _bury(self, member: Member) -> None:
        if member.process.returncode != -signal.SIGKILL:
            raise AssertionError(f"{member.name} ended with {member.process.returncode}:\n{member.said()}")
        self.journal.write(DIED, pid=member.pid)

    def wait(self, condition: Callable[[], object], timeout: float = 60.0, what: str = "") -> None:
        """Watch until *condition* holds."""
        def holds() -> object:
            self.watch()
            return condition()

        wait_until(holds, timeout, what=what or "the round to go on")

    def is_drained(self) -> bool:
        """Tell whether all was sent and nothing waits."""
        return self.producer is None and self.engine.is_empty()

    def connections(self) -> set[tuple[int, int]]:
        """The open connections of producer and workers to the broker: (pid, local port)."""
        port = urlsplit(self.engine.url).port
        found = set()
        for member in [*self.workers, *([self.producer] if self.producer else ())]:
            try:
                found |= {(member.pid, one.laddr.port) for one in psutil.Process(member.pid).net_connections("tcp4")
                          if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED}
            except psutil.NoSuchProcess:
                continue
        return found

    # -- striking ---------------------------------------------------------------------------------

    def kill(self, pid: int) -> None:
        """Kill a process with SIGKILL; the journal knows before it happens."""
        self.journal.write(KILL, pid=pid)
        os.kill(pid, signal.SIGKILL)

    def stop(self, member: Member, *, whole: bool) -> list[int]:
        """Stop a supervisor, or its children as well; returns the pids."""
        pids = [member.pid, *(member.children() if whole else ())]
        self.journal.write(STOP, pid=member.pid)
        member.is_stopped = True
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        return pids

    def go_on(self, member: Member, pids: list[int]) -> None:
        """Let what was stopped go on."""
        self.journal.write(CONT, pid=member.pid)
        for pid in reversed(pids):
            os.kill(pid, signal.SIGCONT)
        member.is_stopped = False

    def shut_down(self, member: Member, *numbers: int) -> int:
        """End a worker by signals, the next one when the last was heard of; returns its exit code."""
        self.workers.remove(member)
        if len(numbers) > 1 or signal.SIGQUIT in numbers:
            self.journal.write(COLD, pid=member.pid)
        for count, number in enumerate(numbers, 1):
            if member.process.poll() is None:
                member.process.send_signal(number)
                wait_until(lambda count=count: member.process.poll() is not None  # type: ignore[misc]
                           or member.said().count("\nworker: SIG") >= count, what=f"{member.name} to hear a signal")
        return member.process.wait(30)

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Write down that connections break in this block, or that nothing passes over them."""
        self.journal.write(CUT)
        try:
            yield
        finally:
            self.journal.write(MEND)

    def words(self) -> str:
        """What everybody who is still there said last."""
        members = [*self.workers, *([self.producer] if self.producer else ())]
        return "\n".join(f"--- {member.name}\n{member.said()}" for member in members)

    # -- the end ----------------------------------------------------------------------------------

    def leave(self) -> None:
        """Kill what still runs, and close what is open. Safe to call twice."""
        for member in [*self.workers, *([self.producer] if self.producer else ())]:
            if member.process.poll() is None:
                member.process.send_signal(signal.SIGCONT)
                member.process.kill()
                member.process.wait()
        self.workers, self.producer = [], None
        self.engine.close()
        self.journal.close()
        self.seen.close()
