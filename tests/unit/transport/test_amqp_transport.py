"""The two connections of a transport: what wakes it, what it attaches to, and what it leaves behind."""

from __future__ import annotations

import os
import select
import threading
import time

import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import BrokerRefused, ConnectionLost, TransportError, Undeliverable
from fastq.types import Endings, Message, QueueStat
from fastq.wire.entity import Exchange, Queue
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import Desk, Open, content, known, name_of, names, once, publish, tags, take


def is_rung(number: int, seconds: float = 10.0) -> bool:
    return bool(select.select([number], [], [], seconds)[0])


def test_a_descriptor_wakes_for_a_delivery_and_for_a_confirm(open_amqp: Open) -> None:
    transport, producer = open_amqp(), open_amqp()
    transport.attach("w", ["q"])
    number = transport.fileno()
    consumer = transport._attached()
    transport.turn(Endings(), 1)
    wait_until(lambda: transport.turn(Endings(), 1) == [] and not consumer._lanes[0].asked)
    assert transport.arm() is None or not is_rung(number, 0.0)
    producer.publish([Message("q", content("0"))])
    assert is_rung(number)
    rows = take(transport, 1)
    transport.turn(Endings(ack=tags(rows), publish=[Message("other", content("1"))]), 0)

    def is_settled() -> bool:
        assert is_rung(number)
        transport.turn(Endings(), 0)
        return transport._publisher.settled == 1

    wait_until(is_settled)
    assert transport.fileno() == number


def test_the_descriptor_stays_over_new_connections_and_none_is_left(open_amqp: Open, amqp_url: str,
                                                                    proxy: Proxy) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, names(1))
    transport.attach("w", ["q"])
    number, before = transport.fileno(), len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        proxy.cut()
        with pytest.raises(ConnectionLost):
            wait_until(lambda: transport.turn(Endings(), 1))
        transport.attach("w", ["q"])
        transport.publish([Message("q", content("x"))])
        assert len(transport._poller.get_map()) == 2
    assert transport.fileno() == number
    wait_until(lambda: proxy.open == 2)
    # Two for each connection that stands in the proxy, which is in this process too.
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_worker_that_finds_no_broker_is_told_and_may_try_again(open_amqp: Open, amqp_url: str, proxy: Proxy) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    proxy.cut(refuse=True)
    with pytest.raises(TransportError, match=f"127.0.0.1:{proxy.port}"):
        transport.attach("w", ["q"])
    with pytest.raises(TransportError, match="not attached"):
        transport.turn(Endings(), 1)
    proxy.behave()
    transport.attach("w", ["q"])
    publish(transport, names(1))
    take(transport, 1)
    transport.publish(())


def test_a_queue_that_cannot_be_declared_refuses_its_worker(open_amqp: Open, amqp_url: str, proxy: Proxy) -> None:
    wrong = Queue("wrong", queue_arguments={"x-max-priority": "high"})
    transport = open_amqp(proxy.url(amqp_url), queue_of=known(wrong))
    with pytest.raises(BrokerRefused, match=r"'wrong'.*x-max-priority"):
        transport.attach("w", ["wrong"])
    wait_until(lambda: proxy.open == 0)


def test_a_broker_that_restarts_loses_nothing_that_was_confirmed(open_amqp: Open, rabbitmq: RabbitMQ) -> None:
    transport = open_amqp()
    publish(transport, names(20))
    transport.publish(())
    transport.attach("w", ["q"])
    first = take(transport, 5)
    rabbitmq.stop()
    with pytest.raises(ConnectionLost):
        wait_until(lambda: transport.turn(Endings(), 1))
    publish_later = threading.Thread(target=rabbitmq.start)
    publish_later.start()

    def is_attached() -> bool:
        try:
            transport.attach("w", ["q"])
        except TransportError:
            return False
        return True

    wait_until(is_attached, 60)
    publish_later.join()
    publish(transport, names(20, 20))
    rows = take(transport, 40)
    assert sorted(set(map(int, (name_of(row[3]) for row in rows)))) == list(range(40))
    assert len(first) == 5


def test_looking_asks_by_a_connection_of_its_own(open_amqp: Open, amqp_url: str, proxy: Proxy, desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url), known=lambda: ["listed", "missing"], queue_of=lambda name: None)
    producer = open_amqp()
    publish(producer, names(3), "listed")
    producer.publish(())
    assert transport.queues()["listed"] == QueueStat(ready=3)
    assert transport.purge("listed") == 3
    assert transport.purge("missing") == 0
    wait_until(lambda: proxy.open == 0)


def test_looking_tells_nobody_what_a_producer_is_to_hear(open_amqp: Open) -> None:
    bound = Queue("media", Exchange("media", "topic"), "video.#")
    transport = open_amqp(queue_of=known(bound), bound_to=lambda name: [bound])
    transport.publish_one("audio.a", content("1"), exchange="media")
    assert transport.queues()["media"] == QueueStat()
    with pytest.raises(Undeliverable, match=r"proj\.add\[1\]"):
        transport.publish(())


def test_what_is_published_while_attached_is_confirmed_by_the_turns(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    transport.attach("w", ["q"])
    publish(transport, names(100), "other")
    assert transport._guard is None
    wait_until(lambda: transport.turn(Endings(), 1) == [] and transport._publisher.pending == 0)
    assert desk.ids("other") == names(100)


def test_a_priority_beyond_the_scale_is_refused(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    for priority in (-1, 10):
        with pytest.raises(ValueError, match=f"from 0 to 9, not {priority}"):
            transport.publish([Message("q", content("0"), priority)])
    transport.publish([Message("q", content("1"), 9)])
    assert desk.receive("q")[0]["priority"] == 9


def test_a_close_in_the_middle_of_everything_leaves_all_at_the_broker(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publish(transport, names(50))
    transport.attach("w", ["q"])
    take(transport, 20, credit=40)
    publish(transport, names(50, 50), "other")
    transport.close()
    with pytest.raises(TransportError, match="closed"):
        publish(transport, names(1))
    wait_until(lambda: desk.ready("q") == 50)
    assert sorted(once(desk.ids("q")), key=int) == names(50)
    assert desk.ids("other") == names(50, 50)


def test_a_close_without_a_broker_takes_its_time_and_no_more(open_amqp: Open, amqp_url: str, proxy: Proxy) -> None:
    transport = open_amqp(proxy.url(amqp_url), publish_timeout_s=0.5, connect_timeout_s=0.4)
    publish(transport, names(1))
    transport.attach("w", ["q"])
    take(transport, 1)
    proxy.half_open()
    publish(transport, names(1))
    began = time.monotonic()
    transport.close()
    assert time.monotonic() - began < 4
    proxy.cut(refuse=True)
