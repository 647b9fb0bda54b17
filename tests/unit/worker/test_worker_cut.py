"""Whole workers whose broker comes late, goes away, or does not want them."""

from __future__ import annotations

import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastq.exceptions import BrokerRefused, TransportError
from tests.project import Project
from tests.unit.worker.parts import message
from tests.unit.worker.scripted import AWAY, IN_WORKER, Broker, until

Make = Callable[..., Project]
Script = Callable[[Broker], Iterator[object]]

TASKS = """
@app.task
def late(name):
    note("started", name)
    wait_for(name)
    note("ended", name)
    return name

@app.task(acks_late=False)
def early(name):
    note("started", name)
    wait_for(name)
    note("ended", name)

@app.task(time_limit=0.2)
def limited(name):
    note("started", name)
    wait_for("never")

from tests.unit.worker import scripted, test_worker_cut
scripted.play(test_worker_cut.{script}, note, "{folder}")
"""


def task(name: str, *args: str, kind: str = "late", **headers: Any) -> bytes:
    """A message of the project's task *kind*."""
    body = b'[["' + b'", "'.join(arg.encode() for arg in (name, *args)) + b'"], {}, {}]'
    return message(f"proj.{kind}", f"id-{name}", body, **headers)


@pytest.fixture
def play(make_project: Make, tmp_path: Any) -> Callable[..., Project]:
    """Start a worker on the scripted broker, without waiting for it to be ready."""
    def play(script: Script, *, pool: str = "prefork", concurrency: int = 1, source: str = "",
             **settings: Any) -> Project:
        project = make_project(TASKS.format(script=script.__name__, folder=tmp_path) + source, **settings)
        project.start(until_ready=False, pool=pool, concurrency=concurrency, environment={IN_WORKER: "1"})
        return project

    return play


def end_of(project: Project, timeout: float = 15.0) -> int:
    """The exit code, once the worker has ended by its script."""
    project.wait_for(lambda: project.programs[0].process.poll() is not None, timeout)
    return int(project.programs[0].process.returncode)


# --- a connection that breaks -----------------------------------------------------------------------------------

def goes_on(broker: Broker) -> Iterator[object]:
    broker.ready.append((0, task("a")))
    yield from until(lambda: broker.noted("started a"))
    broker.cut(AWAY)
    yield from until(lambda: broker.attempts == 3)
    broker.down = None
    yield from until(lambda: broker.attached == 2 and broker.held)
    broker.allow("a")
    yield from until(lambda: broker.is_idle)
    broker.stop()


def test_a_task_that_still_runs_is_not_started_twice(play: Callable[..., Project]) -> None:
    project = play(goes_on)
    assert end_of(project) == 0
    assert project.notes == ["started a", "ended a", "acked", "closed"]
    said = project.programs[0].said()
    assert "127.0.0.1:5672: connection reset by peer; connecting again" in said
    assert said.count("127.0.0.1:5672: connection refused; is the broker up?; trying again in ") == 1
    assert project.app.AsyncResult("id-a").get(timeout=5) == "a"


def comes_again(broker: Broker) -> Iterator[object]:
    broker.ready += [(0, task("a")), (0, task("b", eta="2020-01-01T00:00:00+00:00")), (0, task("c", kind="early"))]
    yield from until(lambda: all(map(broker.noted, ("started a", "started b", "started c"))))
    broker.cut(AWAY)
    yield from until(lambda: broker.attempts == 2)
    broker.allow("c")
    yield from until(lambda: broker.noted("ended c"))
    broker.allow("a"), broker.allow("b")
    broker.down = None
    yield from until(lambda: broker.attached == 2 and broker.is_idle)
    broker.stop()


def test_late_tasks_are_ended_with_the_connection_where_that_is_wished_and_run_again_without_a_death(
    play: Callable[..., Project],
) -> None:
    project = play(comes_again, concurrency=3, worker_cancel_long_running_tasks_on_connection_loss=True)
    assert end_of(project) == 0
    counts = Counter(project.notes)
    assert [counts[f"{what} {name}"] for name in "abc" for what in ("started", "ended")] == [2, 1, 2, 1, 1, 1]
    assert not [line for line in project.notes if line.startswith("lost")]
    assert project.programs[0].said().count("is ended, since the connection to the broker was lost") == 2
    assert project.app.AsyncResult("id-a").get(timeout=5) == "a"


def keeps_its_lease(broker: Broker) -> Iterator[object]:
    broker.refuses = TransportError("the result store: cannot reach it")
    yield from until(lambda: broker.keeps == 3)
    broker.refuses = None
    broker.stop()


def test_a_worker_whose_turns_fail_keeps_its_lease(play: Callable[..., Project]) -> None:
    assert end_of(play(keeps_its_lease, broker_lease=0.1)) == 0


