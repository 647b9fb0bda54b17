"""What every transport promises about messages that are not due yet."""

from __future__ import annotations

import math
import time

import pytest

from fastq.exceptions import NotHeld
from fastq.types import Message
from tests.conformance.broker import Broker, bodies, pack
from tests.conformance.engine import atomic, deferring


def test_a_future_message_is_not_delivered_before_its_time(broker: Broker) -> None:
    broker.attach("q")
    broker.publish_one("other", b"", run_at=time.time() + 3600)  # the first one may have to make its way
    # To look takes a new connection where the broker is a server, and must be over before.
    due = time.time() + max(0.25, 3 * broker.transport.caps.future_grain_s)
    broker.publish_one("q", b"later", run_at=due)
    broker.check(future=1)
    assert time.time() < due
    assert broker.turn(100) == []
    row, = broker.wait_for(1)
    assert time.time() >= due
    assert (row.queue, row.deaths, row.body) == ("q", 0, b"later")
    broker.check(held=1)


def test_future_messages_come_in_the_order_in_which_they_fall_due(broker: Broker) -> None:
    now, grain_s = time.time(), broker.transport.caps.future_grain_s or 0.01
    broker.publish([Message("q", b"%d" % n, run_at=now + grain_s * n) for n in (2, 0, 1)])
    broker.attach("q")
    assert bodies(broker.wait_for(3)) == [b"0", b"1", b"2"]
    assert time.time() >= now + grain_s * 2


def test_a_future_message_goes_to_its_queue_and_no_other(broker: Broker) -> None:
    due = time.time() + 0.1
    broker.publish([Message(queue, queue.encode(), run_at=due) for queue in ("a", "b", "a.b", "q.a")])
    broker.attach("a", "a.b")
    got = broker.wait_for(2)
    assert sorted((row.queue, row.body) for row in got) == [("a", b"a"), ("a.b", b"a.b")]


def test_a_future_message_may_leave_with_the_endings(broker: Broker) -> None:
    broker.send("first")
    broker.attach("q")
    row, = broker.take(1)
    due = time.time() + 0.1
    broker.end(ack=[(row.tag, row.tag)], publish=[Message("q", b"retry", run_at=due)])
    again, = broker.wait_for(1)
    assert time.time() >= due
    assert again.body == b"retry"


@deferring
def test_a_delivery_may_become_a_future_message_as_it_is(broker: Broker) -> None:
    broker.attach("q", "other")
    broker.publish([Message("q", b"a"), Message("other", b"b", broker.engine.urgency(0)), Message("q", b"c")])
    rows = {row.body: row for row in broker.wait_for(3)}
    due = time.time() + 0.5
    broker.end(later=[(rows[b"a"].tag, due), (rows[b"b"].tag, due + 3600)])
    broker.check(held=1, future=1)
    broker.check("other", future=1)
    row, = broker.wait_for(1)
    assert time.time() >= due
    assert (row.queue, row.deaths, row.body) == ("q", 0, b"a")
    with pytest.raises(NotHeld):
        broker.end(later=[(rows[b"a"].tag, due)])
    broker.end(ack=[(row.tag, row.tag), (rows[b"c"].tag, rows[b"c"].tag)])
    broker.check()


@deferring
def test_whole_batches_become_future_messages(broker: Broker) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(1000)])
    broker.attach("q")
    due = time.time() + 3600
    broker.end(later=[(row.tag, due + int(row.body)) for row in broker.take(1000, 1000)])
    broker.check(future=1000)


@deferring
def test_what_was_for_later_is_due_at_once_when_its_time_has_come_meanwhile(broker: Broker) -> None:
    broker.send("a")
    broker.attach("q")
    row, = broker.take(1)
    assert bodies(broker.take(1, later=[(row.tag, time.time() - 1)])) == [b"a"]


def test_a_time_in_the_past_means_now(broker: Broker) -> None:
    broker.publish_one("q", b"a", run_at=time.time() - 60)
    broker.attach("q")
    assert bodies(broker.take(1)) == [b"a"]


@atomic
def test_many_messages_due_at_one_moment_keep_their_order_and_priority(broker: Broker) -> None:
    due = time.time() + 0.3
    broker.publish([Message("q", b"%d" % n, n % 2, due) for n in range(3000)])
    assert time.time() < due
    broker.attach("q")
    while broker.figures()["q"].future or broker.figures()["q"].ready:
        numbers = [int(body) for body in bodies(broker.turn(5000))]
        assert numbers == sorted(numbers, key=lambda n: (-(n % 2), n))
    broker.check(held=3000)


def test_an_absurd_time_is_refused_and_disturbs_nothing(broker: Broker) -> None:
    for when in (1e15, math.inf, math.nan):
        with pytest.raises(ValueError, match=r"run_at|too far"):
            broker.transport.publish_one("q", pack(b"a"), run_at=when)
    broker.send("b")
    broker.attach("q")
    assert bodies(broker.take(1)) == [b"b"]


@atomic
def test_arm_tells_when_the_next_message_falls_due(broker: Broker) -> None:
    broker.attach("q")
    broker.publish_one("q", b"a", run_at=time.time() + 2)
    wait = broker.transport.arm()
    assert wait is not None
    assert 1.5 < wait <= 2.01
