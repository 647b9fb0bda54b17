"""Declarations: those of Celery, once a connection, and in peace with what exists."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from fastq.exceptions import BrokerRefused
from fastq.transport import amqp_side
from fastq.transport.amqp_topology import Topology, steps_of
from fastq.wire.entity import Binding, Broadcast, Exchange, Queue
from tests.reference import recorded
from tests.unit.transport.amqpkit import Desk, as_recorded, content, recorded_steps

QUORUM = {"x-queue-type": "quorum"}


def topology_of(*queues: Queue) -> Topology:
    return Topology({queue.name: queue for queue in queues}.get)


def declare(desk: Desk, *queues: Queue, **options: Any) -> None:
    topology_of(*queues).declare(desk.side, *(queue.name for queue in queues), **options)


# -- as Celery does ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("vector", "queue"), [
    ("task_v2_json", Queue("celery", Exchange("celery"), "celery")),
    ("routing_topic", Queue("topicq", Exchange("tasks.topic", "topic"), "video.#")),
    ("routing_priority_queue", Queue("prioq", Exchange("prioq"), "prioq", max_priority=10)),
])
def test_a_client_declares_what_celery_declares(vector: str, queue: Queue) -> None:
    assert as_recorded(steps_of(queue)) == recorded_steps(recorded.load(vector)["amqp"]["declarations"])


def test_a_worker_declares_a_quorum_queue_as_celery_does() -> None:
    queue = Queue("celery", Exchange("celery", "topic"), "celery", queue_arguments=QUORUM)
    worker = [each for each in recorded.load("topology_delayed_delivery")["worker_declarations_in_order"]
              if each["conn"] == 1 and "celery" in (each["args"].get("exchange"), each["args"].get("queue"))]
    assert as_recorded(steps_of(queue)) == recorded_steps(worker[:3])


def test_the_sender_of_a_broadcast_declares_its_exchange_alone() -> None:
    queue = Broadcast("bcast_tasks")
    assert as_recorded(steps_of(queue)) == recorded_steps(recorded.load("routing_broadcast")["amqp"]["declarations"])
    assert [step.method for step in steps_of(queue, is_consumer=True)] == [
        "exchange.declare", "queue.declare", "queue.bind"]


def test_what_is_not_to_be_declared_is_not() -> None:
    assert list(steps_of(Queue("q", Exchange("e"), "k", no_declare=True))) == []
    exchange = Exchange("e", no_declare=True)
    assert [step.method for step in steps_of(Queue("q", exchange, "k"))] == ["queue.declare", "queue.bind"]
    assert [step.method for step in steps_of(Queue("q", Exchange("amq.topic", "topic"), "k"))] == [
        "queue.declare", "queue.bind"]
    assert [step.method for step in steps_of(Queue("q"))] == ["queue.declare"]


# -- on a broker ------------------------------------------------------------------------------------------------------


def test_messages_reach_a_declared_queue_by_each_of_its_bindings(desk: Desk) -> None:
    more = [Binding(Exchange("other", "topic"), "a.*"), Binding(Exchange("other", "topic"), "b.*")]
    declare(desk, Queue("q", Exchange("e"), "k", bindings=more))
    for exchange, key in (("e", "k"), ("other", "a.1"), ("other", "b.1"), ("", "q")):
        desk.publish(exchange, key, content(key))
    assert desk.ids("q") == ["k", "a.1", "b.1", "q"]


def test_a_queue_is_declared_once_a_connection_until_it_is_forgotten(open_desk: Callable[[], Desk]) -> None:
    desk, other = open_desk(), open_desk()
    topology = topology_of(Queue("q", Exchange("e"), "k"))
    topology.declare(desk.side, "q")
    other.delete("q")
    topology.declare(desk.side, "q", "q")
    assert other.ready("q") is None
    topology.declare(open_desk().side, "q")
    assert other.ready("q") == 0
    other.delete("q")
    topology.forget(desk.side, "q")
    topology.declare(desk.side, "q")
    assert other.ready("q") == 0


def test_a_name_that_stands_for_nothing_is_left_to_the_broker(desk: Desk) -> None:
    topology_of().declare(desk.side, "unknown")
    assert desk.ready("unknown") is None


def test_many_queues_are_declared_together(desk: Desk) -> None:
    declare(desk, *(Queue(f"q{n}", Exchange("e"), f"q{n}") for n in range(200)))
    assert desk.ready("q0") == desk.ready("q199") == 0


# -- what exists in another form --------------------------------------------------------------------------------------


def test_a_queue_of_another_type_is_used_as_it_is(
    open_desk: Callable[[], Desk], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "fastq")
    desk, other = open_desk(), open_desk()
    other.do(amqp_side.queue("q"))
    topology = topology_of(Queue("q", Exchange("e"), "k", queue_arguments=QUORUM))
    topology.declare(desk.side, "q")
    desk.publish("e", "k", content("a"))
    assert desk.ids("q") == ["a"]
    topology.declare(other.side, "q")
    message, = (record.getMessage() for record in caplog.records)
    assert message.startswith(f"queue 'q' exists at {desk.link.where} with another x-queue-type")


def test_an_exchange_of_another_type_is_used_as_it_is(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastq")
    desk.do(amqp_side.exchange("e", "topic"))
    declare(desk, Queue("q", Exchange("e"), "a.*"))
    desk.publish("e", "a.b", content("x"))
    assert desk.ids("q") == ["x"]
    assert "with another type, and is used as it is: received 'direct' but current is 'topic'" in caplog.text


def test_a_refused_declaration_leaves_the_other_channels_open(desk: Desk) -> None:
    desk.do(amqp_side.queue("q"))
    desk.publish("", "q", content("a"))
    with pytest.raises(BrokerRefused):
        declare(desk, Queue("amq.mine"), Queue("r"))
    assert desk.ids("q") == ["a"]
    assert desk.ready("r") == 0


# -- refusals ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("queue", "code", "words"), [
    (Queue("amq.mine"), 403, ("queue.declare 'amq.mine'", "permission")),
    (Queue("q", Exchange("nowhere", passive=True), "k"), 404, ("exchange.declare 'nowhere'", "passive")),
    (Queue("q", queue_arguments={**QUORUM, "x-max-length": -1}), 406, ("queue.declare 'q'", "x-max-length")),
    (Queue("q", durable=False, queue_arguments=QUORUM), 406, ("queue.declare 'q'", "durable")),
    (Queue("q", Exchange("e", "x-unknown"), "k"), 503, ("exchange.declare 'e'", "x-unknown", "plugin")),
])
def test_what_the_broker_will_never_do_is_a_refusal_that_says_why(
    desk: Desk, queue: Queue, code: int, words: tuple[str, ...]
) -> None:
    with pytest.raises(BrokerRefused) as caught:
        declare(desk, queue)
    assert caught.value.code == code
    for word in (*words, desk.link.where):
        assert word in str(caught.value)


def test_a_queue_that_another_connection_has_for_itself_is_refused(open_desk: Callable[[], Desk]) -> None:
    queue = Queue("mine", exclusive=True)
    declare(open_desk(), queue)
    with pytest.raises(BrokerRefused) as caught:
        declare(open_desk(), queue)
    assert caught.value.code == 405
    assert "another name" in str(caught.value)
