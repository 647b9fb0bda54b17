"""Tasks that somebody terminates while they run, in every kind of pool: what ends, what goes on, who is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fastq.exceptions import SoftTimeLimitExceeded, TaskRevokedError
from tests.project import Program, Project

Make = Callable[..., Project]
TOGETHER = ("threads", "asyncio", "gevent", "eventlet")
POOLS = pytest.mark.parametrize("pool", TOGETHER)

TASKS = """
import asyncio

async def look_for(name):
    while not os.path.exists(os.path.join(os.path.dirname(__file__), name)):
        await asyncio.sleep(0.005)

@app.task
def plain(name, gate):
    note("began", name)
    try:
        wait_for(gate)
    except Exception:
        note("swallowed", name)
    finally:
        note("left", name)
    return name

@app.task
async def coroutine(name, gate):
    note("began", name)
    try:
        await look_for(gate)
    except Exception:
        note("swallowed", name)
    finally:
        note("left", name)
    return name

@app.task
async def sleeper(name):
    note("began", name)
    try:
        await asyncio.sleep(100)
    finally:
        note("left", name)

@app.task(time_limit=60, soft_time_limit=50)
async def limited(name, gate):
    note("began", name)
    try:
        await look_for(gate)
    finally:
        note("left", name)
    return name

@app.task(acks_late=False)
def early(name, gate):
    note("began", name)
    wait_for(gate)
    return name

@app.task
def stubborn(name):
    note("began", name)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            while time.monotonic() < deadline:
                time.sleep(0.001)
        except BaseException:
            note("told", name)

@app.task
async def deaf(name):
    note("began", name)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            await asyncio.sleep(0.005)
        except BaseException:
            note("told", name)

@app.task
def pid():
    return os.getpid()

@app.task
def patient():
    for count in range(2):
        try:
            note("waits", count)    # from here on it may be struck
            wait_for("never")
        except SoftTimeLimitExceeded:
            note("warned")
    return "patient"

@signals.task_revoked.connect
def revoked(sender, request, terminated, signum, expired, **_):
    note("revoked", sender.name, request.id, terminated, int(signum or 0), expired)

@signals.task_postrun.connect
def postrun(task_id, state, **_):
    note("postrun", task_id, state)
