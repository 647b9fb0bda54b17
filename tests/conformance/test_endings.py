"""What every transport promises about how deliveries end."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastq.exceptions import TransportError
from fastq.types import Message
from tests.conformance.broker import Broker, Row, bodies, runs
from tests.conformance.engine import atomic

Open = Callable[..., Broker]


def test_an_acknowledged_message_is_gone(open_broker: Open) -> None:
    broker, other = open_broker(), open_broker()
    broker.send("a", "b", "c")
    broker.attach("q")
    tags = [row.tag for row in broker.take(3)]
    broker.end(ack=[(tags[0], tags[0]), (tags[1], tags[2])])
    broker.check()
    broker.close()
    other.attach("q", name="x")
    assert other.take(0) == []


def test_consecutive_messages_have_consecutive_tags_so_that_they_end_in_runs(broker: Broker) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(50)])
    broker.attach("q")
    tags = [row.tag for row in broker.take(50)]
    assert tags == list(range(tags[0], tags[0] + 50))
    broker.end(ack=[(tags[0], tags[-1])])
    broker.check()


def test_messages_are_acknowledged_in_any_order(open_broker: Open) -> None:
    broker, other = open_broker(), open_broker()
    broker.publish([Message("q", b"%d" % n) for n in range(1000)])
    broker.attach("q")
    slow: list[Row] = []
    done: list[Row] = []
    while len(slow) < 100:
        first, *done = broker.take(10, 10, ack=runs(done))
        slow.append(first)
    broker.end(ack=runs(done))
    broker.end(ack=runs(reversed(slow[::2])))
    broker.check(held=50)
    broker.close()
    other.may_see_deaths = True
    other.attach("q", name="x")
    assert sorted(bodies(other.take(50))) == sorted(bodies(slow[1::2]))


def test_messages_handed_back_come_again_without_a_death(broker: Broker) -> None:
    broker.send(*"abcdef")
    broker.attach("q")
    tags = {row.body: row.tag for row in broker.take(6)}
    broker.end(back=[(tags[b"b"], tags[b"c"]), (tags[b"e"], tags[b"e"])], ack=[(tags[b"d"], tags[b"d"])])
    got = broker.take(3)
    assert sorted(bodies(got)) == [b"b", b"c", b"e"]
    assert {row.deaths for row in got} == {0}
    broker.end(ack=[(tags[b"a"], tags[b"a"]), (tags[b"f"], tags[b"f"]), *runs(got)])
    assert broker.take(0) == []
    broker.check()


@atomic
def test_messages_handed_back_return_to_their_old_places(broker: Broker) -> None:
    broker.send(*"abcdef")
    broker.attach("q")
    tags = {row.body: row.tag for row in broker.take(5, 5)}
    broker.end(back=[(tags[b"b"], tags[b"c"]), (tags[b"e"], tags[b"e"])], ack=[(tags[b"d"], tags[b"d"])])
    got = broker.take(4)
    assert bodies(got) == [b"b", b"c", b"e", b"f"]
    assert [row.deaths for row in got] == [0, 0, 0, 0]


@atomic
def test_a_run_may_span_several_claims(broker: Broker) -> None:
    broker.send(*"abcdef")
    broker.attach("q")
    tags = [row.tag for credit in (2, 2, 2) for row in broker.take(2, credit)]
    broker.end(back=[(tags[1], tags[4])])
    broker.check(ready=4, held=2)
    assert bodies(broker.take(4)) == [b"b", b"c", b"d", b"e"]
    broker.end(ack=[(tags[0], tags[5])])
    broker.check()


@atomic
def test_what_was_handed_back_and_taken_again_can_end_in_one_run_with_its_neighbours(broker: Broker) -> None:
    broker.send(*"abc")
    broker.attach("q")
    tags = [row.tag for row in broker.take(3)]
    assert bodies(broker.take(1, back=[(tags[1], tags[1])])) == [b"b"]
    broker.end(ack=[(tags[2], tags[2])])
    broker.end(ack=[(tags[0], tags[1])])
    broker.check()


def test_ending_what_is_not_held_changes_nothing(broker: Broker) -> None:
    broker.send("a", "b")
    broker.attach("q")
    row, = broker.take(1, 1)
    for endings in ({"back": [(row.tag + 1, row.tag + 1)]}, {"ack": [(row.tag, row.tag + 1)]}):
        with pytest.raises(TransportError, match="not held"):
            broker.turn(0, **{"ack": [(row.tag, row.tag)], **endings})
        broker.check(ready=1, held=1)
    broker.end(ack=[(row.tag, row.tag)])


def test_what_a_worker_held_before_it_attached_anew_it_cannot_end(open_broker: Open) -> None:
    stale, other = open_broker(), open_broker()
    stale.send("a", "b")
    stale.attach("q", name="stale")
    tags = [row.tag for row in stale.take(2)]
    stale.attach("q", name="stale")
    other.may_see_deaths = True
    other.attach("q", name="other")
    assert len(other.take(2)) == 2
    run = tags[0], tags[1]
    for endings in ({"ack": [run]}, {"back": [run]}, {"lost": tags}, {"dead": [(tags[0], "x")]}):
        with pytest.raises(TransportError, match="not held"):
            stale.turn(5, **endings)
    other.check(held=2)


@atomic
def test_new_messages_come_after_those_handed_back_and_never_take_their_tags(broker: Broker) -> None:
    broker.send("a", "b", "c")
    broker.attach("q")
    seen = {row.tag for row in broker.take(3)}
    first = min(seen)
    broker.end(back=[(first, first)], ack=[(first + 1, first + 2)])
    broker.send("d")
    got = broker.take(2)
    assert bodies(got) == [b"a", b"d"]
    assert got[0].tag == first
    assert got[1].tag not in seen


def test_a_lost_message_comes_again_with_one_more_death(broker: Broker) -> None:
    broker.send("a")
    broker.attach("q")
    for deaths in range(5):
        row, = broker.take(1)
        assert (row.deaths, row.body) == (deaths, b"a")
        broker.end(lost=[row.tag])


@atomic
def test_a_lost_message_keeps_its_place(broker: Broker) -> None:
    broker.send("a", "b")
    broker.attach("q")
    broker.end(lost=[broker.take(1, 1)[0].tag])
    assert [(row.deaths, row.body) for row in broker.take(2)] == [(1, b"a"), (0, b"b")]


def test_messages_published_with_the_endings_leave_in_the_same_step(broker: Broker) -> None:
    broker.send("a")
    broker.attach("q")
    tag = broker.take(1)[0].tag
    next_ones = [Message("q", b"next"), Message("other", b"x")]
    assert bodies(broker.take(1, ack=[(tag, tag)], publish=next_ones)) == [b"next"]
    broker.check("other", ready=1)


@atomic
def test_nothing_is_settled_when_one_part_of_the_endings_fails(broker: Broker) -> None:
    broker.send("a")
    broker.attach("q")
    tag = broker.take(1)[0].tag
    with pytest.raises(ValueError, match="priority"):
        broker.turn(0, ack=[(tag, tag)], publish=[Message("q", b"x", priority=99)])
    broker.check(held=1)
    broker.end(ack=[(tag, tag)])
    broker.check()
    broker.send("b")
    assert bodies(broker.take(1)) == [b"b"]


@atomic
def test_closing_hands_back_what_was_held_without_a_death(open_broker: Open) -> None:
    one, two = open_broker(), open_broker()
    one.send("a", "b", "c")
    one.attach("q", name="one")
    tags = [row.tag for row in one.take(3)]
    one.end(ack=[(tags[1], tags[1])])
    one.close()
    two.attach("q", name="two")
    assert [(row.deaths, row.body) for row in two.take(2)] == [(0, b"a"), (0, b"c")]


def test_what_is_held_at_the_close_comes_again(open_broker: Open) -> None:
    one, two = open_broker(), open_broker()
    one.send("a", "b", "c")
    one.attach("q", name="one")
    tags = {row.body: row.tag for row in one.take(3)}
    one.end(ack=[(tags[b"b"], tags[b"b"])])
    one.close()
    one.close()
    two.may_see_deaths = True
    two.attach("q", name="two")
    assert sorted(bodies(two.take(2))) == [b"a", b"c"]
    assert two.take(0) == []


def test_what_came_and_was_never_taken_goes_back_at_the_close_without_a_death(open_broker: Open) -> None:
    one, two = open_broker(), open_broker()
    one.publish([Message("q", b"%d" % n) for n in range(100)])
    one.attach("q", name="one")
    taken = one.turn(100)
    # The rest, if any, is on its way or here.
    one.check(held=len(taken) if one.engine.caps.is_atomic else 100)
    one.end(ack=runs(taken[:10]), back=runs(taken[10:]))
    one.close()
    two.attach("q", name="two")
    got = two.take(100 - len(taken[:10]))
    assert sorted(bodies([*taken[:10], *got]), key=int) == [b"%d" % n for n in range(100)]
    assert {row.deaths for row in got} == {0}


def test_attaching_anew_brings_back_what_was_held(broker: Broker) -> None:
    broker.send("a")
    broker.attach("q")
    broker.take(1)
    broker.may_see_deaths = True
    broker.attach("q")
    assert bodies(broker.take(1)) == [b"a"]


def test_a_transport_that_is_not_attached_cannot_take_turns(broker: Broker) -> None:
    transport = broker.transport
    for call in (lambda: broker.turn(1), transport.arm, transport.keep, transport.fileno):
        with pytest.raises(TransportError, match="attach"):
            call()


@atomic
def test_a_long_task_among_short_ones_leaves_no_trace_when_it_ends(broker: Broker) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(2000)])
    broker.attach("q")
    slow: list[int] = []
    done: list[tuple[int, int]] = []
    while got := broker.turn(10, ack=done):
        slow.append(got[0].tag)
        done = [(got[1].tag, got[-1].tag)]
    broker.check(held=200)
    broker.end(ack=[(tag, tag) for tag in slow[:150]], back=[(tag, tag) for tag in slow[150:]])
    broker.check(ready=50)
    assert [row.tag for row in broker.take(50)] == slow[150:]
