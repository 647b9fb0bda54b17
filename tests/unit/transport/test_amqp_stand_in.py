"""Copies that stand in for deliveries which are held for longer than RabbitMQ waits for an ack."""

from __future__ import annotations

import pytest

from fastq.exceptions import ConnectionLost
from fastq.transport import amqp_stand_in
from fastq.transport.amqp import AmqpTransport
from fastq.transport.amqp_side import passive_queue
from fastq.transport.amqp_stand_in import home_of, stand_in_queue
from fastq.types import HELD, UNCOUNTED, Endings
from fastq.wire.entity import Queue
from tests.deadline import wait_until
from tests.unit.transport.amqpkit import (
    QUORUM,
    Desk,
    Open,
    OpenAs,
    Row,
    flat,
    known,
    name_of,
    names,
    publish,
    rows_of,
    settle,
    tags,
    take,
)

CLASSIC = Queue("classic", queue_arguments={"x-queue-type": "classic"})


@pytest.fixture(params=[CLASSIC, QUORUM], ids=lambda queue: queue.name)
def queue(request: pytest.FixtureRequest) -> str:
    return str(request.param.name)


@pytest.fixture
def transport(open_amqp: Open) -> AmqpTransport:
    return open_amqp(queue_of=known(CLASSIC, QUORUM))


def begin(transport: AmqpTransport, queue: str, count: int) -> list[Row]:
    publish(transport, names(count), queue)
    transport.publish(())
    transport.attach("worker", [queue])
    return take(transport, count)


def renew(transport: AmqpTransport, rows: list[Row]) -> list[Row]:
    """Have *rows* delivered anew; without any credit, as that of a worker that is busy."""
    endings = Endings(anew=[tag for _, tag, _, _ in rows], rows=rows_of(rows))
    found = flat(transport.turn(endings, 0))
    assert not endings.anew
    wait_until(lambda: found.extend(flat(transport.turn(Endings(), 0))) or len(found) == len(rows))
    settle(transport)       # the originals are acked when their copies are confirmed, which may be later
    return found


def test_what_is_held_for_long_is_delivered_anew_and_acked_under_its_new_tag(transport: AmqpTransport, queue: str,
                                                                             desk: Desk) -> None:
    rows = begin(transport, queue, 3)
    again = renew(transport, rows[:2])
    assert [(home, deaths, name_of(content)) for home, _, deaths, content in again] == [
        (queue, HELD, "0"), (queue, HELD, "1")]
    assert transport._consumer is not None and transport._consumer.held.tags() == sorted(
        tag for _, tag, _, _ in [*again, rows[2]])
    assert transport._consumer.in_hand == 1, "copies take no room in the windows"
    third = renew(transport, again[:1])
    settle(transport, ack=tags([*third, again[1], rows[2]]))
    transport.close()
    copies = stand_in_queue(transport._stand_ins.holder, queue)
    assert copies is not None and (desk.ready(queue), desk.ready(copies)) == (0, 0)


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies go home after two seconds that nobody takes them."""
    monkeypatch.setattr(amqp_stand_in, "WAIT_S", 2)


def test_what_a_worker_that_vanished_held_goes_home_and_counts_as_held(soon: None, transport: AmqpTransport, queue: str,
                                                                       open_amqp: Open) -> None:
    rows = begin(transport, queue, 2)
    renew(transport, rows[:1])
    vanish(transport)
    other = open_amqp(queue_of=known(CLASSIC, QUORUM))
    other.attach("other", [queue])
    found = {name_of(content): deaths for _, _, deaths, content in take(other, 2)}
    assert found == {"0": HELD, "1": UNCOUNTED}


def test_who_vanishes_between_copy_and_delivery_loses_nothing(soon: None, transport: AmqpTransport, queue: str,
                                                              open_amqp: Open, desk: Desk) -> None:
    """Here the copy is stored and its original not acked: it comes twice, and never not at all."""
    [row] = begin(transport, queue, 1)
    copies = stand_in_queue(transport._stand_ins.holder, queue)
    assert copies is not None
    transport._routes.declare(transport._side, copies, "")  # type: ignore[arg-type]
    desk.publish("", copies, amqp_stand_in.stand_in(copies, 0, row[3]).content)
    vanish(transport)
    other = open_amqp(queue_of=known(CLASSIC, QUORUM))
    other.attach("other", [queue])
    assert sorted(deaths for _, _, deaths, _ in take(other, 2)) == [HELD, UNCOUNTED]


def test_whose_user_may_make_no_queue_keeps_what_it_holds(open_as: OpenAs, caplog: pytest.LogCaptureFixture) -> None:
    transport = open_as("^q$", ".*")
    rows = begin(transport, "q", 2)
    for _ in range(2):
        endings = Endings(anew=[rows[0][1]], rows=rows_of(rows))
        transport.turn(endings, 0)
        assert endings.anew == [rows[0][1]]
    assert caplog.text.count("that run for longer than its consumer_timeout to others") == 1
    settle(transport, ack=tags(rows))


def test_names_of_queues_lead_home() -> None:
    assert home_of(str(stand_in_queue("0f3a", "a.b"))) == "a.b"
    assert home_of("celery") is None
    assert stand_in_queue("0f3a", "q" * 250) is None


def vanish(transport: AmqpTransport) -> None:
    """Break the connection, as a kill of the worker does."""
    assert transport._consumer is not None and transport._side is not None
    transport._side.run([passive_queue("amq.none")])     # so that the broker has read every ack
    transport._consumer.link.abandon()
    with pytest.raises(ConnectionLost):
        transport.turn(Endings(), 1)
