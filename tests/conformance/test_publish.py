"""What every transport promises about publishing, order, priority and credit."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable

import pytest

from fastq.types import Message
from tests.conformance.broker import Broker, Row, bodies, pack, runs
from tests.conformance.engine import atomic, ranked

Open = Callable[..., Broker]


def test_messages_are_delivered_in_the_order_in_which_they_were_published(broker: Broker) -> None:
    broker.attach("q")
    broker.send("a", "b")
    broker.publish([Message("q", b"c"), Message("q", b"d")])
    broker.send("e")
    assert bodies(broker.take(5)) == [b"a", b"b", b"c", b"d", b"e"]


def test_the_order_stays_while_the_credit_changes_and_some_are_held(broker: Broker) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(600)])
    broker.attach("q")
    got: list[Row] = []
    done: list[Row] = []
    for credit in (1, 5, 2, 40, 3, 100, 1, 1, 60, 10, 37, 200, 140):
        _, *done = new = broker.take(credit, credit, ack=runs(done))
        got += new
    assert bodies(got) == [b"%d" % n for n in range(600)]


def test_a_message_is_delivered_once_and_with_no_deaths(broker: Broker) -> None:
    broker.attach("q")
    broker.send("a")
    row, = broker.take(1)
    assert (row.queue, row.deaths, row.body) == ("q", 0, b"a")
    assert broker.take(0) == []


def test_publish_tells_how_many_messages_it_stored(broker: Broker) -> None:
    assert broker.publish(Message("q", b"%d" % n) for n in range(5001)) == 5001
    broker.check(ready=5001)
    assert broker.publish([]) == 0


@atomic
def test_publish_stores_nothing_of_a_step_that_fails(broker: Broker) -> None:
    with pytest.raises(ValueError, match="priority"):
        broker.publish([Message("q", b"a"), Message("q", b"b", priority=10)])
    broker.check()
    broker.send("c")
    broker.attach("q")
    assert bodies(broker.take(1)) == [b"c"]


def test_messages_that_user_code_produces_while_it_publishes_do_not_disturb(broker: Broker) -> None:
    def messages() -> Iterable[Message]:
        for n in range(10):
            broker.publish_one("inner", b"%d" % n)
            yield Message("outer", b"%d" % n)

    assert broker.publish(messages()) == 10
    assert {name: stat.ready for name, stat in broker.figures().items()} == {"inner": 10, "outer": 10}


@pytest.mark.parametrize("priority", [-1, 10])
def test_a_priority_outside_0_to_9_is_refused(broker: Broker, priority: int) -> None:
    with pytest.raises(ValueError, match="priority"):
        broker.publish_one("q", b"a", priority)
    with pytest.raises(ValueError, match="priority"):
        broker.publish([Message("q", b"a", priority)])
    broker.send("b")
    broker.attach("q")
    assert bodies(broker.take(1)) == [b"b"]


def test_empty_and_large_bodies_arrive_unchanged(broker: Broker) -> None:
    large = bytes(range(256)) * 20_000
    broker.publish([Message("q", b""), Message("q", large)])
    broker.attach("q")
    assert bodies(broker.take(2)) == [b"", large]


def test_many_threads_can_publish_through_one_transport(broker: Broker) -> None:
    def work(name: int) -> None:
        for n in range(100):
            broker.transport.publish_one("q", pack(b"%d %d" % (name, n)))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    broker.attach("q")
    got = bodies(broker.take(800, 1000))
    assert len(got) == len(set(got)) == 800
    for name in range(8):
        mine = [body for body in got if body.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, n) for n in range(100)]


# -- priorities ----------------------------------------------------------------------------------------------------


@ranked
def test_higher_priorities_are_served_first(broker: Broker) -> None:
    for priority in (0, 9, 5, 3):
        broker.send(f"first of {priority}", f"second of {priority}", priority=broker.engine.urgency(priority))
    broker.attach("q")
    assert bodies(broker.take(5, 5)) == [b"first of 9", b"second of 9", b"first of 5", b"second of 5", b"first of 3"]
    broker.send("late", priority=broker.engine.urgency(9))
    assert bodies(broker.take(2, 2)) == [b"late", b"second of 3"]


@atomic
def test_priority_counts_across_queues(broker: Broker) -> None:
    broker.send("low", queue="a")
    broker.send("high", queue="b", priority=1)
    broker.attach("a", "b")
    assert bodies(broker.take(1, 1)) == [b"high"]


# -- fairness and credit -------------------------------------------------------------------------------------------


@atomic
def test_queues_of_one_priority_share_the_credit(broker: Broker) -> None:
    for queue in "abc":
        broker.publish([Message(queue, b"%d" % n) for n in range(100)])
    broker.attach("a", "b", "c")
    assert Counter(row.queue for row in broker.take(90, 90)) == {"a": 30, "b": 30, "c": 30}


def test_a_short_queue_leaves_its_share_to_the_long_ones(broker: Broker) -> None:
    broker.publish([Message("short", b"s")] * 3 + [Message("long", b"l")] * 100)
    broker.attach("short", "long")
    got = Counter(bodies(broker.take(40, 40)))
    assert got == {b"l": 37, b"s": 3} if broker.engine.caps.is_atomic else got.total() == 40


@pytest.mark.parametrize("credit", [1, 2, 7, 20])
def test_one_queue_may_use_all_the_credit_while_the_others_are_empty(broker: Broker, credit: int) -> None:
    broker.publish([Message("busy", b"%d" % n) for n in range(2 * credit)])
    broker.attach("idle", "busy", "quiet")
    assert bodies(broker.take(credit, credit)) == [b"%d" % n for n in range(credit)]
    assert bodies(broker.take(credit, credit)) == [b"%d" % n for n in range(credit, 2 * credit)]


def test_no_queue_starves_when_credit_comes_one_by_one(broker: Broker) -> None:
    broker.publish([Message("a", b"")] * 50 + [Message("b", b"")] * 50)
    broker.attach("a", "b")
    got = Counter(row.queue for _ in range(20) for row in broker.take(1, 1))
    if broker.engine.caps.is_atomic:
        assert got == {"a": 10, "b": 10}
    assert min(got["a"], got["b"]) >= 5


def test_never_more_than_the_credit_is_delivered(broker: Broker) -> None:
    broker.publish([Message(queue, b"", priority) for queue in "abc" for priority in (0, 4) for _ in range(20)])
    broker.attach(*"abc")
    for credit in (0, 1, 2, 7, 50):
        assert len(broker.take(credit, credit)) == credit
    assert broker.turn(-1) == []
    assert len(broker.take(60, 1000)) == 60


def test_only_the_queues_attached_to_are_delivered(broker: Broker) -> None:
    broker.send("mine", queue="a")
    broker.send("other", queue="b")
    broker.attach("a")
    assert bodies(broker.take(1)) == [b"mine"]
    assert broker.take(0) == []


def test_two_workers_never_get_the_same_message(open_broker: Open) -> None:
    one, two = open_broker(), open_broker()
    one.publish([Message("q", b"%d" % n) for n in range(100)])
    one.attach("q", name="one")
    two.attach("q", name="two")
    got: list[Row] = []
    while len(got) < 100:
        got += [*one.turn(10), *two.turn(10)]
    assert sorted(bodies(got), key=int) == [b"%d" % n for n in range(100)]
    assert one.take(0) == two.take(0) == []