def ends_meanwhile(broker: Broker) -> Iterator[object]:
    broker.ready.append((0, task("a")))
    yield from until(lambda: broker.noted("started a"))
    broker.cut(AWAY)
    yield from until(lambda: broker.attempts == 2)
    broker.allow("a")
    yield from until(lambda: broker.noted("ended a"))
    yield from until(lambda: broker.attempts == 4)
    broker.down = None
    yield from until(lambda: broker.attached == 2 and broker.is_idle)
    broker.stop()


def test_a_task_that_ended_while_the_broker_was_away_is_acked_and_not_run_again(play: Callable[..., Project]) -> None:
    project = play(ends_meanwhile)
    assert end_of(project) == 0
    assert project.notes == ["started a", "ended a", "acked", "closed"]
    assert project.app.AsyncResult("id-a").get(timeout=5) == "a"


def waits_behind(broker: Broker) -> Iterator[object]:
    broker.ready += [(0, task("a")), (0, task("b")), (0, task("c", kind="early"))]
    broker.allow("b"), broker.allow("c")
    yield from until(lambda: broker.noted("started a") and len(broker.held) == 2)
    broker.cut()
    yield from until(lambda: broker.attached == 2 and len(broker.held) == 2)
    broker.allow("a")
    yield from until(lambda: broker.is_idle and broker.noted("ended c"))
    broker.stop()


def test_what_had_not_begun_runs_once_and_what_was_acked_early_is_sent_again(
    play: Callable[..., Project],
) -> None:
    project = play(waits_behind, worker_prefetch_multiplier=3)
    assert end_of(project) == 0
    assert sorted(project.notes) == sorted([
        "acked",                                    # c, before it ran
        "started a", "published  q", "ended a", "acked",
        "started b", "ended b", "acked", "acked", "started c", "ended c", "closed"])


def limit_passes(broker: Broker) -> Iterator[object]:
    broker.ready.append((0, task("a", kind="limited")))
    yield from until(lambda: broker.noted("started a"))
    [child] = broker.children()
    broker.cut(AWAY)
    yield from until(lambda: child not in broker.children())
    attempts = broker.attempts
    yield from until(lambda: broker.attempts > attempts + 1)
    broker.down = None
    yield from until(lambda: broker.attached == 2 and broker.is_idle)
    broker.stop()


def test_time_limits_hold_while_the_broker_is_away(play: Callable[..., Project]) -> None:
    project = play(limit_passes)
    assert end_of(project) == 0
    said = project.programs[0].said()
    assert said.index("Hard time limit (0.2s) exceeded for proj.limited") < said.rindex("connection refused")
    assert project.notes == ["started a", "acked", "closed"]
    assert project.app.AsyncResult("id-a").state == "FAILURE"


def solo_loses(broker: Broker) -> Iterator[object]:
    broker.ready += [(0, task(name)) for name in "ab"]
    broker.allow("a"), broker.allow("b")
    yield from until(lambda: broker.noted("ended a"))
    broker.cut(AWAY)
    yield from until(lambda: broker.attempts == 3)
    broker.down = None
    yield from until(lambda: broker.attached == 2 and broker.is_idle)
    broker.stop()


def test_a_worker_without_children_knows_its_last_runs_again(play: Callable[..., Project]) -> None:
    project = play(solo_loses, pool="solo")
    assert end_of(project) == 0
    assert [line for line in project.notes if "ed " in line] == ["started a", "ended a", "started b", "ended b"]


# --- a wish to stop while the broker is away --------------------------------------------------------------------

def stops_while_away(broker: Broker) -> Iterator[object]:
    broker.ready.append((0, task("a")))
    yield from until(lambda: broker.noted("started a"))
    broker.cut(AWAY)
    yield from until(lambda: broker.attempts == 3)
    broker.allow("a")
    broker.stop()


PARTING = """
from fastq.worker import worker
worker.PARTING_S = 0.3
"""


def test_a_worker_that_stops_waits_a_while_for_a_broker_it_has_results_for(play: Callable[..., Project]) -> None:
    project = play(stops_while_away, source=PARTING)
    assert end_of(project) == 1
    assert project.notes == ["started a", "ended a", "closed"]
    assert "the broker is away: 0 messages that tasks sent and 1 results are lost" in project.programs[0].said()


def test_a_worker_that_stops_with_nothing_to_leave_does_not_wait(play: Callable[..., Project]) -> None:
    project = play(stops_while_away, task_ignore_result=True)
    assert end_of(project) == 0
    assert project.notes == ["started a", "ended a", "closed"]


def comes_back_in_time(broker: Broker) -> Iterator[object]:
    yield from stops_while_away(broker)
    yield from until(lambda: broker.noted("ended a"))
    broker.down = None


def test_a_worker_that_stops_leaves_its_results_with_a_broker_that_comes_back(play: Callable[..., Project]) -> None:
    project = play(comes_back_in_time)
    assert end_of(project) == 0
    assert project.app.AsyncResult("id-a").get(timeout=5) == "a"


def fails_always(broker: Broker) -> Iterator[object]:
    broker.refuses = TransportError("the broker has no memory left")
    yield


