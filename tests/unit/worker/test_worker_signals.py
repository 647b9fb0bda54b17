"""Every signal that a worker and its tasks send, in its place, with its arguments."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from fastq import signals
from tests.project import Project

Make = Callable[..., Project]

SOURCE = """
WORKER = ("celeryd_init", "celeryd_after_setup", "import_modules", "worker_init", "worker_before_create_process",
          "worker_process_init", "worker_ready", "worker_shutting_down", "worker_process_shutdown", "worker_shutdown")
TASK = ("before_task_publish", "after_task_publish", "task_received", "task_prerun", "task_postrun", "task_success",
        "task_retry")
main = os.getpid()

def shown(value):
    return value if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__

for name in WORKER + TASK:
    def listen(sender, heard=name, signal=None, **told):
        where = "main" if os.getpid() == main else "child"
        words = [f"{key}={shown(value)}" for key, value in sorted(told.items())
                 if key not in ("retry_policy", "runtime")]
        note(f"{heard}@{where}", f"sender={shown(sender)}", *words)
    if __name__ == "proj" and os.environ.get("NOTED"):
        getattr(signals, name).connect(listen, weak=False)

@app.task
def add(x, y): return x + y

@app.task(bind=True)
def again(self, x):
    if not self.request.retries: raise self.retry(countdown=0)
    return x

@signals.task_received.connect
def received(request, **told):
    if os.environ.get("NOTED"):
        note("got", request.name, request.task_id == request.id, request.delivery_info["routing_key"])
"""


def run(make_project: Make, pool: str) -> list[str]:
    project = make_project(SOURCE)
    worker = project.start(pool=pool, hostname="w@here", environment={"NOTED": "1"})
    assert project.tasks.add.apply_async((1, 2), link=project.tasks.again.si(5)).get(timeout=20) == 3
    project.wait_for(lambda: len([line for line in project.notes if line.startswith("task_success")]) == 2)
    assert worker.stop(signal.SIGTERM) == 0
    return project.notes


def of(notes: list[str], prefix: str) -> list[str]:
    return [line for line in notes if line.startswith(prefix)]


def test_a_worker_sends_its_signals_in_order(make_project: Make) -> None:
    notes = run(make_project, "prefork")
    worker = [line for line in notes if line.startswith(("celeryd", "worker", "import"))]
    assert [line for line in worker if "@main" in line] == [
        "celeryd_init@main sender=w@here conf=AppSettings instance=Worker options=dict",
        "celeryd_after_setup@main sender=w@here conf=AppSettings instance=Worker",
        "worker_init@main sender=Worker", "import_modules@main sender=Fastq",
        "worker_before_create_process@main sender=Children", "worker_ready@main sender=Worker",
        "worker_shutting_down@main sender=w@here exitcode=0 how=Warm sig=SIGTERM", "worker_shutdown@main sender=Worker",
    ]
    born, ended = [line for line in worker if "@child" in line]
    assert born == "worker_process_init@child sender=w@here"
    assert ended.startswith("worker_process_shutdown@child sender=None exitcode=0 pid=")


def test_a_worker_without_children_initialises_itself(make_project: Make) -> None:
    notes = run(make_project, "solo")
    assert of(notes, "worker_process_init") == ["worker_process_init@main sender=w@here"]
    assert of(notes, "worker_before_create_process") == []


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_tasks_send_theirs_also_of_what_they_send(make_project: Make, pool: str) -> None:
    notes, where = run(make_project, pool), "child" if pool == "prefork" else "main"
    assert of(notes, "got") == ["got proj.add True celery", "got proj.again True celery", "got proj.again True celery"]
    assert of(notes, "task_received") == ["task_received@main sender=Worker request=Request"] * 3
    assert len(of(notes, f"task_prerun@{where} sender=add args=tuple kwargs=dict task=add task_id=")) == 1
    told = "args=tuple kwargs=dict retval=5 state=SUCCESS task=again task_id="
    assert len(of(notes, f"task_postrun@{where} sender=again {told}")) == 1
    assert of(notes, f"task_success@{where} sender=add result=3") == [f"task_success@{where} sender=add result=3"]
    told = "einfo=ExceptionInfo reason=Retry request=Request"
    assert of(notes, "task_retry") == [f"task_retry@{where} sender=again {told}"]
    published = "body=tuple declare=list exchange= headers=dict properties=dict routing_key=celery"
    assert of(notes, "before_task_publish") == [f"before_task_publish@{where} sender=proj.again {published}"] * 2
    assert len(of(notes, f"after_task_publish@{where} sender=proj.again")) == 2


def test_a_signal_is_documented_with_the_arguments_that_it_is_sent_with() -> None:
    assert signals.task_success.providing_args == {"result", "runtime"}
    assert signals.worker_shutting_down.providing_args == {"sig", "how", "exitcode"}
    assert signals.task_unknown.providing_args == {"message", "exc", "name", "id"}
