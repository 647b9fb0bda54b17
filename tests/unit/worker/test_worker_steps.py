"""Steps that an app adds to its workers: real workers, and the order in which things happen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastq import Fastq
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.bootsteps import ConsumerStep, StartStopStep, Step
from fastq.exceptions import ConfigError
from tests.project import Project

TASKS = """
from fastq.bootsteps import ConsumerStep, StartStopStep, Step

@app.task
def mark(name):
    note("mark", name)

@app.task
def gated(name):
    note("began", name)
    wait_for(name)
    note("ended", name)

class Noted(StartStopStep):
    def __init__(self, parent, **options):
        note("made", type(self).__name__, options["hostname"] == parent.hostname)
    def start(self, parent):
        note("start", type(self).__name__)
    def close(self, parent):
        note("close", type(self).__name__)
    def stop(self, parent):
        note("stop", type(self).__name__)

class First(Noted):
    pass

class Second(Noted):
    requires = {First, "celery.worker.components:Timer"}
    def start(self, parent):
        super().start(parent)
        self.beat = parent.timer.call_repeatedly(0.05, note, ("beat",), priority=10)
        parent.timer.call_after(0.01, fails)
        parent.timer.call_after(0.02, note, ("after",)).cancel()
    def stop(self, parent):
        super().stop(parent)
        self.beat.cancel()

class Beside(Noted):
    def start(self, parent):
        super().start(parent)
        parent.add_task_queue("other")
        parent.call_soon(note, "soon")

class Unused(Noted):
    enabled = False

class Service:
    def start(self):
        note("service starts")
    def stop(self):
        note("service stops")

class Whole(StartStopStep):
    def create(self, parent):
        return Service()

def fails():
    raise RuntimeError("nobody catches this")

app.steps["worker"].update([Second, First, Unused])
app.steps["consumer"].add(Beside)
app.steps["worker"].add(Whole)
"""
Make = Callable[..., Project]


def steps(project: Project) -> list[str]:
    return [line for line in project.notes if line.split()[0] in ("made", "start", "close", "stop", "service")]


def test_steps_are_made_started_and_stopped_in_order(make_project: Make) -> None:
    project = make_project(TASKS)
    worker = project.start(concurrency=1)
    project.tasks.mark.apply_async(("late",), queue="other")
    project.wait_for_note("mark late", "soon")
    project.wait_for(lambda: project.notes.count("beat") > 2)
    assert worker.stop() == 0
    made = [line for line in steps(project) if line.startswith("made")]
    assert sorted(made) == ["made Beside True", "made First True", "made Second True", "made Unused True"]
    assert made.index("made First True") < made.index("made Second True")
    started = [line for line in steps(project) if not line.startswith("made")]
    assert started[started.index("start First"):].index("start Second")
    assert started[-1] in ("stop First", "service stops")
    assert started.index("close Second") < started.index("stop Second") < started.index("stop First")
    assert started.index("stop Beside") < started.index("close Second")
    assert {"service starts", "service stops"} <= set(started) and "start Unused" not in started
    assert "after" not in project.notes
    assert "nobody catches this" in worker.said() and "Traceback" in worker.said()


def test_the_beat_goes_on_while_tasks_run_and_while_the_broker_is_away(make_project: Make) -> None:
    project = make_project(TASKS)
    project.tasks.gated.delay("gate")
    project.start(concurrency=1)
    project.wait_for_note("began gate")
    before = project.notes.count("beat")
    project.wait_for(lambda: project.notes.count("beat") > before + 2)
    project.allow("gate")
    project.wait_for_note("ended gate")


@pytest.mark.rabbitmq
def test_steps_of_the_consumer_begin_anew_with_each_connection(make_project: Make, amqp_url: str,
                                                               rabbitmq: RabbitMQ) -> None:
    project = make_project(TASKS, broker_read_url=amqp_url, broker_write_url=amqp_url)
    worker = project.start(concurrency=1)
    rabbitmq.close_all_connections()
    project.wait_for(lambda: project.notes.count("start Beside") == 2)
    assert project.notes.count("stop Beside") == 1 and project.notes.count("start First") == 1
    project.tasks.mark.apply_async(("late",), queue="other")
    project.wait_for_note("mark late")
    assert worker.stop() == 0
    assert project.notes.count("stop Beside") == 2


BEATING = TASKS + """
from fastq import signals
from fastq.worker import steps
steps.BEAT_S = 0.05

@signals.heartbeat_sent.connect
def heard(sender, **kwargs):
    note("heart", sender.hostname == sender.controller.hostname)
"""


@pytest.mark.rabbitmq
def test_the_heart_beats_while_there_is_a_broker(make_project: Make, rabbitmq: RabbitMQ, amqp_url: str) -> None:
    project = make_project(BEATING, broker_read_url=amqp_url, broker_write_url=amqp_url)
    worker = project.start(concurrency=1)
    project.wait_for(lambda: project.notes.count("heart True") > 3)
    rabbitmq.stop()
    project.wait_for(lambda: "connecting again" in worker.said())
    silent_at, beats = project.notes.count("heart True"), project.notes.count("beat")
    project.wait_for(lambda: project.notes.count("beat") > beats + 5)
    assert project.notes.count("heart True") <= silent_at + 1
    rabbitmq.start()
    project.wait_for(lambda: project.notes.count("heart True") > silent_at + 3, 30)
    assert worker.stop() == 0


def test_steps_that_require_each_other_are_named() -> None:
    class One(Step):
        pass

    class Other(Step):
        requires = (One,)

    One.requires = (Other,)
    app = Fastq("steps", broker="memory://steps", set_as_current=False)
    app.steps["worker"].update([One, Other])
    with pytest.raises(ConfigError, match=r"require each other: .*One"):
        app.steps["worker"].in_order()


def test_the_last_one_comes_last_whatever_the_order_of_adding() -> None:
    class Last(StartStopStep):
        last = True

    class Early(StartStopStep):
        pass

    class Late(StartStopStep):
        requires = (f"{__name__}:{Early.__qualname__}",)

    app = Fastq("steps", broker="memory://steps", set_as_current=False)
    for step in (Last, Late, Early):
        app.steps["consumer"].add(step)
    assert app.steps["consumer"].in_order() == [Early, Late, Last]
    app.steps["consumer"].discard(Last)
    assert Last not in app.steps["consumer"] and len(app.steps["consumer"]) == 2


def test_a_consumer_of_kombu_is_refused_by_name(make_project: Make) -> None:
    class Inbox(ConsumerStep):
        pass

    with pytest.raises(ConfigError, match="Inbox is a ConsumerStep"):
        Inbox(None)