def test_a_wish_to_stop_ends_the_pause_after_an_error(play: Callable[..., Project]) -> None:
    project = play(fails_always)
    worker = project.programs[0]
    # Long ones have three to five seconds, by chance.
    project.wait_for(lambda: re.search(r"trying again in (3\.[1-9]|4)\S* s\n$", worker.said()), 60)
    began = time.monotonic()
    assert worker.stop() == 0
    assert time.monotonic() - began < 2.5


# --- settings ---------------------------------------------------------------------------------------------------

def never_comes_back(broker: Broker) -> Iterator[object]:
    yield from until(lambda: broker.attached)
    broker.cut(AWAY)


def test_a_worker_that_is_not_to_connect_again_stops(play: Callable[..., Project]) -> None:
    project = play(never_comes_back, broker_connection_retry=False)
    assert end_of(project) == 1
    assert "not connecting again (broker_connection_retry)" in project.programs[0].said()


def test_a_worker_gives_up_after_as_many_attempts_as_it_was_told(play: Callable[..., Project]) -> None:
    project = play(never_comes_back, broker_connection_max_retries=3)
    assert end_of(project) == 1
    said = project.programs[0].said()
    assert said.count("trying again in") == 2
    assert "given up after 3 attempts (broker_connection_max_retries)" in said


# --- boot -------------------------------------------------------------------------------------------------------

def comes_late(broker: Broker) -> Iterator[object]:
    broker.down = AWAY
    broker.ready.append((0, task("a")))
    broker.allow("a")
    yield from until(lambda: broker.attempts == 4)
    broker.down = None
    yield from until(lambda: broker.is_idle)
    broker.stop()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_worker_waits_for_a_broker_that_is_not_up_yet(play: Callable[..., Project], pool: str) -> None:
    project = play(comes_late, pool=pool)
    assert end_of(project) == 0
    assert project.notes == ["started a", "ended a", "acked", "closed"]
    said = project.programs[0].said()
    assert said.count("127.0.0.1:5672: connection refused; is the broker up?; trying again in") == 3
    assert said.index(" ready.") > said.rindex("trying again in")


def never_comes(broker: Broker) -> Iterator[object]:
    broker.down = AWAY
    yield


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT])
def test_a_wish_to_stop_ends_the_wait_at_boot(play: Callable[..., Project], number: int) -> None:
    project = play(never_comes)
    worker = project.programs[0]
    project.wait_for(lambda: worker.said().count("trying again in") == 6)      # the next pause is 1.6 s or longer
    began = time.monotonic()
    assert worker.stop(number) == (0 if number == signal.SIGTERM else 1)
    assert time.monotonic() - began < 1.5
    assert " ready." not in worker.said()
    assert "a turn before attach" not in worker.said()
    assert project.notes == ["closed"]


def test_a_worker_that_is_not_to_wait_fails_at_once(play: Callable[..., Project]) -> None:
    project = play(never_comes, broker_connection_retry_on_startup=False)
    assert end_of(project) == 1
    assert "trying again" not in project.programs[0].said()


def refuses(broker: Broker) -> Iterator[object]:
    broker.down = BrokerRefused("127.0.0.1:5672: 403 ACCESS_REFUSED for user 'guest'")
    yield


def test_a_worker_that_its_broker_refuses_says_so_and_ends(play: Callable[..., Project]) -> None:
    project = play(refuses)
    assert end_of(project) == 1
    said = project.programs[0].said()
    assert said.count("403 ACCESS_REFUSED for user 'guest'") == 1
    assert "Traceback" not in said


def refuses_for_a_while(broker: Broker) -> Iterator[object]:
    yield from until(lambda: broker.attached)
    broker.cut(BrokerRefused("127.0.0.1:5672: 530 vhost not found"))
    yield from until(lambda: broker.attempts == 4)
    broker.down = None
    yield from until(lambda: broker.attached == 2)
    broker.stop()


def test_a_worker_that_was_let_in_once_keeps_trying(play: Callable[..., Project]) -> None:
    project = play(refuses_for_a_while)
    assert end_of(project) == 0
    assert project.programs[0].said().count("530 vhost not found; trying again in") == 2


# --- early acks -------------------------------------------------------------------------------------------------

def loses_early_acks(broker: Broker) -> Iterator[object]:
    broker.ready += [(0, task("a", kind="early")), (0, task("b"))]
    broker.allow("a"), broker.allow("b")
    turn = broker.turn

    def break_once(endings: Any, credit: int) -> Any:
        if endings.ack and credit == 0:
            broker.turn = turn      # type: ignore[method-assign]
            turn(endings, 0)        # they have arrived: nobody but this worker knows of the message
            broker.cut()
        return turn(endings, credit)

    broker.turn = break_once        # type: ignore[method-assign]
    yield from until(lambda: broker.attached == 2 and broker.is_idle and broker.noted("ended a"))
    broker.stop()


def test_what_was_acked_early_in_the_moment_of_the_cut_is_not_lost(play: Callable[..., Project]) -> None:
    project = play(loses_early_acks)
    assert end_of(project) == 0
    assert {"ended a", "ended b"} <= set(project.notes)
