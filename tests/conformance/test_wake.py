"""What every transport promises to a worker that sleeps."""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable

import pytest

from tests.conformance.broker import Broker, bodies, pack
from tests.conformance.engine import Engine, atomic, leased
from tests.deadline import wait_until

Open = Callable[..., Broker]


def readable(broker: Broker, seconds: float) -> bool:
    return bool(select.select([broker.transport.fileno()], [], [], seconds)[0])


def fall_asleep(broker: Broker) -> None:
    """Ask for one message, as a worker does that has nothing to do, until the broker has nothing more to say."""
    assert broker.take(0, 1) == []
    wait = broker.transport.arm()
    assert wait is None or wait > 1


def test_a_worker_need_not_sleep_when_there_is_work(broker: Broker) -> None:
    broker.attach("q")
    fall_asleep(broker)
    broker.send("a")
    wait_until(lambda: broker.transport.arm() == 0.0 or readable(broker, 0))
    broker.take(1, 1)
    broker.settle()
    assert broker.transport.arm() != 0.0
    assert not readable(broker, 0)


def test_a_sleeper_is_woken_by_a_message(open_broker: Open) -> None:
    worker, producer = open_broker(), open_broker()
    worker.attach("q")
    for _ in range(3):
        fall_asleep(worker)
        assert not readable(worker, 0)
        producer.send("a")
        assert readable(worker, 5)
        assert bodies(worker.take(1, 1)) == [b"a"]


def test_a_sleeper_is_woken_by_what_another_worker_hands_back(open_broker: Open) -> None:
    one, two = open_broker(), open_broker()
    one.send("a")
    one.attach("q", name="one")
    two.attach("q", name="two")
    tag = one.take(1, 1)[0].tag
    fall_asleep(two)
    one.end(back=[(tag, tag)])
    assert readable(two, 5)
    assert bodies(two.take(1, 1)) == [b"a"]


@leased
@pytest.mark.parametrize("what", ["the most urgent", "the least urgent", "one that is due before all others"])
def test_a_sleeper_is_woken_by(open_broker: Open, engine: Engine, what: str) -> None:
    worker, producer = open_broker(), open_broker()
    worker.attach("q")
    producer.publish_one("q", b"a", run_at=time.time() + 3600)
    fall_asleep(worker)
    assert not readable(worker, 0)
    if what == "one that is due before all others":
        producer.publish_one("q", b"b", run_at=time.time() + 0.5)
    else:
        producer.send("b", priority=engine.urgency(9 if what == "the most urgent" else 0))
    assert readable(worker, 5)
    assert bodies(worker.wait_for(1, 1)) == [b"b"]


@atomic
def test_a_sleeper_is_woken_to_set_its_alarm_for_an_earlier_message(open_broker: Open) -> None:
    worker, producer = open_broker(), open_broker()
    worker.attach("q")
    producer.publish_one("q", b"a", run_at=time.time() + 3)
    worker.transport.arm()
    producer.publish_one("q", b"b", run_at=time.time() + 2)
    assert readable(worker, 5)
    wait = worker.transport.arm()
    assert wait is not None
    assert wait < 2.1


@atomic
def test_a_worker_that_is_awake_is_not_rung(open_broker: Open) -> None:
    worker, producer = open_broker(), open_broker()
    worker.attach("q")
    worker.transport.arm()
    worker.take(0)
    producer.send("a")
    assert not readable(worker, 0)


def test_no_message_is_slept_through(open_broker: Open) -> None:
    worker, producer = open_broker(), open_broker()
    worker.attach("q")
    thread = threading.Thread(
        target=lambda: [producer.transport.publish_one("q", pack(b"%d" % n)) for n in range(2000)])
    thread.start()
    got: list[bytes] = []
    done: list[tuple[int, int]] = []
    try:
        while len(got) < 2000:
            rows = worker.turn(3, ack=done)
            done = [(row.tag, row.tag) for row in rows]
            got += bodies(rows)
            if not rows and worker.transport.arm() != 0.0:
                assert readable(worker, 4), f"slept through a message after {len(got)}"
    finally:
        thread.join()
    assert got == [b"%d" % n for n in range(2000)]
