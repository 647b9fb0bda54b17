"""What programs of Celery's ask an app for: parts under Celery's names, ids, periodic tasks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq import Celery, Fastq
from fastq.app import app_or_default
from fastq.exceptions import CeleryWarning
from fastq.wire.entity import Queue


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Fastq]:
    made = Fastq("proj", broker=f"sqlite:///{tmp_path}/tasks.db", set_as_current=False,
                 task_queues=[Queue("mail"), Queue("video", routing_key="v")], task_default_queue="mail",
                 task_routes={"proj.encode": "video"})
    yield made
    made.close()


@pytest.fixture
def add(app: Fastq) -> Any:
    @app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        return x + y

    return add


def test_its_queues_and_routes_go_by_the_names_that_celery_has(app: Fastq) -> None:
    amqp = app.amqp
    assert amqp is app.amqp and amqp.utc
    assert sorted(amqp.queues) == ["mail", "video"] and amqp.queues["video"].routing_key == "v"
    assert (amqp.default_queue.name, amqp.default_exchange.name) == ("mail", "mail")
    assert amqp.router.route({}, "proj.encode")["queue"].name == "video"
    assert amqp.Router(amqp.Queues([Queue("other")])).queues.get("other").name == "other"
    assert amqp.Queues({"a": None}, max_priority=5)["a"].max_priority == 5
    assert not amqp.Queues(["a"], create_missing=False).rules.create_missing_queues
    app.conf.task_routes = {"proj.encode": "mail"}
    amqp.flush_routes()
    assert amqp.router.route({}, "proj.encode")["queue"].name == "mail" and amqp.routes == {"proj.encode": "mail"}


def test_a_periodic_task_is_entered_into_the_schedule(app: Fastq, add: Any) -> None:
    assert app.add_periodic_task(10.0, add.s(1, 2), name="every ten") == "every ten"
    key = app.add_periodic_task(60.0, add.s(3), (4,), expires=5)
    assert app.conf.beat_schedule == {
        "every ten": {"schedule": 10.0, "task": "proj.add", "args": (1, 2), "kwargs": {}, "options": {}},
        key: {"schedule": 60.0, "task": "proj.add", "args": (4, 3), "kwargs": {}, "options": {"expires": 5}}}
    assert "proj.add" in key
    with pytest.warns(CeleryWarning, match="is replaced"):
        assert app.add_periodic_task(30.0, add.s(3), (4,)) == key
    assert app.conf.beat_schedule[key]["schedule"] == 30.0 and len(app.conf.beat_schedule) == 2


def test_a_periodic_task_may_be_entered_when_the_app_is_configured(tmp_path: Path) -> None:
    app = Celery("proj", broker=f"sqlite:///{tmp_path}/tasks.db", set_as_current=False)

    @app.on_after_configure.connect(weak=False)
    def enter(sender: Any, **_: Any) -> None:
        sender.add_periodic_task(1.0, add.s(1, 2), name="every second")

    @app.task(name="proj.add")
    def add(x: int, y: int) -> int:
        return x + y

    assert not app.configured
    assert list(app.conf.beat_schedule) == ["every second"] and app.configured
    app.close()


def test_ids_are_of_the_app_and_of_the_thread(app: Fastq) -> None:
    other = Fastq("other", broker="memory://familiar", set_as_current=False)
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(app.thread_oid))
    thread.start()
    thread.join()
    assert app.oid == app.oid != other.oid
    assert app.thread_oid == app.thread_oid != found[0] != other.thread_oid


def test_settings_are_asked_for_as_by_celery(app: Fastq) -> None:
    assert app.either("task_default_queue", None, "given") == "given"
    assert app.either("task_default_queue", None) == "mail"
    assert app.uses_utc_timezone()
    app.conf.timezone = "Europe/Berlin"
    assert not app.uses_utc_timezone()
    app.conf.task_annotations = {"*": {"rate_limit": "1/s"}}
    assert app.annotations == {"*": {"rate_limit": "1/s"}}
    app.config_from_object({"CELERY_TASK_DEFAULT_QUEUE": "video"}, namespace="CELERY", force=True)
    assert app.namespace == "CELERY"


def test_its_loader_imports_modules(app: Fastq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "familiar_tasks.py").write_text("found = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    app.conf.include = ["familiar_tasks"]
    (module,) = app.loader.import_default_modules()
    assert module.found and app.loader.import_module("familiar_tasks") is module and app.loader.conf is app.conf
    assert app.loader.now().tzinfo is not None
    assert app.log.get_default_logger().name == "celery"
    assert not app.log.supports_color(logfile=str(tmp_path / "log"))


def test_its_log_is_set_up_as_that_of_a_worker(tmp_path: Path) -> None:
    script = """
import logging
from fastq import Fastq
app = Fastq("proj", broker="memory://log", worker_log_format="%(levelname)s: %(message)s")
assert app.log.setup("INFO", "log", redirect_stdouts=True)
logging.getLogger("celery.worker").info("it is heard")
print("and so is this")
"""
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / "log").read_text() == "INFO: it is heard\nWARNING: and so is this\n"


def test_who_runs_a_task_is_asked_for(app: Fastq) -> None:
    @app.task(name="proj.who", bind=True)
    def who(self: Any) -> tuple[bool, bool]:
        return app.current_task is not None, app.current_worker_task is not None

    assert app.current_worker_task is None
    assert who.apply().get() == (True, False)


def test_an_app_is_found_where_none_is_given(app: Fastq) -> None:
    assert app_or_default(app) is app
    with app.producer_or_acquire("mine") as producer:
        assert producer == "mine"
