"""The consumer's turn where a step in the middle of it fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq import transport
from fastq.exceptions import BackendError, BrokerLocked, ConnectionLost, TransportError
from fastq.transport.base import Transport
from fastq.types import Deliveries, Endings, Message, QueueStat, Result
from fastq.worker.consumer import EARLY_WINDOW, HAND_BACK_S, Consumer
from fastq.worker.prefetch import Prefetch
from tests.deadline import wait_until
from tests.unit.worker.parts import Parts, message


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Transport]:
    opened = transport.open(f"sqlite:///{tmp_path}/tasks.db")
    opened.attach("w", ["q"])
    yield opened
    opened.close()


def consumer_of(parts: Parts, broker: Any) -> Consumer:
    return Consumer(broker, parts.ring, parts.settler, parts.decider, Prefetch(1, parts.ring.free, multiplier=8))


class Locked:
    """A broker whose file is locked by others at every early ack."""

    def __init__(self, broker: Transport) -> None:
        self.broker = broker
        self.caps = broker.caps
        self.refuses_early_acks = True

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        if endings.ack and credit == 0 and self.refuses_early_acks:
            raise BrokerLocked("another program holds the lock")
        return self.broker.turn(endings, credit)


def test_a_batch_whose_early_acks_failed_goes_back_whole(tmp_path: Path, broker: Transport) -> None:
    parts, locked = Parts(tmp_path), Locked(broker)
    consumer = consumer_of(parts, locked)
    for task in ("add", "soon", "add"):
        broker.publish_one("q", message(task=task))
    with pytest.raises(BrokerLocked):
        consumer.turn()
    assert (parts.ring.in_hand, broker.queues()["q"]) == (0, QueueStat(held=3))
    consumer.closing = True
    consumer.turn()
    assert broker.queues()["q"] == QueueStat(ready=3)
    consumer.closing = locked.refuses_early_acks = False
    consumer.wake()
    consumer.turn()
    assert (parts.ring.waiting, broker.queues()["q"]) == (3, QueueStat(held=2))
    parts.kit.close()


def test_a_large_first_batch_of_early_acked_tasks_is_fetched_again_in_a_small_window(tmp_path: Path,
                                                                                     broker: Transport) -> None:
    parts = Parts(tmp_path, slots=4 * EARLY_WINDOW)
    consumer = Consumer(broker, parts.ring, parts.settler, parts.decider, window := Prefetch(1, 4 * EARLY_WINDOW))
    window.observe(1000, 0.001)
    for _ in range(3 * EARLY_WINDOW):
        broker.publish_one("q", message(task="soon"))
    assert consumer.turn()
    assert (parts.ring.waiting, broker.queues()["q"].held) == (0, 3 * EARLY_WINDOW)
    assert consumer.turn()
    assert (parts.ring.waiting, broker.queues()["q"]) == (EARLY_WINDOW, QueueStat(ready=2 * EARLY_WINDOW))
    parts.kit.close()


@pytest.mark.parametrize("multiplier", [None, 4])
def test_what_waits_behind_a_long_task_goes_back_unless_the_user_chose_the_window(
    tmp_path: Path, broker: Transport, monkeypatch: pytest.MonkeyPatch, multiplier: int | None,
) -> None:
    parts = Parts(tmp_path)
    window = Prefetch(1, parts.ring.free, multiplier)
    consumer = Consumer(broker, parts.ring, parts.settler, parts.decider, window)
    for _ in range(4):
        broker.publish_one("q", message())
    consumer.turn()
    held = parts.ring.in_hand
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert consumer.hand_back() == 0
    now[0] += HAND_BACK_S / 2
    assert consumer.hand_back() == 0
    now[0] += HAND_BACK_S
    assert consumer.hand_back() == (0 if multiplier else held)
    assert window.size == (multiplier or 1)
    consumer.wake()
    consumer.turn()
    assert consumer.hand_back() == 0        # not at once again, whatever came
    assert consumer.hand_back(now=True) == (4 if multiplier else 1)
    parts.kit.close()


def test_what_waits_is_kept_while_the_broker_takes_nothing(tmp_path: Path, broker: Transport,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(tmp_path)
    consumer = Consumer(broker, parts.ring, parts.settler, parts.decider, Prefetch(1, parts.ring.free))
    for _ in range(4):
        broker.publish_one("q", message())
    consumer.turn()
    held = parts.ring.in_hand
    now = [time.monotonic()]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    assert consumer.hand_back() == 0
    monkeypatch.setattr(broker, "is_choked", True)
    now[0] += 2 * HAND_BACK_S
    assert consumer.hand_back() == 0
    monkeypatch.setattr(broker, "is_choked", False)
    assert consumer.hand_back() == held
    parts.kit.close()


def test_a_bell_that_rings_is_heard_though_nothing_more_may_be_held(tmp_path: Path, broker: Transport) -> None:
    parts = Parts(tmp_path)
    heard: list[tuple[Endings, int]] = []

    class Hearing(Locked):
        def turn(self, endings: Endings, credit: int) -> Deliveries:
            heard.append((endings, credit))
            return self.broker.turn(endings, credit)

    consumer = Consumer(Hearing(broker), parts.ring, parts.settler, parts.decider, Prefetch(1, 8, 1))   # type: ignore[arg-type]
    for _ in range(2):
        broker.publish_one("q", message())
    assert [consumer.turn(), consumer.turn(), len(heard)] == [True, False, 1]
    consumer.wake()     # a heartbeat, a notice, the end of the connection: it must not ring for ever
    assert [consumer.turn(), consumer.turn()] == [False, False]
    assert heard[1:] == [(Endings(), 0)]
    parts.kit.close()


def test_it_lingers_for_short_tasks_only_and_never_when_idle(tmp_path: Path, broker: Transport) -> None:
    parts = Parts(tmp_path)
    window = Prefetch(1, parts.ring.free)
    consumer = Consumer(broker, parts.ring, parts.settler, parts.decider, window)
    parts.release(message())
    assert not consumer.linger()
    window.observe(runs=1, busy_s=0.00001)
    assert not consumer.linger()
    parts.child.run_ready()
    assert consumer.linger()
    assert parts.settler.endings.ack == [(1, 1)]
    assert not consumer.linger()
    parts.kit.close()


@pytest.mark.parametrize("kind", [ConnectionLost, BackendError])
def test_a_store_that_fails_is_not_the_broker(tmp_path: Path, broker: Transport, kind: type[Exception]) -> None:
    class Store:
        def put(self, results: Any) -> None:
            raise kind("store: reset")

    parts = Parts(tmp_path)
    consumer = Consumer(broker, parts.ring, parts.settler, parts.decider, Prefetch(1, 8), Store())   # type: ignore[arg-type]
    parts.settler.endings.results.append(Result("id", "SUCCESS", b"1"))
    with pytest.raises(TransportError, match="the result store: store: reset") as caught:
        consumer.settle()
    assert not isinstance(caught.value, ConnectionLost)
    assert parts.settler.endings == Endings(results=[Result("id", "SUCCESS", b"1")])
    parts.kit.close()


class Listening:
    """A broker that pushes; what it was last told is how many are wanted."""

    def __init__(self, broker: Transport) -> None:
        self.broker = broker
        self.caps = broker.caps._replace(pushes=True)
        self.wanted = 0

    def turn(self, endings: Endings, credit: int) -> Deliveries:
        self.wanted = credit
        return self.broker.turn(endings, credit)


@pytest.mark.parametrize("ends", [False, True])
def test_a_broker_that_pushes_is_asked_for_more_after_an_early_ack(tmp_path: Path, broker: Transport,
                                                                   ends: bool) -> None:
    """A task that was acked early and has no result ends without a word to the broker: nothing else would ask it."""
    parts, listening = Parts(tmp_path, ignore_result=True), Listening(broker)
    consumer = Consumer(listening, parts.ring, parts.settler, parts.decider, Prefetch(1, 4, 2))  # type: ignore[arg-type]
    broker.publish_one("q", message(task="soon"))
    consumer.turn()
    assert (parts.ring.in_hand, listening.wanted) == (1, 0)
    if ends:
        parts.child.run_ready()
    consumer.turn()
    assert (parts.ring.in_hand, listening.wanted) == ((0, 2) if ends else (1, 1))
    parts.kit.close()


@pytest.mark.redis
@pytest.mark.parametrize("multiplier", [None, 4])
def test_a_queue_of_tasks_for_later_is_passed_on_in_few_turns(tmp_path: Path, redis_url: str,
                                                              multiplier: int | None) -> None:
    """As Celery's producers leave it. What comes behind them is held as far as the window goes that the user chose."""
    count = 2000
    parts, redis = Parts(tmp_path, slots=1024), transport.open(redis_url)
    redis.publish([*(Message("q", message(eta="2099-01-01T00:00:00+00:00"), 0, None) for _ in range(count)),
                   *(Message("q", message(task_id=str(at))) for at in range(20))])
    redis.attach("w", ["q"])
    consumer = Consumer(redis, parts.ring, parts.settler, parts.decider, Prefetch(1, 1024, multiplier))
    turns = [0]

    def passes_on() -> bool:
        turns[0] += consumer.turn()
        if consumer.arm() == 0.0:
            consumer.wake()
        assert parts.ring.in_hand <= (multiplier or 1024)
        return redis.queues()["q"].future == count and parts.ring.waiting == (multiplier or parts.ring.waiting or 1)

    wait_until(passes_on)
    assert turns[0] < count / 20
    redis.close()
    parts.kit.close()
