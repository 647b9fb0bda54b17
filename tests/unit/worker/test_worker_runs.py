"""Whole workers: how runs end, for the sender, the queue and the dead letters."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from fastq._ext.envelope import pack
from fastq.exceptions import TaskRevokedError
from tests.project import Project

Make = Callable[..., Project]
POOLS = pytest.mark.parametrize("pool", ["prefork", "solo"])

TASKS = """
@app.task
def add(x, y):
    return x + y

@app.task
def echo(value):
    return value

@app.task
def size(value):
    note("size", len(value))
    return len(value)

@app.task
def fail(text):
    raise ValueError(text)

@app.task(bind=True, max_retries=2)
def again(self, text):
    note("attempt", self.request.retries)
    if self.request.retries < 2:
        raise self.retry(countdown=0.01)
    return text

@app.task(bind=True, max_retries=1)
def never(self):
    raise self.retry(exc=KeyError("no"), countdown=0)

@app.task
def ignored():
    raise Ignore()

@app.task
def rejected(requeue=False):
    note("rejected")
    raise Reject("not mine", requeue=requeue)

@app.task
def requeued():
    note("requeued")
    if len(open(os.path.join(os.path.dirname(__file__), "notes")).readlines()) < 3:
        raise Reject("later", requeue=True)
    return "at last"

@app.task(acks_late=False)
def early(n):
    note("early", n)
    return n

@app.task
def strange():
    return object()

@app.task
def exits():
    sys.exit("bye")

@app.task
async def asynchronous(x):
    return x * 2

@app.task(acks_on_failure_or_timeout=False)
def kept():
    raise ValueError("kept")
"""


def start(make: Make, pool: str = "prefork", **settings: Any) -> Project:
    project = make(TASKS, **settings)
    project.start(pool=pool)
    return project


@POOLS
def test_runs_end_for_the_sender_as_they_ended_in_the_worker(make_project: Make, pool: str) -> None:
    project = start(make_project, pool)
    tasks = project.tasks
    assert tasks.add.delay(2, 3).get(timeout=10) == 5
    assert tasks.asynchronous.delay(4).get(timeout=10) == 8
    with pytest.raises(ValueError, match="too bad"):
        tasks.fail.delay("too bad").get(timeout=10)
    assert tasks.again.delay("third time").get(timeout=10) == "third time"
    assert [line for line in project.notes if "attempt" in line] == ["attempt 0", "attempt 1", "attempt 2"]
    with pytest.raises(KeyError, match="no"):
        tasks.never.delay().get(timeout=10)
    project.wait_for(project.is_idle)
    assert project.dead == []
    assert project.programs[0].stop() == 0


def test_the_document_of_a_failure_tells_all_that_the_sender_needs(make_project: Make) -> None:
    project = start(make_project)
    result = project.tasks.fail.delay("too bad")
    with pytest.raises(ValueError):
        result.get(timeout=10)
    assert (result.state, result.failed(), str(result.result)) == ("FAILURE", True, "too bad")
    assert "ValueError: too bad" in result.traceback
    assert "proj.py" in result.traceback
    assert result.date_done is not None


@POOLS
def test_what_cannot_be_stored_is_a_failure(make_project: Make, pool: str) -> None:
    project = start(make_project, pool)
    with pytest.raises(Exception, match="object"):
        project.tasks.strange.delay().get(timeout=10)
    assert project.tasks.add.delay(1, 1).get(timeout=10) == 2


@POOLS
def test_a_task_that_exits_has_failed_and_its_child_goes_on(make_project: Make, pool: str) -> None:
    project = start(make_project, pool)
    with pytest.raises(BaseException, match="bye"):
        project.tasks.exits.delay().get(timeout=10)
    assert project.tasks.add.delay(1, 1).get(timeout=10) == 2


def test_a_fault_of_the_worker_itself_is_a_dead_letter_and_a_failure_for_the_sender(make_project: Make) -> None:
    project = make_project(TASKS + """
if os.environ.get("FAULTY"):    # in the worker, and not in the test, which imports this too
    from fastq.worker.trace import Trace
    Trace.raised = lambda *args: 1 / 0
