"""SIGHUP, SIGUSR1 and SIGUSR2 to real workers: one begins anew, one says where it is, one goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.project import RUN, Program, Project

Make = Callable[..., Project]

TASKS = """
import atexit
if os.environ.get("NOTED"):     # in the worker, and not in the test, which imports this too
    atexit.register(note, "left", os.getpid())
    os.set_inheritable(os.open(os.devnull, os.O_RDONLY), True)      # as a C library may leave one

@app.task
def wait(name):
    note("started", name)
    wait_for(name)
    return name

@app.task
def pids():
    return os.getpid(), os.getppid()
"""


def left_open(worker: Program) -> int:
    """How many descriptors the worker has of the kind that is left open."""
    found = 0
    for link in Path(f"/proc/{worker.pid}/fd").iterdir():
        with suppress(FileNotFoundError):   # others come and go
            found += os.readlink(link) == os.devnull
    return found


def begun_anew(project: Project, worker: Program) -> None:
    """Wait until a worker is ready since it began anew the last time."""
    def is_ready() -> bool:
        _, anew, said = worker.said().rpartition("begins anew")
        return worker.process.poll() is not None or bool(anew and " ready." in said)

    project.wait_for(is_ready, 30)
    assert worker.process.poll() is None, worker.said()


def test_a_hangup_lets_what_runs_end_and_begins_anew_in_the_same_process(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start(pidfile=str(project.folder / "pid"), concurrency=2, environment={"NOTED": "1"})
    child, parent = project.tasks.pids.delay().get(timeout=15)
    before = left_open(worker)
    held = project.tasks.wait.delay("gate")
    project.wait_for_note("started gate")
    for count in (1, 2):    # a second one while it stops changes nothing
        worker.send(signal.SIGHUP)
        project.wait_for(lambda count=count: worker.said().count("SIGHUP: warm shutdown, then a new start") == count)  # type: ignore[misc]
    assert held.state == "PENDING"
    project.allow("gate")
    assert held.get(timeout=15) == "gate"
    begun_anew(project, worker)
    # What the program does at its exit comes first: what was not confirmed yet is flushed there.
    assert f"left {worker.pid}" in project.notes
    anew, same = project.tasks.pids.delay().get(timeout=15)
    assert (parent, same) == (worker.pid, worker.pid) and anew != child
    assert (project.folder / "pid").read_text() == f"{worker.pid}\n"
    assert left_open(worker) == before > 0
    assert project.notes.count("started gate") == 1
    assert worker.stop() == 0 and not (project.folder / "pid").exists()


def test_a_second_hangup_at_any_moment_of_a_new_start_is_survived(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start(pool="solo")

    def insist() -> bool:
        worker.send(signal.SIGHUP)      # while it works, while it exits, while the interpreter starts, while it boots
        return worker.said().count("begins anew") >= 3

    project.wait_for(insist, 30)
    begun_anew(project, worker)
    assert project.tasks.pids.delay().get(timeout=15)[0] == worker.pid


@pytest.mark.parametrize("environment", [{}, {"REMAP_SIGTERM": "SIGQUIT"}], ids=["", "remapped"])
def test_to_stop_for_good_wins_over_a_new_start(make_project: Make, environment: dict[str, str]) -> None:
    project = make_project(TASKS)
    project.tasks.wait.delay("gate")
    worker = project.start(environment=environment)
    project.wait_for_note("started gate")
    worker.send(signal.SIGHUP)
    project.wait_for(lambda: "then a new start" in worker.said())
    worker.send(signal.SIGTERM)
    project.wait_for(lambda: "SIGTERM: " in worker.said())
    worker.send(signal.SIGHUP)
    project.allow("gate")
    assert worker.process.wait(15) == (1 if environment else 0)
    assert "begins anew" not in worker.said() and worker.said().count(" ready.") == 1


def test_a_worker_in_a_terminal_outlives_it(make_project: Make) -> None:
    project = make_project(TASKS)
    master, terminal = os.openpty()
    log = project.folder / "terminal.log"
    with log.open("wb") as errors:
        process = subprocess.Popen([sys.executable, "-c", RUN.format(options={"concurrency": 1, "loglevel": "INFO"})],
                                   cwd=project.folder, stdin=terminal, stdout=terminal, stderr=errors)
    os.close(terminal)
    worker = Program(process, log)
    project.programs.append(worker)
    child, _ = project.tasks.pids.delay().get(timeout=20)
    os.close(master)
    worker.send(signal.SIGHUP)
    project.wait_for(lambda: "SIGHUP restarts no worker that was started in a terminal" in worker.said())
    assert project.tasks.pids.delay().get(timeout=15) == [child, worker.pid]
    assert worker.stop() == 0


@pytest.mark.parametrize("log_format", [None, "json"], ids=["text", "json"])
def test_a_worker_says_where_its_threads_are_and_goes_on(make_project: Make, log_format: str | None) -> None:
    project = make_project(TASKS + "\nimport threading"
                           "\nthreading.Thread(target=time.sleep, args=(60,), name='sleeper', daemon=True).start()\n")
    worker = project.start(log_format=log_format, loglevel="INFO")
    held = project.tasks.wait.delay("gate")
    project.wait_for_note("started gate")
    said = [worker.said().count(words) for words in ("SIGUSR1", "SIGUSR2")]
    assert said == [0, 0]
    os.kill(worker.children()[0], signal.SIGUSR2)       # as those get it whose whole group is told
    worker.send(signal.SIGUSR1)
    project.wait_for(lambda: "SIGUSR1" in worker.said())
    worker.send(signal.SIGUSR2)
    project.wait_for(lambda: "SIGUSR2 means nothing" in worker.said())
    project.allow("gate")
    assert held.get(timeout=15) == "gate"
    assert worker.stop() == 0
    lines = worker.said().splitlines()
    if log_format == "json":
        lines = "\n".join(json.loads(line)["message"] for line in lines).splitlines()
    stacks = lines[next(number for number, line in enumerate(lines) if "SIGUSR1: where each thread is" in line) + 1:]
    assert {"Thread MainThread:", "Thread sleeper:"} <= set(stacks)
    assert any("in _loop" in line for line in stacks)
    assert project.notes.count("started gate") == 1


def test_a_handler_that_the_app_has_for_a_user_signal_stays_its_own(make_project: Make) -> None:
    project = make_project(TASKS + "\nsignal.signal(signal.SIGUSR2, lambda *_: note('mine', os.getpid()))\n")
    worker = project.start()
    [child] = worker.children()
    for pid in (worker.pid, child):
        os.kill(pid, signal.SIGUSR2)
    project.wait_for_note(f"mine {worker.pid}", f"mine {child}")
    assert worker.stop() == 0


@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_a_whole_group_is_told_is_the_supervisors_alone(make_project: Make, method: str) -> None:
    project = make_project(TASKS)
    worker = project.start(start_method=method)
    child, _ = project.tasks.pids.delay().get(timeout=30)
    below = psutil.Process(worker.pid).children(recursive=True)
    for process in below:
        for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGHUP, signal.SIGTERM):
            process.send_signal(number)
    assert project.tasks.pids.delay().get(timeout=15)[0] == child
    assert psutil.Process(worker.pid).children(recursive=True) == below
    assert worker.stop() == 0
