"""Messages that fall due within the grain of the broker's clock: held for so long, and by no worker that ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from fastq.types import Endings, Message
from fastq.worker import soon
from fastq.worker.soon import Soon
from tests.project import Project
from tests.unit.worker import test_worker_cut
from tests.unit.worker.parts import Parts, message
from tests.unit.worker.scripted import IN_WORKER, Broker, until
from tests.unit.worker.test_worker_cut import end_of

GRAIN_S = 3600.0
LONG_S = 600.0
"""Within the grain, and never due while a test runs."""


def in_s(seconds: float) -> tuple[float, str]:
    """A moment so far ahead, and how a header says it."""
    moment = datetime.fromtimestamp(time.time() + seconds, timezone.utc)
    return moment.timestamp(), moment.isoformat()


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    made.decider.soon.grain_s = GRAIN_S
    yield made
    made.kit.close()


def test_what_is_near_is_held_and_nothing_is_told_to_the_broker(parts: Parts) -> None:
    due, eta = in_s(LONG_S)
    assert parts.decide(message(eta=eta)) == Endings()
    assert parts.ring.in_hand == 0
    assert [waiting[:3] for waiting in parts.decider.soon.waiting] == [(due, 5, "q")]
    assert parts.decider.soon.take() == []
    assert LONG_S - 60 < (parts.decider.soon.due_in or 0) <= LONG_S


def test_what_is_further_ahead_waits_in_the_broker_until_it_is_near(parts: Parts) -> None:
    due, eta = in_s(2 * GRAIN_S)
    assert parts.decide(message(eta=eta)) == Endings(ack=[(5, 5)], publish=[Message("q", message(eta=eta), 0, due)])


def test_what_finds_no_room_comes_out_of_the_broker_later_than_now(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soon, "MOST", 1)
    due, eta = in_s(LONG_S)
    parts.decide(message(eta=eta), tag=4)
    late = Endings(ack=[(5, 5)], publish=[Message("q", message(eta=eta), 0, due + GRAIN_S)])
    assert parts.decide(message(eta=eta)) == late
    parts.decider.soon.forget()
    monkeypatch.setattr(soon, "LARGEST", 10)
    assert parts.decide(message(eta=eta)) == late


def test_what_is_due_comes_in_its_order_and_is_staged(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    now, eta = in_s(0)[0], in_s(LONG_S)[1]
    content = message(eta=eta)
    for tag, ahead_s in ((1, 3.0), (2, 1.0), (3, 100.0)):
        assert parts.decider.soon.hold(now + ahead_s, now, "q", tag, 0, content)
    monkeypatch.setattr(time, "time", lambda: now + LONG_S + 1)
    due = parts.decider.soon.take()
    assert [rows[0][0] for _, rows in due] == [2, 1, 3]
    assert (parts.decider.soon.waiting, parts.decider.soon.due_in) == ([], None)
    assert parts.decide(content) == Endings()
    assert parts.ring.release() == 1


def test_what_is_held_goes_back_with_its_content(parts: Parts) -> None:
    eta = in_s(LONG_S)[1]
    parts.decide(message(eta=eta), deaths=1)
    endings = Endings()
    parts.decider.soon.give_back(endings)
    assert (endings.back, endings.rows) == ([(5, 5)], {5: ("q", 1, message(eta=eta))})
    assert parts.decider.soon.waiting == []


def test_nothing_is_held_where_the_broker_keeps_time_itself() -> None:
    assert not Soon().hold(1000.5, 1000.0, "q", 1, 0, b"")


# --- whole workers ----------------------------------------------------------------------------------------------

TASKS = test_worker_cut.TASKS.replace("test_worker_cut", "test_soon").replace(
    "from tests.unit.worker import", "from fastq.transport.base import Caps\nfrom tests.unit.worker import").replace(
    "scripted.play(", f"scripted.Broker.caps = Caps(future_grain_s={GRAIN_S})\nscripted.play(")


@pytest.fixture
def play(make_project: Callable[..., Project], tmp_path: Path) -> Callable[..., Project]:
    """Start a worker on a scripted broker with a coarse clock."""
    def play(script: Callable[[Broker], Iterator[object]], **options: Any) -> Project:
        project = make_project(TASKS.format(script=script.__name__, folder=tmp_path))
        project.start(until_ready=False, environment={IN_WORKER: "1"}, **options)
        return project

    return play


def later(name: str, seconds: float = LONG_S) -> tuple[int, bytes]:
    return 0, test_worker_cut.task(name, eta=in_s(seconds)[1])


def is_held(broker: Broker) -> bool:
    return len(broker.held) == 1 and not broker.ready


def comes_to_its_time(broker: Broker) -> Iterator[object]:
    broker.allow("a")
    broker.ready.append(later("a", 0.5))
    yield from until(lambda: broker.noted("ended a") and broker.is_idle)
    broker.stop()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_task_runs_when_its_time_has_come_from_the_hand_of_the_worker(
    play: Callable[..., Project], pool: str
) -> None:
    project = play(comes_to_its_time, pool=pool)
    assert end_of(project) == 0
    assert project.notes == ["started a", "ended a", "acked", "closed"]     # and nothing was published


def stops_warm(broker: Broker) -> Iterator[object]:
    broker.ready.append(later("a"))
    yield from until(lambda: is_held(broker))
    broker.close = lambda: broker.note("back", len(broker.ready))  # type: ignore[method-assign]
    broker.stop()


@pytest.mark.parametrize("pool", ["prefork", "solo"])
def test_a_warm_stop_gives_back_what_is_held(play: Callable[..., Project], pool: str) -> None:
    project = play(stops_warm, pool=pool)
    assert end_of(project) == 0
    assert project.notes == ["back 1"]


def loses_its_connection(broker: Broker) -> Iterator[object]:
    broker.ready.append(later("a"))
    yield from until(lambda: is_held(broker))
    broker.cut()
    yield from until(lambda: broker.noted("lost 1") and is_held(broker))
    broker.stop()


def test_what_was_held_when_the_connection_broke_is_held_once(play: Callable[..., Project]) -> None:
    project = play(loses_its_connection)
    assert end_of(project) == 0
    assert project.notes == ["lost 1", "closed"]
