"""kombu's `librabbitmq://` transport on this client."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import kombu
import pytest
from kombu.asynchronous import Hub
from kombu.exceptions import OperationalError

import fastq.amqp
from fastq.amqp.target import parse
from tests.deadline import wait_until


@pytest.fixture(autouse=True)
def _librabbitmq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librabbitmq", sys.modules["fastq.amqp"])


@pytest.fixture
def kombu_connection(amqp_url: str) -> Iterator[Any]:
    connection = kombu.Connection(amqp_url.replace("amqp://", "librabbitmq://"))
    yield connection
    connection.release()


def test_transport_runs_on_this_client(kombu_connection: Any) -> None:
    kombu_connection.connect()
    assert isinstance(kombu_connection.connection, fastq.amqp.Connection)
    assert kombu_connection.transport.driver_version() == "2.0.0"
    assert kombu_connection.connected
    assert kombu_connection.qos_semantics_matches_spec is False


@pytest.mark.parametrize("serializer", ["json", "pickle", "yaml", "msgpack"])
def test_message_goes_there_and_comes_back(kombu_connection: Any, serializer: str) -> None:
    exchange = kombu.Exchange("tasks", "topic")
    queue = kombu.Queue("tasks", exchange, "task.#", max_priority=10, message_ttl=60,
                        queue_arguments={"x-expires": 60000})
    got: list[Any] = []
    with kombu_connection.Consumer(queue, accept=[serializer], callbacks=[lambda *both: got.append(both)]):
        with kombu_connection.Producer(exchange=exchange, serializer=serializer) as producer:
            producer.publish({"ünï": [1, None, 2.5]}, routing_key="task.add", priority=4, headers={"h": {"deep": [1]}},
                             correlation_id="id", expiration=30, compression="gzip", declare=[queue])
        kombu_connection.drain_events(timeout=5)
    (body, message), = got
    assert body == {"ünï": [1, None, 2.5]}
    assert message.headers["h"] == {"deep": [1]}
    assert message.properties["correlation_id"] == "id" and message.properties["priority"] == 4
    assert message.delivery_info["routing_key"] == "task.add"
    message.ack()
    assert message.acknowledged


def test_rejected_and_requeued_messages_come_again(kombu_connection: Any) -> None:
    queue = kombu_connection.SimpleQueue("simple")
    queue.put("one")
    first = queue.get(timeout=5)
    first.requeue()
    again = queue.get(timeout=5)
    assert again.payload == "one" and again.delivery_info["redelivered"]
    again.reject()
    with pytest.raises(queue.Empty):
        queue.get(timeout=0.05)
    queue.close()


def test_fetched_message(kombu_connection: Any) -> None:
    queue = kombu.Queue("got")(kombu_connection.default_channel)
    queue.declare()
    kombu_connection.Producer().publish("x", routing_key="got")
    message = queue.get()
    assert message.payload == "x"
    message.ack()
    assert queue.get() is None
    queue.delete()


def test_large_message(kombu_connection: Any) -> None:
    queue = kombu_connection.SimpleQueue("large")
    queue.put("x" * 3_000_000)
    assert len(queue.get(timeout=10).payload) == 3_000_000
    queue.close()


def test_consumer_without_acknowledgement(kombu_connection: Any) -> None:
    got: list[Any] = []
    queue = kombu.Queue("no-ack", no_ack=True)
    with kombu_connection.Consumer(queue, callbacks=[lambda body, message: got.append(message)]):
        kombu_connection.Producer().publish("x", routing_key="no-ack")
        kombu_connection.drain_events(timeout=5)
    got[0].ack_log_error(None, ())
    assert not got[0].channel.no_ack_consumers


def test_returned_message_reaches_the_producer(kombu_connection: Any) -> None:
    returned: list[Any] = []
    producer = kombu_connection.Producer(on_return=lambda *told: returned.append(told))
    producer.publish("x", routing_key="nowhere", mandatory=True)
    kombu_connection.drain_events(timeout=5)
    assert returned[0][0].reply_code == 312 and returned[0][2] == "nowhere"


def test_event_loop_hands_over_everything(kombu_connection: Any) -> None:
    hub, got = Hub(), []
    queue = kombu.Queue("hub", no_ack=True)
    with kombu_connection.Consumer(queue, callbacks=[lambda body, message: got.append(body)]):
        kombu_connection.register_with_event_loop(hub)
        producer = kombu_connection.Producer()
        for number in range(300):
            producer.publish(number, routing_key="hub")
        wait_until(lambda: [hub.run_once(), len(got) == 300][1])
    assert got == list(range(300))
    hub.close()


def test_event_loop_hears_of_what_came_during_a_call(kombu_connection: Any) -> None:
    """A call reads what comes before its answer, and the descriptor says nothing of it afterwards."""
    hub, got = Hub(), []
    channel = kombu_connection.default_channel
    queue = kombu.Queue("side", no_ack=True)
    with kombu_connection.Consumer(queue, callbacks=[lambda body, message: got.append(body)]):
        kombu_connection.register_with_event_loop(hub)
        for number in range(20):
            kombu_connection.Producer().publish(number, routing_key="side")
        while not channel.connection._events:
            channel.queue_declare("other")
        wait_until(lambda: [hub.run_once(), len(got) == 20][1])
    hub.close()


def test_event_loop_hears_that_the_broker_closed_the_connection(kombu_connection: Any, rabbitmq: Any) -> None:
    hub = Hub()
    kombu_connection.register_with_event_loop(hub)
    rabbitmq.close_all_connections("maintenance")
    with pytest.raises(kombu_connection.connection_errors, match="maintenance"):
        wait_until(hub.run_once)
    hub.close()


def test_publish_is_tried_again_over_a_new_connection(kombu_connection: Any, rabbitmq: Any) -> None:
    queue = kombu.Queue("retried")
    producer = kombu_connection.Producer()
    producer.publish("one", routing_key="retried", declare=[queue], retry=True)
    wait_until(lambda: queue(kombu_connection.default_channel).queue_declare(passive=True).message_count == 1)
    rabbitmq.close_all_connections("maintenance")
    with pytest.raises(kombu_connection.connection_errors):
        kombu_connection.drain_events(timeout=5)
    producer.publish("two", routing_key="retried", declare=[queue], retry=True, retry_policy={"max_retries": 3})
    bound = queue(kombu_connection.default_channel)
    wait_until(lambda: bound.queue_declare(passive=True).message_count == 2)


def test_channel_error_is_one_for_kombu(kombu_connection: Any) -> None:
    with pytest.raises(kombu_connection.channel_errors, match="no queue 'missing'"):
        kombu.Queue("missing")(kombu_connection.default_channel).queue_declare(passive=True)


def test_wrong_password_is_an_operational_error(amqp_url: str) -> None:
    target = parse(amqp_url)
    with kombu.Connection(f"librabbitmq://guest:wrong@{target.where}/{target.vhost}") as connection:
        with pytest.raises(connection.connection_errors, match="ACCESS_REFUSED"):
            connection.connect()
        with pytest.raises(OperationalError, match="ACCESS_REFUSED"):
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)


def test_connection_that_is_collected_leaves_no_descriptor(kombu_connection: Any) -> None:
    kombu_connection.connect()
    number = kombu_connection.connection.fileno()
    kombu_connection.default_channel.queue_declare("q")
    kombu_connection.collect()
    with pytest.raises(OSError):
        os.fstat(number)


def test_two_kinds_of_client_share_a_queue(kombu_connection: Any, amqp_url: str) -> None:
    with kombu.Connection(amqp_url) as other:
        other.Producer().publish({"from": "py-amqp"}, routing_key="shared", declare=[kombu.Queue("shared")])
        queue = kombu_connection.SimpleQueue("shared")
        got = queue.get(timeout=5)
        assert got.payload == {"from": "py-amqp"}
        got.ack()
        queue.close()
        queue.put({"from": "fastq"})
        theirs = other.SimpleQueue("shared")
        assert theirs.get(timeout=5).payload == {"from": "fastq"}
        theirs.close()


def test_drain_events_of_kombu_times_out(kombu_connection: Any) -> None:
    kombu_connection.connect()
    with pytest.raises(socket.timeout):
        kombu_connection.drain_events(timeout=0.01)
