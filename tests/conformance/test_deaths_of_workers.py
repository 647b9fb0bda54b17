"""A task that kills its whole worker, on every engine: counted, given up with a reason, and told to all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq.exceptions import WorkerLostError
from tests.project import Project, project

SOURCE = """
class Loud(app.Task):
    def on_failure(self, exc, task_id, args, kwargs, einfo): note("on_failure", task_id, exc)

@app.task(base=Loud)
def poison():
    note("poison")
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()

@app.task(acks_late=False)
def early():
    note("early")
    os.kill(os.getppid(), signal.SIGKILL)
    signal.pause()

@app.task(ignore_result=True)
def sorry(task_id): note("errback", task_id)

@app.task
def innocent(n):
    note("innocent", n)
"""


@pytest.fixture(params=["sqlite", "redis", "rabbitmq"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Project]:
    settings: dict[str, Any] = {"result_backend": f"sqlite:///{tmp_path}/tasks.db", "broker_lease": 1}
    server = None if request.param == "sqlite" else request.getfixturevalue(request.param)
    if server is not None:
        settings["broker_url"] = server.vhost() if request.param == "rabbitmq" else server.place()
    with project(tmp_path, SOURCE, **settings) as made:
        yield made
    if server is not None:
        server.reclaim(settings["broker_url"])


def test_a_task_that_kills_its_worker_is_given_up_after_three_and_everybody_is_told(made: Project) -> None:
    result = made.tasks.poison.apply_async(link_error=made.tasks.sorry.s())
    others = [made.tasks.innocent.delay(n) for n in range(20)]
    worker = made.restart_until(lambda: f"errback {result.id}" in made.notes and bool(made.dead), concurrency=2)
    reason = "poison: it killed 3 workers or children"
    assert made.notes.count("poison") == 3
    assert [letter.reason for letter in made.dead] == [reason]
    assert made.notes.count(f"on_failure {result.id} {reason}") == made.notes.count(f"errback {result.id}") == 1
    with pytest.raises(WorkerLostError, match=reason):
        result.get(timeout=20)
    for other in others:
        other.get(timeout=20)
    assert worker.stop() == 0


def test_of_a_task_that_acks_early_and_kills_its_worker_nothing_is_left(made: Project) -> None:
    result = made.tasks.early.delay()
    worker = made.restart_until(lambda: "early" in made.notes and len(made.programs) == 2, concurrency=1)
    assert made.tasks.innocent.delay(1).get(timeout=20) is None
    assert (made.notes.count("early"), result.state, made.dead) == (1, "PENDING", [])
    assert worker.stop() == 0
