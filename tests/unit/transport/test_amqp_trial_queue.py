"""The queues beside queues, where suspects wait: which there are, of what kind, and what others see of them."""

from __future__ import annotations

from typing import Any

import pytest

from fastq.exceptions import ConnectionLost
from fastq.transport import amqp_side, amqp_trial
from fastq.transport.amqp_trial_queue import has_trials, owner_of, trial_entity, trial_queue
from fastq.types import Endings, Message, QueueStat
from fastq.wire.entity import Queue
from tests.deadline import wait_until
from tests.unit.transport.amqpkit import (
    QUORUM,
    Desk,
    Open,
    OpenAs,
    content,
    known,
    name_of,
    rows_of,
    settle,
    tags,
    take,
)

TRIAL = "fastq.trial.q"


def suspect(name: str = "0", deaths: int = 2) -> bytes:
    return content(name, **{"x-fastq-deaths": deaths})


# -- which there are --------------------------------------------------------------------------------------------


def test_a_name_leads_to_its_owner_and_back() -> None:
    assert owner_of(trial_queue("video.large")) == "video.large"
    assert owner_of("fastq.dead") is None


@pytest.mark.parametrize(("queue", "expected"), [
    (None, True), (Queue("q"), True), (Queue("q", durable=False), True),
    (Queue("q", exclusive=True), False), (Queue("q", auto_delete=True), False),
])
def test_a_queue_that_ends_with_its_consumers_has_none(queue: Queue | None, expected: bool) -> None:
    assert has_trials("q", queue) is expected


def test_a_name_that_is_too_long_has_none_nor_has_a_trial_queue() -> None:
    assert has_trials("q" * 243, None)
    assert not has_trials("q" * 244, None)
    assert not has_trials(TRIAL, None)


@pytest.mark.parametrize(("queue", "kind", "expected"), [
    (Queue("q", queue_arguments={"x-message-ttl": 5, "x-max-priority": 9, "x-max-length": 3}), "quorum", {}),
    (None, "classic", {}),
    (None, "quorum", {"x-queue-type": "quorum", "x-delivery-limit": (1 << 31) - 1}),
    (QUORUM, "classic", {"x-queue-type": "quorum", "x-delivery-limit": (1 << 31) - 1}),
    (Queue("q", queue_arguments={"x-dead-letter-exchange": "x"}), "classic",
     {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "q"}),
    (Queue("q", queue_arguments={"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "k"}), "classic",
     {"x-dead-letter-exchange": "x", "x-dead-letter-routing-key": "k"}),
])
def test_it_is_of_the_kind_of_its_owner_and_its_dead_go_the_same_way(queue: Queue | None, kind: str,
                                                                    expected: dict[str, Any]) -> None:
    made = trial_entity("q", queue, kind)
    assert (made.name, made.durable, made.exclusive, made.auto_delete, made.exchange.name) == (
        TRIAL, True, False, False, "")
    assert dict(made.declared_arguments()) == expected


def test_a_quorum_queue_has_a_quorum_queue_beside_it(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    transport.publish([Message("quorum", suspect())])
    transport.attach("w", ["quorum"])
    rows = take(transport, 1)
    assert [row[0] for row in rows] == ["quorum"]
    made = trial_entity("quorum", QUORUM, "classic")
    desk.do(amqp_side.queue(made.name, arguments=made.declared_arguments()))
    settle(transport, ack=tags(rows))


def test_what_dies_on_trial_goes_where_the_dead_of_its_queue_go(open_amqp: Open, desk: Desk) -> None:
    own = Queue("own", queue_arguments={"x-dead-letter-exchange": "amq.topic"})
    desk.do(amqp_side.queue("grave"), amqp_side.bind_queue("grave", "amq.topic", "own"))
    transport = open_amqp(queue_of=known(own))
    transport.publish([Message("own", suspect())])
    transport.attach("w", ["own"])
    rows = take(transport, 1)
    settle(transport, dead=[(rows[0][1], "it crashed")], rows=rows_of(rows))
    assert desk.receive("grave")[1]["id"] == "0"
    assert transport.dead_letters() == []


def test_a_queue_that_ends_with_its_consumers_is_served_as_it_is(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(Queue("own", auto_delete=True)))
    transport.attach("w", ["own"])
    transport.publish([Message("own", suspect(name)) for name in "01"])
    assert sorted(name_of(packed) for *_, packed in take(transport, 2)) == ["0", "1"]
    assert desk.ready("fastq.trial.own") is None


# -- what others see --------------------------------------------------------------------------------------------


def test_suspects_are_counted_and_purged_with_their_queue(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    transport.publish([Message("q", suspect(name)) for name in "012"])
    transport.attach("w", ["q"])
    take(transport, 1, 10)
    wait_until(lambda: transport.turn(Endings(), 10) == [] and desk.ready(TRIAL) == 2)
    transport.publish([Message("q", content("3"))])
    wait_until(lambda: transport._attached().read() or transport._attached().gathered)
    transport.publish([Message("other", content("4"))])
    assert transport.queues() == {"q": QueueStat(ready=2), "other": QueueStat(ready=1)}
    assert transport.purge("q") == 2
    assert (desk.ready(TRIAL), transport.queues()["q"]) == (0, QueueStat())


# -- what the user may not do -----------------------------------------------------------------------------------


def test_who_may_not_make_one_serves_suspects_as_others(open_as: OpenAs, desk: Desk,
                                                       caplog: pytest.LogCaptureFixture) -> None:
    transport = open_as("^q$", ".*")
    transport.publish([Message("q", suspect(name)) for name in "01"])
    transport.attach("w", ["q"])
    rows = take(transport, 2)
    assert sorted((name_of(packed), deaths) for _, _, deaths, packed in rows) == [("0", 2), ("1", 2)]
    assert desk.ready(TRIAL) is None
    assert "access to queue 'fastq.trial.q' in vhost" in caplog.text
    settle(transport, ack=tags(rows))


def test_who_may_not_read_one_asks_once(open_as: OpenAs, desk: Desk,
                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_trial, "LOOK_S", 0.0)
    desk.do(amqp_side.queue(TRIAL))
    desk.publish("", TRIAL, suspect())
    transport = open_as(".*", "^q$")
    transport.attach("w", ["q"])
    with pytest.raises(ConnectionLost, match="403"):
        wait_until(lambda: transport.turn(Endings(), 1))
    transport.attach("w", ["q"])
    transport.publish([Message("q", suspect("1"))])
    assert [name_of(packed) for *_, packed in take(transport, 1)] == ["1"]
    transport.keep()
    assert transport.turn(Endings(), 1) == []
