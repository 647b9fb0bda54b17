"""Whole workers with children that do not come up, and with what children leave behind."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fastq.exceptions import WorkerLostError
from tests.project import Project

Make = Callable[..., Project]

IN_CHILD = """
if os.environ.get("CHILD") and "fastq.worker.spawned" in sys.modules:
    {what}

@app.task
def who():
    return os.getpid()

@app.task
def gated():
    note("began", os.getpid())
    wait_for("gate")
"""

FAMILY = """
def bear():
    for _ in range(4):
        if os.fork() == 0:
            try:
                note("grandchild", os.getpid())
                wait_for("gate")
            finally:
                os._exit(0)

@app.task
def who():
    return os.getpid()

@app.task(acks_late=False)
def leaves():
    bear()
    note("bore", os.getpid())
    wait_for("never")

@app.task
def holds():
    if not os.path.exists("{folder}/born"):
        open("{folder}/born", "x").close()
        bear()
    note("holds", os.getpid())
    wait_for("gate")
"""


def test_a_spawned_child_that_cannot_import_ends_the_worker_with_the_reason(make_project: Make) -> None:
    project = make_project(IN_CHILD.format(what='raise RuntimeError("no such disk")'))
    worker = project.start(until_ready=False, start_method="spawn", environment={"CHILD": "1"})
    assert worker.process.wait(60) == 1
    said = worker.said()
    assert said.count("RuntimeError: no such disk") == 6
    assert said.count("6 children in a row ended before they could take a task") == 1
    assert "exited with status 70" in said


ONE_HANGS = """
    try:
        os.mkdir(os.path.join(os.path.dirname(__file__), "one"))
    except FileExistsError:
        pass
    else:
        note("hangs")
        wait_for("import")
"""


def test_a_spawned_child_that_hangs_is_named_and_the_others_work(make_project: Make) -> None:
    project = make_project(IN_CHILD.format(what=ONE_HANGS.strip()), worker_proc_alive_timeout=0.05)
    worker = project.start(concurrency=2, start_method="spawn", environment={"CHILD": "1"})
    project.wait_for_note("hangs")
    first = project.tasks.who.delay().get(timeout=30)
    project.wait_for(lambda: worker.said().count("is not up after 0.1 s; it is waited for") >= 1)
    hanging = next(pid for pid in worker.children() if pid != first)
    project.allow("import")
    for _ in range(2):
        project.tasks.gated.delay()
    project.wait_for_note(f"began {first}", f"began {hanging}")
    project.allow("gate")
    assert worker.stop() == 0


def test_a_cold_stop_does_not_wait_for_a_child_that_hangs(make_project: Make) -> None:
    project = make_project(IN_CHILD.format(what='note("hangs", os.getpid()); wait_for("import")'))
    worker = project.start(start_method="spawn", environment={"CHILD": "1"})
    project.wait_for(lambda: project.notes)
    assert worker.stop(signal.SIGQUIT) == 1
    assert not is_alive(int(project.notes[0].split()[1]))


@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_what_a_killed_child_has_started_runs_on_and_is_in_nobodys_way(make_project: Make, method: str) -> None:
    project = make_project(FAMILY)
    worker = project.start(start_method=method)
    result = project.tasks.leaves.delay()
    project.wait_for(lambda: grown(project) and noted(project, "bore"))
    [child], family = noted(project, "bore"), noted(project, "grandchild")
    os.kill(child, signal.SIGKILL)
    with pytest.raises(WorkerLostError):
        result.get(timeout=30)
    assert project.tasks.who.delay().get(timeout=30) != child
    assert all(is_alive(pid) for pid in family)
    if method == "forkserver":
        assert {parent_of(pid) for pid in family} == {worker.pid}
    assert worker.stop() == 0
    assert all(is_alive(pid) for pid in family)
    project.allow("gate")
    project.wait_for(lambda: not any(is_alive(pid) for pid in family))


def test_what_outlives_a_killed_worker_keeps_none_of_its_messages(make_project: Make, tmp_path: Path) -> None:
    project = make_project(FAMILY.replace("{folder}", str(tmp_path)), broker_lease=600)
    worker = project.start()
    project.tasks.holds.delay()
    project.wait_for(lambda: grown(project) and noted(project, "holds"))
    family = noted(project, "grandchild")
    worker.process.kill()
    worker.process.wait(15)
    project.start()
    project.wait_for(lambda: len(noted(project, "holds")) == 2, 40)
    assert all(is_alive(pid) for pid in family)
    project.allow("gate")
    project.wait_for(lambda: project.is_idle() and not any(is_alive(pid) for pid in family))


def noted(project: Project, word: str) -> list[int]:
    return [int(note.split()[1]) for note in project.notes if note.split()[0] == word]


def grown(project: Project) -> bool:
    return len(noted(project, "grandchild")) == 4


def is_alive(pid: int) -> bool:
    return fields_of(pid)[0] != "Z"


def parent_of(pid: int) -> int:
    return int(fields_of(pid)[1])


def fields_of(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return ["Z", "0"]