""")
    project.start(environment={"FAULTY": "1"})
    result = project.tasks.fail.delay("never told")
    with pytest.raises(ZeroDivisionError):
        result.get(timeout=10)
    project.wait_for(lambda: project.dead)
    assert project.dead[0].reason.startswith("internal error: ZeroDivisionError")


def test_an_ignored_task_is_acked_and_leaves_no_result(make_project: Make) -> None:
    project = start(make_project)
    result = project.tasks.ignored.delay()
    assert project.tasks.add.delay(1, 1).get(timeout=10) == 2
    project.wait_for(project.is_idle)
    assert (result.state, project.dead) == ("PENDING", [])


def test_a_rejected_task_is_a_dead_letter(make_project: Make) -> None:
    project = start(make_project)
    project.tasks.rejected.delay()
    project.wait_for(lambda: project.dead)
    assert (project.dead[0].reason, project.notes) == ("rejected: not mine", ["rejected"])


def test_a_requeued_task_runs_again(make_project: Make) -> None:
    project = start(make_project)
    assert project.tasks.requeued.delay().get(timeout=10) == "at last"
    assert project.notes == ["requeued"] * 3


def test_a_failure_that_is_not_acked_is_a_dead_letter(make_project: Make) -> None:
    project = start(make_project)
    project.tasks.kept.delay()
    project.wait_for(lambda: project.dead)
    assert project.dead[0].reason == "raised unexpected: ValueError('kept')"


def test_early_acked_tasks_run_once_and_store_their_results(make_project: Make) -> None:
    project = start(make_project)
    results = project.tasks.early.map_delay(range(200))
    assert [result.get(timeout=10) for result in results] == list(range(200))
    assert sorted(project.notes) == sorted(f"early {n}" for n in range(200))
    assert project.is_idle()


def test_an_expired_task_is_revoked_and_does_not_run(make_project: Make) -> None:
    project = make_project(TASKS)
    result = project.tasks.early.apply_async((1,), expires=datetime.now(timezone.utc) - timedelta(seconds=1))
    project.start()
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=10)
    assert (result.state, project.notes, project.is_idle()) == ("REVOKED", [], True)


@POOLS
@pytest.mark.parametrize("length", [1000, 2000, 5000, 3_000_000])
def test_bodies_and_results_of_any_size_arrive_whole(make_project: Make, pool: str, length: int) -> None:
    project = start(make_project, pool)
    value = "é" * length
    assert project.tasks.size.delay(value).get(timeout=10) == length
    assert project.tasks.echo.delay(value).get(timeout=10) == value
    assert project.programs[0].stop() == 0


def test_a_body_of_a_refused_type_is_never_opened(make_project: Make) -> None:
    project = start(make_project)

    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return open, (str(project.folder / "sprung"), "w")

    content = pack({"content_type": "application/x-python-serialize", "content_encoding": "binary"},
                   {"task": "proj.add", "id": "trap"}, pickle.dumps([[Trap(), 1], {}, {}]))
    project.app.transport.publish_one("celery", content)
    project.wait_for(lambda: project.dead)
    assert project.dead[0].reason.startswith("refused: ")
    assert "pickle" in project.dead[0].reason or "x-python-serialize" in project.dead[0].reason
    assert not (project.folder / "sprung").exists()
    with pytest.raises(Exception, match=r"serialize|pickle"):
        project.app.AsyncResult("trap").get(timeout=10)


@pytest.mark.parametrize("body", [b"", b"nonsense", b"{}", b"[1, 2]", b'["ab", {}, {}]', b'[[], {"1": 2}, 3]'])
def test_a_body_that_cannot_be_read_is_a_dead_letter(make_project: Make, body: bytes) -> None:
    project = start(make_project)
    content = pack({"content_type": "application/json", "content_encoding": "utf-8"},
                   {"task": "proj.add", "id": "odd"}, body)
    project.app.transport.publish_one("celery", content)
    project.wait_for(lambda: project.dead)
    assert project.dead[0].reason.startswith("undecodable: ")
    assert project.tasks.add.delay(1, 1).get(timeout=10) == 2


def test_an_unknown_task_is_a_dead_letter_that_names_the_nearest(make_project: Make) -> None:
    project = start(make_project)
    project.app.send_task("proj.ad", (1, 2))
    project.wait_for(lambda: project.dead)
    assert project.dead[0].reason.endswith("did you mean 'proj.add'?")


def test_future_tasks_wait_in_the_broker_and_run_when_due(make_project: Make) -> None:
    project = start(make_project)
    result = project.tasks.add.apply_async((1, 2), countdown=0.3)
    assert project.queue.future == 1
    assert result.get(timeout=10) == 3
