"""What a worker writes, line by line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.project import Project

Make = Callable[..., Project]

SOURCE = """
import logging
from fastq.utils.log import get_task_logger
logger = get_task_logger(__name__)
if os.environ.get("PRESET"):
    from fastq import Celery
    app = Celery("proj", broker=app.conf.broker_url, result_backend=app.conf.broker_url, task_acks_late=True)

def deeper(n):
    if n: deeper(n - 1)
    else: raise ValueError("too bad")

@app.task(name="proj.add")
def add(x, y):
    logger.info("adding %s", x)
    return x + y

@app.task(name="proj.fail", autoretry_for=(KeyError,))
def fail(): deeper(1)

@app.task(name="proj.afail")
async def afail(): deeper(0)

@app.task(name="proj.odd")
def odd(): raise Odd()

@app.task(name="proj.talk")
def talk(): print("hello", flush=True)

class Odd(Exception):
    def __repr__(self): raise RuntimeError
    __str__ = __repr__

@app.task(name="proj.again", bind=True)
def again(self):
    logger.warning("attempt")
    if self.request.retries == 0: raise self.retry(countdown=0)
"""


def run(make_project: Make, *calls: str, celery: bool = False, **options: Any) -> str:
    project = make_project(SOURCE)
    worker = project.start(environment={"PRESET": "1"} if celery else None, **options)
    for name in calls:
        args = (1, 2) if name == "add" else ()
        project.app.send_task(f"proj.{name}", args).get(timeout=20, propagate=False)
    assert worker.stop() == 0
    return worker.said()


def test_a_failure_is_logged_with_the_users_frames_alone(make_project: Make) -> None:
    said = run(make_project, "fail", "afail")
    found = re.findall(r"Task proj\.(\w+)\[[^]]*\] raised unexpected: ValueError\('too bad'\)\n"
                       r"Traceback \(most recent call last\):\n((?: .*\n)+)ValueError: too bad\n", said)
    assert [(name, re.findall(r"in (\w+)\n", frames)) for name, frames in found] == [
        ("fail", ["fail", "deeper", "deeper"]), ("afail", ["afail", "deeper"])]


def test_an_exception_without_a_text_is_logged_all_the_same(make_project: Make) -> None:
    said = run(make_project, "odd")
    assert "raised unexpected: <Odd: its repr raised RuntimeError>" in said
    assert "--- Logging error ---" not in said


def test_the_preset_celery_writes_celerys_lines(make_project: Make) -> None:
    said = run(make_project, "add", celery=True)
    line = r"\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO/"
    assert re.search(line + r"MainProcess\] Task proj\.add\[[\w-]+\] received\n", said)
    assert re.search(line + r"ForkPoolWorker-1\] proj\.add\[[\w-]+\]: adding 1\n", said)
    assert re.search(line + r"ForkPoolWorker-1\] Task proj\.add\[[\w-]+\] succeeded in [\d.e-]+s: 3\n", said)


def test_fastq_writes_no_line_for_each_task_unless_it_debugs(make_project: Make) -> None:
    said = run(make_project, "add")
    assert "adding 1" in said and " received" not in said and "succeeded" not in said


def test_fastq_debugs_with_a_line_for_each_task(make_project: Make) -> None:
    said = run(make_project, "add", loglevel="DEBUG")
    assert " received" in said and "succeeded" in said


@pytest.mark.parametrize("celery", [False, True])
def test_what_tasks_print_is_logged_in_the_preset_celery_only(make_project: Make, celery: bool) -> None:
    said = run(make_project, "talk", celery=celery)
    assert ("WARNING/ForkPoolWorker-1] hello\n" in said) is celery
    assert "hello\n" in said


def test_json_lines_have_the_fields_of_the_task(make_project: Make) -> None:
    said = run(make_project, "again", "fail", log_format="json")
    lines = [json.loads(line) for line in said.splitlines()]
    told = [line for line in lines if line["message"] == "attempt"]
    assert [(line["task_name"], line["attempt"], line["queue"], line["level"]) for line in told] == [
        ("proj.again", 1, "celery", "WARNING"), ("proj.again", 2, "celery", "WARNING")]
    assert told[0]["task_id"] == told[1]["task_id"]
    [failed] = [line for line in lines if "raised unexpected" in line["message"]]
    assert failed["task_name"] == "proj.fail" and failed["exception"].endswith("ValueError: too bad")
    assert failed["data"]["description"] == "raised unexpected"


@pytest.mark.parametrize("start_method", ["fork", "spawn"])
def test_each_child_has_a_log_file_of_its_own_where_the_name_counts_them(
        make_project: Make, start_method: str) -> None:
    project = make_project(SOURCE)
    worker = project.start(until_ready=False, hostname="w1@here", logfile="%n%I.log", start_method=start_method)
    files = [project.folder / f"w1{number}.log" for number in ("", "-1")]
    project.wait_for(lambda: files[0].exists() and " ready." in files[0].read_text())
    assert project.tasks.add.delay(1, 2).get(timeout=20) == 3
    assert worker.stop() == 0
    assert [("adding 1" in file.read_text(), " ready." in file.read_text()) for file in files] == [
        (False, True), (True, False)]
    assert sorted(project.folder.glob("w1*.log")) == sorted(files)