"""


def terminate(project: Project, result: Any, number: str = "SIGTERM") -> dict[str, str]:
    """Terminate a task, and return what its worker answers."""
    (answer,) = project.app.control.terminate(result.id, signal=number, reply=True, timeout=20, limit=1)
    said: dict[str, str] = next(iter(answer.values()))
    return said


def state_of(result: Any) -> str:
    """Wait for its end, and return its state."""
    result.get(timeout=20, propagate=False)
    return str(result.state)


def start(project: Project, pool: str, concurrency: int = 8) -> Program:
    return project.start(pool=pool, concurrency=concurrency)


@POOLS
def test_a_terminated_task_ends_alone(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker, tasks = start(project, pool), project.tasks
    innocents = [tasks.plain.delay("a", "go"), tasks.coroutine.delay("b", "go"), tasks.early.delay("c", "go")]
    doomed = [tasks.plain.delay("p", "never"), tasks.coroutine.delay("q", "never"), tasks.limited.delay("r", "never"),
              tasks.sleeper.delay("s")]
    project.wait_for(lambda: sum(line.startswith("began") for line in project.notes) == 7)
    [child] = worker.children()
    for result, number in zip(doomed, ("SIGTERM", "SIGQUIT", "INT", "SIGTERM"), strict=True):
        assert terminate(project, result, number) == {"ok": f"terminate: {result.id}"}
    for result in doomed:
        with pytest.raises(TaskRevokedError, match="terminated"):
            result.get(timeout=20)
        assert result.state == "REVOKED"
    project.allow("go")
    assert [result.get(timeout=20) for result in innocents] == ["a", "b", "c"]
    project.wait_for(project.is_idle)
    assert (worker.children(), project.dead) == ([child], [])
    notes = project.notes
    assert [notes.count(f"began {name}") for name in "abcpqrs"] == [1] * 7
    assert {f"left {name}" for name in "pqrs"} <= set(notes) and not {"swallowed p", "swallowed q"} & set(notes)
    for result, task, number in zip(doomed, ("plain", "coroutine", "limited", "sleeper"), (15, 3, 2, 15), strict=True):
        assert notes.count(f"revoked proj.{task} {result.id} True {number} False") == 1
        assert notes.count(f"postrun {result.id} REVOKED") == 1     # what was begun before the run is ended after it
    assert "killing" not in worker.said() and "did not end" not in worker.said()


@POOLS
def test_who_ends_just_then_has_ended_or_is_revoked_and_nobody_else_is_hit(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker, tasks = start(project, pool, 24), project.tasks
    [child] = worker.children()
    for turn in range(3):
        results = [task.delay(f"{turn}-{number}-{task.name}", f"gate-{turn}")
                   for number in range(10) for task in (tasks.plain, tasks.coroutine)]
        project.wait_for(lambda turn=turn: sum(line.startswith("began") for line in project.notes)  # type: ignore[misc]
                         == 20 * (turn + 1))
        project.app.control.terminate([result.id for result in results[::2]])
        project.allow(f"gate-{turn}")
        states = [state_of(result) for result in results]
        assert set(states[1::2]) == {"SUCCESS"} and set(states[::2]) <= {"SUCCESS", "REVOKED"}
    project.wait_for(project.is_idle)
    assert (worker.children(), project.dead, "internal error" in worker.said()) == ([child], [], False)
    for result in results:
        assert sum(line.startswith(f"postrun {result.id}") for line in project.notes) == 1


@pytest.mark.parametrize(("pool", "task"), [*((pool, "stubborn") for pool in ("threads", "asyncio")),
                                            *((pool, "deaf") for pool in ("asyncio",)),
                                            *((pool, "stubborn") for pool in ("gevent", "eventlet"))])
def test_a_task_that_does_not_heed_it_is_forced_to_end(make_project: Make, pool: str, task: str) -> None:
    project = make_project(TASKS)
    worker, tasks = start(project, pool), project.tasks
    innocent = tasks.plain.delay("a", "go")
    doomed = getattr(tasks, task).delay("s")
    project.wait_for_note("began a", "began s")
    before = worker.children()
    terminate(project, doomed)
    with pytest.raises(TaskRevokedError, match="terminated"):
        doomed.get(timeout=20)
    project.wait_for(lambda: project.notes.count("began a") == 2)   # it comes back, and nobody is blamed
    project.allow("go")
    assert innocent.get(timeout=20) == "a"
    project.wait_for(project.is_idle)
    assert (project.dead, "death" in worker.said(), worker.children() == before) == ([], False, False)
    assert f"proj.{task} did not end when it was told to (SIGTERM)" in worker.said()
    assert project.notes.count("told s") == 1 and project.notes.count("began s") == 1
    assert project.notes.count(f"revoked proj.{task} {doomed.id} True 15 False") == 1


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_with_sigkill_there_is_no_grace(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker = start(project, pool, 1)
    doomed = project.tasks.plain.delay("p", "never")
    project.wait_for_note("began p")
    before = worker.children()
    terminate(project, doomed, "KILL")
    with pytest.raises(TaskRevokedError, match="terminated"):
        doomed.get(timeout=20)
    assert project.tasks.pid.delay().get(timeout=20) not in before
    assert "left p" not in project.notes
    assert project.notes.count(f"revoked proj.plain {doomed.id} True 9 False") == 1
    assert f"postrun {doomed.id} REVOKED" not in project.notes      # there was no end to the run


def test_receivers_are_told_with_which_signal_a_forked_task_was_terminated(make_project: Make) -> None:
    project = make_project(TASKS)
    start(project, "prefork", 1)
    for number, signum in (("SIGTERM", 15), ("USR2", 12), ("SIGHUP", 1)):
        doomed = project.tasks.plain.delay(number, "never")
        project.wait_for_note(f"began {number}")
        assert terminate(project, doomed, number) == {"ok": f"terminate: {doomed.id}"}
        with pytest.raises(TaskRevokedError, match="terminated"):
            doomed.get(timeout=20)
        project.wait_for_note(f"revoked proj.plain {doomed.id} True {signum} False")


def test_what_waits_for_a_thread_of_the_loop_is_ended_where_it_waits(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = start(project, "asyncio", 40)
    running = [project.tasks.plain.delay(f"r{number}", "go") for number in range(32)]
    project.wait_for(lambda: len(project.notes) == 32)
    waiting = project.tasks.plain.delay("w", "go")
    project.wait_for(lambda: len(next(iter(project.app.control.inspect(timeout=10, limit=1).active().values()))) == 33)
    terminate(project, waiting)
    with pytest.raises(TaskRevokedError, match="terminated"):
        waiting.get(timeout=20)
    project.allow("go")
    assert [result.get(timeout=20) for result in running] == [f"r{number}" for number in range(32)]
    assert "began w" not in project.notes and "killing" not in worker.said()


@pytest.mark.parametrize("pool", ["prefork", *TOGETHER])
def test_sigusr1_raises_the_soft_limit_in_the_task_as_often_as_it_is_sent(make_project: Make, pool: str) -> None:
    project = make_project(TASKS)
    worker, tasks = start(project, pool, 3), project.tasks
    patient = tasks.patient.delay()
    for count in (1, 2):
        project.wait_for_note(f"waits {count - 1}")
        assert terminate(project, patient, "SIGUSR1") == {"ok": f"terminate: {patient.id}"}
        project.wait_for(lambda count=count: project.notes.count("warned") == count)  # type: ignore[misc]
    assert patient.get(timeout=20) == "patient"
    for name, task in (("c", tasks.coroutine), ("l", tasks.limited)):
        result = task.delay(name, "never")
        project.wait_for_note(f"began {name}")
        terminate(project, result, "SIGUSR1")
        with pytest.raises(SoftTimeLimitExceeded):
            result.get(timeout=20)
    assert "killing" not in worker.said()


def test_an_interrupted_coroutine_has_ended_before_its_child_goes_on(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = start(project, "prefork", 1)
    result = project.tasks.sleeper.delay("s")
    project.wait_for_note("began s")
    terminate(project, result, "SIGUSR1")
    with pytest.raises(SoftTimeLimitExceeded):
        result.get(timeout=20)
    assert "left s" in project.notes
    assert [project.tasks.pid.delay().get(timeout=20)] == worker.children()


def test_a_solo_worker_says_that_it_cannot(make_project: Make) -> None:
    project = make_project(TASKS)
    start(project, "solo", 1)
    result = project.tasks.pid.delay()
    result.get(timeout=20)
    assert "a worker of the pool 'solo' cannot end its own task" in terminate(project, result)["error"]
    assert project.app.control.inspect(timeout=20, limit=1).revoked().popitem()[1] == [result.id]


def test_a_task_that_is_not_there_is_unknown(make_project: Make) -> None:
    project = make_project(TASKS)
    start(project, "threads", 2)
    result = project.tasks.pid.delay()
    result.get(timeout=20)
    assert terminate(project, result) == {"ok": "terminate: tasks unknown"}
