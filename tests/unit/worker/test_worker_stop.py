"""How a worker ends: at once when idle, after what runs when told warmly, by force when told coldly."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

import psutil
import pytest

from fastq.worker.staff import EXIT_S
from tests.project import Project

Make = Callable[..., Project]

SLEEPY = """
@app.task
def wait(name, late=True):
    note("started", name)
    wait_for(name)
    note("ended", name)
    return name

@app.task(acks_late=False)
def wait_early(name):
    note("started", name)
    wait_for(name)
    note("ended", name)

@app.task(ignore_result=True)
def quick(n):
    note("quick", n)

@app.task(ignore_result=True)
def steady(n):
    time.sleep(0.002)
"""


@pytest.mark.parametrize("options", [{}, {"pool": "solo"}], ids=["prefork", "solo"])
def test_an_idle_worker_stops_at_once(make_project: Make, options: dict[str, str]) -> None:
    worker = make_project(SLEEPY).start(**options)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 4.0


@pytest.mark.parametrize("options", [{}, {"pool": "solo"}], ids=["prefork", "solo"])
def test_a_warm_stop_does_not_wait_for_the_queue_to_be_empty(make_project: Make, options: dict[str, str]) -> None:
    project = make_project(SLEEPY)
    project.tasks.steady.map_delay(range(3000))
    worker = project.start(**options)
    project.wait_for(lambda: project.queue.ready + project.queue.held < 2900)
    assert worker.stop() == 0
    assert project.queue.ready > 500
    assert project.queue.held == 0


def test_a_warm_stop_waits_for_what_runs_and_hands_the_rest_back(make_project: Make) -> None:
    project = make_project(SLEEPY)
    result = project.tasks.wait.delay("gate")
    project.tasks.quick.map_delay(range(20))
    worker = project.start()
    project.wait_for_note("started gate")
    worker.send(signal.SIGTERM)
    project.wait_for(lambda: "SIGTERM: warm shutdown" in worker.said())
    project.wait_for(lambda: project.queue.ready == 20)
    assert worker.process.poll() is None
    project.allow("gate")
    assert worker.process.wait(10) == 0
    assert result.get(timeout=5) == "gate"
    assert project.notes == ["started gate", "ended gate"]


def test_a_soft_stop_lets_what_runs_end(make_project: Make) -> None:
    project = make_project(SLEEPY, worker_soft_shutdown_timeout=60)
    result = project.tasks.wait.delay("gate")
    project.tasks.quick.map_delay(range(20))
    worker = project.start()
    project.wait_for_note("started gate")
    worker.send(signal.SIGQUIT)
    project.wait_for(lambda: "what runs has 60 s to end" in worker.said())
    project.wait_for(lambda: project.queue.ready == 20)
    project.allow("gate")
    assert worker.process.wait(10) == 0
    assert result.get(timeout=5) == "gate"


@pytest.mark.parametrize("on_idle", [False, True])
def test_a_soft_stop_becomes_cold_when_its_time_is_over(make_project: Make, on_idle: bool) -> None:
    project = make_project(SLEEPY, worker_soft_shutdown_timeout=0.3, worker_enable_soft_shutdown_on_idle=on_idle)
    worker = project.start()
    if not on_idle:
        project.tasks.wait.delay("gate")
        project.wait_for_note("started gate")
    assert worker.stop(signal.SIGQUIT) == 1
    assert on_idle or project.queue.ready == 1
    assert project.dead == [] and "ended gate" not in project.notes


def test_a_remapped_sigterm_hands_back_what_runs(make_project: Make) -> None:
    project = make_project(SLEEPY)
    project.tasks.wait.delay("gate")
    worker = project.start(environment={"REMAP_SIGTERM": "SIGQUIT"})
    project.wait_for_note("started gate")
    assert worker.stop(signal.SIGTERM) == 1
    assert project.queue.ready == 1


@pytest.mark.parametrize("numbers", [[signal.SIGQUIT], [signal.SIGINT, signal.SIGINT]], ids=["QUIT", "INT twice"])
def test_a_cold_stop_hands_back_what_runs_without_counting_a_death(make_project: Make, numbers: list[int]) -> None:
    project = make_project(SLEEPY)
    project.tasks.wait.delay("gate")
    worker = project.start()
    project.wait_for_note("started gate")
    for number in numbers:
        worker.send(number)
        project.wait_for(lambda: "shutdown" in worker.said())
    assert worker.process.wait(10) == 1
    assert (project.queue.ready, project.queue.held) == (1, 0)
    project.allow("gate")
    second = project.start()
    project.wait_for(project.is_idle)
    assert project.notes == ["started gate", "started gate", "ended gate"]
    assert "death" not in second.said()
    assert second.stop() == 0


def test_a_cold_stop_does_not_wait_for_a_child_that_does_not_end(make_project: Make) -> None:
    project = make_project(SLEEPY)
    worker = project.start(concurrency=2)
    boss = psutil.Process(worker.process.pid)
    stuck = project.wait_for(lambda: [child for child in boss.children() if len(boss.children()) == 2])[0]
    stuck.suspend()
    began = time.monotonic()
    worker.send(signal.SIGINT)
    project.wait_for(lambda: boss.children() == [stuck])
    worker.send(signal.SIGINT)
    assert worker.process.wait(10) == 1
    assert time.monotonic() - began < EXIT_S / 2


def test_a_cold_stop_does_not_run_an_early_acked_task_twice(make_project: Make) -> None:
    project = make_project(SLEEPY)
    result = project.tasks.wait_early.delay("gate")
    worker = project.start()
    project.wait_for_note("started gate")
    assert worker.stop(signal.SIGQUIT) == 1
    assert project.is_idle()
    with pytest.raises(Exception, match="worker was stopped"):
        result.get(timeout=5)


def test_a_second_terminate_changes_nothing(make_project: Make) -> None:
    project = make_project(SLEEPY)
    project.tasks.wait.delay("gate")
    worker = project.start()
    project.wait_for_note("started gate")
    for count in (1, 2):
        worker.send(signal.SIGTERM)
        project.wait_for(lambda count=count: worker.said().count("SIGTERM: warm shutdown") == count)  # type: ignore[misc]
    project.allow("gate")
    assert worker.process.wait(10) == 0
    assert project.notes == ["started gate", "ended gate"]
