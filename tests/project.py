"""A small project with real workers: a module of tasks, programs that work on it, and the same app in the test."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from fastq import signals
from tests.deadline import wait_until

HEAD = """
import os, signal, sys, time
from fastq import Fastq, signals
from fastq.exceptions import Ignore, Reject, SoftTimeLimitExceeded
app = Fastq("proj", broker="sqlite:///{folder}/tasks.db", **{settings!r})
note_fd = os.open("{folder}/notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def note(*words):
    os.write(note_fd, (" ".join(map(str, words)) + "\\n").encode())

def wait_for(name):
    deadline = time.monotonic() + 20
    while not os.path.exists("{folder}/" + name):
        if time.monotonic() > deadline:
            raise TimeoutError(name)
        time.sleep(0.001)

"""
RUN = ("import sys; from proj import app; from fastq.worker.worker import Worker;"
       " sys.exit(Worker(app, **{options!r}).run())")


@dataclass
class Program:
    """A worker that runs as a process of its own."""

    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def children(self) -> list[int]:
        """The pids of its children."""
        return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]

    def said(self) -> str:
        """What it wrote to its terminal."""
        return self.log.read_text(errors="replace")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM, timeout: float = 15.0) -> int:
        """Send a signal and return the exit code."""
        self.send(number)
        return self.process.wait(timeout)


@dataclass
class Project:
    """A folder with ``proj.py``. ``notes`` is what tasks wrote with ``note(...)``, in order."""

    folder: Path
    app: Any
    tasks: Any
    programs: list[Program] = field(default_factory=list)

    def start(self, *, until_ready: bool = True, environment: dict[str, str] | None = None, **options: Any) -> Program:
        """Start a worker; *options* are those of `Worker`."""
        options = {"concurrency": 1, "loglevel": "INFO", **options}
        log = self.folder / f"worker{len(self.programs)}.log"
        with open(log, "wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-c", RUN.format(options=options)], cwd=self.folder,
                env=os.environ | (environment or {}), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        program = Program(process, log)
        self.programs.append(program)
        if until_ready:
            wait_until(lambda: " ready." in program.said() or process.poll() is not None, what="the worker to be ready")
            assert process.poll() is None, program.said()
        return program

    def restart_until(self, condition: Callable[[], bool], **options: Any) -> Program:
        """Start a worker, and another whenever it was killed, until *condition* holds; returns the last one."""
        worker = self.start(until_ready=False, **options)

        def holds() -> bool:
            nonlocal worker
            if worker.process.poll() is not None:
                assert worker.process.returncode == -signal.SIGKILL, worker.said()
                worker = self.start(until_ready=False, **options)
            return condition()

        self.wait_for(holds, 40)
        self.wait_for(lambda: " ready." in worker.said())
        return worker

    @property
    def notes(self) -> list[str]:
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def wait_for(self, condition: Callable[[], object], timeout: float = 15.0) -> Any:
        """Wait for *condition*; when it never holds, the workers' logs tell why."""
        try:
            return wait_until(condition, timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\nnotes: {self.notes[-20:]}\n"
                                 + "\n".join(program.said()[-3000:] for program in self.programs)) from None

    def wait_for_note(self, *lines: str, timeout: float = 15.0) -> None:
        self.wait_for(lambda: set(lines) <= set(self.notes), timeout)

    def allow(self, name: str) -> None:
        """Let the tasks go on that wait with ``wait_for(name)``."""
        (self.folder / name).touch()

    @property
    def queue(self) -> Any:
        """The figures of the default queue."""
        return self.app.transport.queues()["celery"]

    @property
    def dead(self) -> list[Any]:
        """The dead letters, the newest first."""
        return list(self.app.transport.dead_letters())

    def is_idle(self) -> bool:
        stat = self.queue
        return not (stat.ready or stat.held or stat.future)


@contextmanager
def project(folder: Path, source: str, **settings: Any) -> Iterator[Project]:
    """Make a project in *folder*; its workers end with the block."""
    (folder / "proj.py").write_text(HEAD.format(folder=folder, settings=settings) + textwrap.dedent(source))
    sys.path.insert(0, str(folder))
    sys.modules.pop("proj", None)
    importlib.invalidate_caches()
    heard = {name: getattr(signals, name).receivers for name in signals.__all__
             if isinstance(getattr(signals, name), signals.Signal)}
    made = importlib.import_module("proj")
    opened = Project(folder, made.app, made)
    try:
        yield opened
    finally:
        for program in opened.programs:
            if program.process.poll() is None:
                for pid in (*program.children(), program.pid):
                    os.kill(pid, signal.SIGCONT)
                program.process.kill()
                program.process.wait()
        opened.app.close()
        os.close(made.note_fd)
        sys.modules.pop("proj", None)
        for name, receivers in heard.items():
            getattr(signals, name).receivers = receivers    # the project's would hear of every later test's tasks
        sys.path.remove(str(folder))


@pytest.fixture
def make_project(tmp_path: Path) -> Iterator[Callable[..., Project]]:
    """Return ``make(source, **settings)``; import this into a conftest."""
    with ExitStack() as stack:
        def make(source: str, **settings: Any) -> Project:
            return stack.enter_context(project(tmp_path, source, **settings))

        yield make
