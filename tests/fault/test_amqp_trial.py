"""Kills of one worker after the other on RabbitMQ: who did nothing is not condemned, and the killer is."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable

import pytest

from tests.project import Program, Project

Make = Callable[..., Project]

TASKS = """
@app.task(ignore_result=True)
def innocent(n):
    note("innocent", n)

@app.task(ignore_result=True)
def poison():
    note("poison", os.getppid())
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()
"""
COUNT = 2000
KILLS = 6
BEGUN = 40
"""So many have run in the life of a worker when it is killed."""


@pytest.mark.parametrize("queue_type", ["classic", "quorum"])
def test_kills_in_a_row_condemn_the_killer_and_no_other(make_project: Make, amqp_url: str, queue_type: str) -> None:
    """A thousand are in hand when the first kill comes, and more kills than the limit allows follow."""
    project = make_project(TASKS, broker_read_url=amqp_url, broker_write_url=amqp_url,
                           task_default_queue_type=queue_type, worker_prefetch_multiplier=500)
    project.tasks.innocent.map_delay(range(COUNT // 2))
    project.tasks.poison.delay()
    project.tasks.innocent.map_delay(range(COUNT // 2, COUNT))
    worker = project.start(until_ready=False, concurrency=2)
    for _ in range(KILLS):
        begun = len(project.notes)
        worker = restarted_until(project, worker, lambda begun=begun: len(project.notes) - begun >= BEGUN)
        if worker.process.poll() is None:
            os.kill(worker.pid, signal.SIGKILL)
        worker.process.wait(10)
    worker = restarted_until(project, worker, lambda: bool(project.dead) and project.is_idle())
    letters = Counter((letter.queue, b"proj.poison" in letter.content) for letter in project.app.transport.dead_letters(
        limit=COUNT))
    # A kill while its deaths are counted may have left two of the killer.
    assert letters.keys() == {("celery", True)}, letters
    runs = Counter(line for line in project.notes if line.startswith("innocent"))
    assert set(runs) == {f"innocent {n}" for n in range(COUNT)}
    assert sum(line.startswith("poison") for line in project.notes) <= 3 * len(project.dead)
    assert worker.stop() == 0


def restarted_until(project: Project, worker: Program, condition: Callable[[], bool]) -> Program:
    """Start a worker whenever the last one was killed, until *condition* holds; returns the last one."""
    def holds() -> bool:
        nonlocal worker
        if worker.process.poll() is not None:
            assert worker.process.returncode == -signal.SIGKILL, worker.said()
            worker = project.start(until_ready=False, concurrency=2)
        return condition()

    project.wait_for(holds, 60)
    return worker
