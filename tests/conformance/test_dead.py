"""What every transport promises about messages that are given up."""

from __future__ import annotations

import time

from fastq.types import Message
from tests.conformance.broker import Broker, bodies
from tests.conformance.engine import ranked


def test_a_dead_letter_is_kept_with_its_reason_and_deaths(broker: Broker) -> None:
    broker.send("a", "b")
    broker.attach("q")
    first, second = broker.take(2)
    broker.end(lost=[first.tag])
    again, = broker.take(1)
    before = time.time()
    broker.end(dead=[(again.tag, "it kills"), (second.tag, "rejected")])
    broker.check(dead=2)
    newest, oldest = broker.dead_letters()
    assert (newest.queue, newest.reason, newest.deaths, newest.content) == ("q", "rejected", 0, b"b")
    assert (oldest.queue, oldest.reason, oldest.deaths, oldest.content) == ("q", "it kills", 1, b"a")
    assert before - 1 <= newest.died_at <= time.time() + 1
    assert broker.take(0) == []


def test_dead_letters_can_be_listed_by_queue_and_limited(broker: Broker) -> None:
    for queue in "ab":
        broker.send("1", "2", queue=queue)
    broker.attach("a", "b")
    for row in broker.take(4):
        broker.end(dead=[(row.tag, "x")])
    broker.check("a", dead=2)
    assert [letter.queue for letter in broker.dead_letters("a")] == ["a", "a"]
    assert len(broker.dead_letters(limit=3)) == 3
    assert broker.dead_letters("no such queue") == []


def test_a_replayed_message_starts_anew_in_its_queue(broker: Broker) -> None:
    broker.send("a")
    broker.attach("q")
    for _ in range(3):
        broker.end(lost=[broker.take(1)[0].tag])
    broker.end(dead=[(broker.take(1)[0].tag, "x")])
    broker.check(dead=1)
    letter, = broker.dead_letters()
    assert letter.deaths == 3
    assert broker.resolve_dead([letter.id, letter.id + 1], replay=True) == 1
    assert broker.dead_letters() == []
    row, = broker.take(1)
    assert (row.queue, row.deaths, row.body) == ("q", 0, b"a")


@ranked
def test_a_replayed_message_keeps_its_priority(broker: Broker) -> None:
    broker.send("a", priority=broker.engine.urgency(4))
    broker.attach("q")
    broker.end(dead=[(broker.take(1, 1)[0].tag, "x")])
    broker.check(dead=1)
    broker.attach("q")
    broker.send("low", priority=broker.engine.urgency(0))
    broker.resolve_dead([letter.id for letter in broker.dead_letters()], replay=True)
    assert bodies(broker.take(2)) == [b"a", b"low"]


def test_a_dropped_dead_message_is_gone(broker: Broker) -> None:
    broker.send("a")
    broker.attach("q")
    broker.end(dead=[(broker.take(1)[0].tag, "x")])
    broker.check(dead=1)
    ids = [letter.id for letter in broker.dead_letters()]
    assert broker.resolve_dead(ids, replay=False) == 1
    assert broker.resolve_dead(ids, replay=False) == 0
    broker.check()


def test_many_dead_letters_are_replayed_in_their_order(broker: Broker) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(200)])
    broker.attach("q")
    broker.end(dead=[(row.tag, "x") for row in broker.take(200, 200)])
    broker.check(dead=200)
    ids = [letter.id for letter in broker.dead_letters(limit=1000)]
    assert broker.resolve_dead(ids[::2], replay=True) == 100
    assert len(broker.dead_letters(limit=1000)) == 100
    assert sorted(int(body) for body in bodies(broker.take(100))) == list(range(1, 200, 2))
