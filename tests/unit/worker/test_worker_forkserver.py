"""Whole workers whose children are forked by a fork server: who imports, who dies with whom, what goes on."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.project import Program, Project

Make = Callable[..., Project]

TASKS = """
if os.environ.get("BREAKS") and "fastq.worker.spawned" in sys.modules:
    raise RuntimeError("no such disk")
note("imported", os.getpid())

@app.task
def who():
    return os.getpid(), os.getppid()

@app.task
def gated():
    note("began", os.getpid())
    wait_for("gate")
    return os.getpid()
"""


def start(project: Project, pool: str = "prefork", concurrency: int = 2, **options: object) -> Program:
    return project.start(pool=pool, concurrency=concurrency, start_method="forkserver", **options)


def server_of(project: Project) -> int:
    """The pid of the fork server that imported last: the worker's only child that did."""
    def look() -> int:
        *_, (_, pid) = [note.split() for note in project.notes if note.startswith("imported")]
        return int(pid) if int(pid) in project.programs[-1].children() else 0

    return int(project.wait_for(look, 30))


def imports(project: Project) -> int:
    return sum(note.startswith("imported") for note in project.notes)


@pytest.mark.parametrize("pool", ["prefork", "threads", "asyncio"])
def test_the_app_is_imported_once_for_all_children_which_are_the_supervisors(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool)
    pid, parent = project.tasks.who.delay().get(timeout=30)
    assert parent == worker.pid
    assert pid in worker.children()
    os.kill(pid, signal.SIGKILL)
    project.wait_for(lambda: project.tasks.who.delay().get(timeout=30)[0] != pid)
    project.wait_for(lambda: f"pid {pid}) was killed by SIGKILL" in worker.said())
    assert imports(project) == 3        # here, in the supervisor, in the fork server
    assert worker.stop() == 0
    assert worker.said().count("ERROR") == 1


def test_a_task_whose_child_was_killed_runs_again(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = start(project)
    result = project.tasks.gated.delay()
    project.wait_for(lambda: "began" in " ".join(project.notes))
    first = int(project.notes[-1].split()[1])
    os.kill(first, signal.SIGKILL)
    project.wait_for(lambda: " ".join(project.notes).count("began") == 2)
    project.allow("gate")
    assert result.get(timeout=30) != first
    assert worker.stop() == 0


def test_children_outlive_their_fork_server_and_another_one_makes_the_next(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = start(project, concurrency=1)
    result = project.tasks.gated.delay()
    project.wait_for(lambda: "began" in " ".join(project.notes))
    child, server = int(project.notes[-1].split()[1]), server_of(project)
    os.kill(server, signal.SIGKILL)
    project.wait_for(lambda: f"the fork server (pid {server}) was killed by SIGKILL" in worker.said())
    project.wait_for(lambda: imports(project) == 4, 30)
    project.allow("gate")
    assert result.get(timeout=30) == child
    os.kill(child, signal.SIGKILL)
    assert project.tasks.who.delay().get(timeout=30)[0] not in (0, child)
    assert imports(project) == 4
    assert worker.stop() == 0


def test_children_wait_for_the_next_fork_server(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = start(project, concurrency=1)
    child, _ = project.tasks.who.delay().get(timeout=30)
    for pid in (server_of(project), child):
        os.kill(pid, signal.SIGKILL)
    assert project.tasks.who.delay().get(timeout=30)[0] != child
    assert worker.stop() == 0


def test_nothing_outlives_a_killed_supervisor(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = start(project)
    project.tasks.gated.delay()
    project.wait_for(lambda: "began" in " ".join(project.notes))
    pids = project.wait_for(lambda: len(found := worker.children()) == 3 and found)
    worker.process.kill()
    worker.process.wait(15)
    project.wait_for(lambda: not any(is_alive(pid) for pid in pids))


def test_an_app_that_cannot_be_imported_ends_the_worker_with_one_error(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start(until_ready=False, start_method="forkserver", environment={"BREAKS": "1"})
    assert worker.process.wait(30) == 1
    said = worker.said()
    assert said.count("the fork server cannot import the app: RuntimeError: no such disk") == 1
    assert said.count("Traceback") == 1     # of the import itself


def test_a_stop_ends_the_fork_server_too_while_it_imports(make_project: Make) -> None:
    project = make_project('''
if os.environ.get("HANGS") and "fastq.worker.spawned" in sys.modules:
    note("imports")
    wait_for("never")
''', worker_proc_alive_timeout=0.1)
    worker = project.start(start_method="forkserver", environment={"HANGS": "1"})
    project.wait_for_note("imports")
    project.wait_for(lambda: "has not imported the app after 0.1 s; it is waited for" in worker.said())
    pids = worker.children()
    assert worker.stop() == 0
    assert [pid for pid in pids if is_alive(pid)] == []


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
