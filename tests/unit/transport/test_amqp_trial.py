"""Messages one death short of their limit: of these a worker holds one at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastq._ext import envelope
from fastq.transport.amqp import AmqpTransport
from fastq.types import UNCOUNTED, Endings
from tests.deadline import wait_until
from tests.unit.transport.amqpkit import Open, Row, flat, name_of, rows_of, settle, tags, take


@pytest.fixture
def attach(open_amqp: Open) -> Callable[..., AmqpTransport]:
    """A worker of queue q, where messages have died so often."""
    def attach(*deaths: int, limit: int = 3) -> AmqpTransport:
        transport = open_amqp(death_limit=limit)
        for number, count in enumerate(deaths):
            headers = {"id": str(number), **({"x-fastq-deaths": count} if count else {})}
            transport.publish_one("q", envelope.pack({}, headers, b"x"))
        transport.publish(())
        transport.attach("w", ["q"])
        return transport

    return attach


def gathered(transport: AmqpTransport, count: int, credit: int) -> list[Row]:
    """Let *count* messages come, and take them in one turn."""
    consumer = transport._attached()
    consumer.resize(count)
    consumer.send()
    wait_until(lambda: consumer.read() or consumer.gathered == count)
    return flat(transport.turn(Endings(), credit))


def found(rows: list[Row]) -> list[tuple[str, int]]:
    return [(name_of(packed), deaths) for _, _, deaths, packed in rows]


def test_of_several_on_their_last_death_one_is_in_hand(attach: Callable[..., AmqpTransport]) -> None:
    transport = attach(2, 2, 0, 2, 1)
    rows = gathered(transport, 5, 10)
    assert found(rows) == [("2", 0), ("4", 1)]
    for name in "013":
        trial = flat(transport.turn(Endings(), 10))
        assert found(trial) == [(name, 2)]
        assert transport.turn(Endings(), 10) == []
        settle(transport, ack=tags(trial))
    settle(transport, ack=tags(rows))
    assert transport.turn(Endings(), 10) == []


def test_one_alone_comes_at_once(attach: Callable[..., AmqpTransport]) -> None:
    assert found(take(attach(2), 1)) == [("0", 2)]


def test_a_worker_that_asks_for_nothing_gets_no_trial(attach: Callable[..., AmqpTransport]) -> None:
    transport = attach(2, 0)
    rows = gathered(transport, 2, 10)
    assert found(rows) == [("1", 0)]
    assert transport.turn(Endings(), 0) == []
    assert transport.arm() == 0.0
    assert found(flat(transport.turn(Endings(), 1))) == [("0", 2)]


def test_those_that_wait_go_back_uncounted_at_the_close(attach: Callable[..., AmqpTransport], open_amqp: Open) -> None:
    transport = attach(2, 2, 2)
    assert len(gathered(transport, 3, 10)) == 1
    transport.close()
    other = open_amqp(death_limit=100)
    other.attach("w2", ["q"])
    assert sorted(found(take(other, 3))) == [("0", 2 | UNCOUNTED), ("1", 2), ("2", 2)]


def test_one_that_dies_on_trial_is_counted_and_the_next_has_its_turn(attach: Callable[..., AmqpTransport]) -> None:
    transport = attach(1, 1, limit=2)
    trial = gathered(transport, 2, 10)
    assert found(trial) == [("0", 1)]
    settle(transport, dead=[(trial[0][1], "it killed its worker")], rows=rows_of(trial))
    assert found(take(transport, 1)) == [("1", 1)]
    letter, = transport.dead_letters()
    assert (name_of(letter.content), letter.reason) == ("0", "it killed its worker")


def test_one_whose_holder_vanished_is_not_tried_before_it_is_counted(attach: Callable[..., AmqpTransport]) -> None:
    transport = attach(2, limit=3)
    take(transport, 1)
    transport._lose()
    transport.attach("w", ["q"])
    rows = take(transport, 1)
    assert found(rows) == [("0", 2 | UNCOUNTED)]
    settle(transport, lost=[], dead=[(rows[0][1], "once too often")], rows=rows_of(rows))


def test_with_a_limit_of_one_nothing_is_tried(attach: Callable[..., AmqpTransport]) -> None:
    transport = attach(0, 0, limit=1)
    assert found(gathered(transport, 2, 10)) == [("0", 0), ("1", 0)]


def test_a_new_attachment_starts_with_no_trial(attach: Callable[..., AmqpTransport]) -> None:
    transport = attach(2, 2)
    gathered(transport, 2, 10)
    transport.attach("w", ["q"])
    assert sorted(found(take(transport, 2, credit=10))) == [("0", 2 | UNCOUNTED), ("1", 2)]
