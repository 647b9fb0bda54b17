"""The side of publishing that a supervisor uses: it takes everything, waits for nothing, and loses nothing."""

from __future__ import annotations

import select
import time

import pytest

from fastq._ext import envelope
from fastq._ext.amqp import METHODS
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.transport.amqp import AmqpTransport
from fastq.transport.amqp_publish import WINDOW, Publisher
from fastq.transport.amqp_route import REPLY
from fastq.types import Message
from fastq.wire.entity import Exchange, Queue
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import QUORUM, TINY, Desk, Open, content, known, names, once, publish

WRONG = Queue("wrong", queue_arguments={"x-max-priority": "high"})
"""No broker declares it."""


def offer(transport: AmqpTransport, wanted: list[str], queue: str = "q", exchange: str = "") -> Publisher:
    publisher = transport._publisher
    for name in wanted:
        publisher.offer(Message(queue, content(name), exchange=exchange))
    return publisher


def poll_until_settled(publisher: Publisher, number: int | None = None) -> None:
    """Poll as a loop does: when the connection says something, or when it is time to."""
    number = publisher._sent.sent + len(publisher._offered) if number is None else number

    def is_settled() -> bool:
        publisher.poll()
        if publisher.settled < number and publisher.link is not None:
            select.select([publisher.link], [], [], min(0.1, publisher.retry_in or 0.1))
        return publisher.settled >= number

    wait_until(is_settled, 15, what=f"the confirm of message {number}")


def dead(transport: AmqpTransport) -> list[tuple[str, str]]:
    """Queue and reason of the dead letters, the oldest first."""
    return [(letter.queue, letter.reason) for letter in reversed(transport.dead_letters())]


def test_offered_messages_have_numbers_and_settle_in_order(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    publish(transport, names(3))
    publisher = transport._publisher
    numbers = [publisher.offer(Message("quorum" if number % 2 else "q", content(str(number)))) for number in range(40)]
    assert numbers == list(range(4, 44))
    assert publisher.settled < 4
    poll_until_settled(publisher, 43)
    publish(transport, names(1))
    assert publisher.offer(Message("q", content("x"))) == 45
    poll_until_settled(publisher, 45)
    assert (desk.ready("q"), desk.ready("quorum")) == (25, 20)


def test_messages_offered_and_published_keep_their_numbers(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publisher = offer(transport, ["0", "1"])
    publish(transport, ["2"])
    assert publisher._sent.sent == 3
    transport.publish(())
    assert desk.ids("q") == names(3)


def test_a_poll_waits_for_nothing_while_the_broker_is_silent(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                             desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publisher = offer(transport, names(1))
    poll_until_settled(publisher)
    proxy.half_open()
    offer(transport, names(3000, 1))
    began = time.monotonic()
    for _ in range(20):
        publisher.poll()
    assert time.monotonic() - began < 3.0
    assert len(publisher._sent) == WINDOW
    assert publisher.settled == 1
    assert publisher.retry_in is None
    proxy.behave()
    proxy.cut()
    poll_until_settled(publisher)
    assert once(desk.ids("q")) == names(3001)


def test_a_poll_connects_again_when_it_is_time_to(open_amqp: Open, amqp_url: str, proxy: Proxy, desk: Desk,
                                                  caplog: pytest.LogCaptureFixture) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publisher = offer(transport, names(1))
    poll_until_settled(publisher)
    proxy.cut(refuse=True)
    offer(transport, names(2, 1))
    wait_until(lambda: publisher.poll() or (publisher.link is None and publisher.retry_in))
    attempts = proxy.accepted
    for _ in range(50):
        publisher.poll()
    assert proxy.accepted <= attempts + 1
    assert publisher.retry_in is not None
    proxy.behave()
    poll_until_settled(publisher)
    assert publisher.retry_in is None
    assert once(desk.ids("q")) == names(3)
    assert "wait to be published; trying again in" in caplog.text


def test_a_blocked_broker_keeps_nobody_waiting_and_gets_it_all_later(open_amqp: Open, rabbitmq: RabbitMQ,
                                                                     desk: Desk) -> None:
    transport = open_amqp()
    publisher = offer(transport, names(1))
    poll_until_settled(publisher)
    rabbitmq.alarm(True)
    offer(transport, names(1, 1))

    def is_blocked() -> bool:
        publisher.poll()
        return publisher.link is not None and bool(publisher.link.blocked)

    wait_until(is_blocked)
    offer(transport, names(1, 2), "new")
    offer(transport, names(1, 3))
    began = time.monotonic()
    for _ in range(20):
        publisher.poll()
    assert time.monotonic() - began < 3.0
    rabbitmq.alarm(False)
    poll_until_settled(publisher)
    assert sorted(desk.ids("q") + desk.ids("new")) == names(4)


def test_what_has_no_place_becomes_a_dead_letter_and_stops_nothing(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(WRONG))
    publisher = offer(transport, ["0"])
    offer(transport, ["wrong"], "wrong")
    publisher.offer(Message("q", content("far"), run_at=1e12))
    offer(transport, ["long"], "q" * 300)
    publisher.offer(Message("q", b"\xff\xff\xff\xff"))
    offer(transport, ["1"])
    poll_until_settled(publisher, 6)
    assert desk.ids("q") == ["0", "1"]
    found = dead(transport)
    assert [queue for queue, _ in found] == ["wrong", "q", "q" * 300, "q"]
    for (_, reason), why in zip(found, ("x-max-priority", "too far ahead", "255", "content"), strict=True):
        assert "could not be published" in reason
        assert why in reason


def test_what_its_queue_refuses_becomes_a_dead_letter_before_anything_is_settled(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(TINY))
    publisher = offer(transport, names(1), "tiny")
    poll_until_settled(publisher)
    first = publisher.offer(Message("tiny", content("full")))
    seen: list[tuple[bool, int | None]] = []

    def is_settled() -> bool:
        publisher.poll()
        is_done = publisher.settled >= first
        seen.append((is_done, desk.ready("fastq.dead")))
        return is_done

    wait_until(is_settled)
    assert seen[-1] == (True, 1)
    assert [queue for queue, _ in dead(transport)] == ["tiny"]
    assert transport.publish(()) == 0


def test_what_no_queue_takes_becomes_a_dead_letter(open_amqp: Open, desk: Desk) -> None:
    bound = Queue("media", Exchange("media", "topic"), "video.#")
    transport = open_amqp(queue_of=known(bound), bound_to=lambda name: [bound] if name == "media" else [])
    publisher = offer(transport, ["lost"], "audio.a", "media")
    offer(transport, ["found"], "video.a", "media")
    offer(transport, ["nowhere"], "key", "nowhere")
    offer(transport, ["q"])
    poll_until_settled(publisher, 4)
    assert desk.ids("media") == ["found"]
    assert desk.ids("q") == ["q"]
    found = dead(transport)
    assert sorted(queue for queue, _ in found) == ["audio.a", "key"]
    assert any("no queue took proj.add[lost]" in reason for _, reason in found)
    assert any("no exchange 'nowhere'" in reason for _, reason in found)


def test_a_queue_that_was_deleted_is_made_again_before_anything_is_settled(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publisher = offer(transport, names(1))
    poll_until_settled(publisher)
    desk.delete("q")
    number = publisher._sent.sent + 30
    offer(transport, names(30, 1))

    def is_settled() -> bool:
        publisher.poll()
        return publisher.settled != 1

    wait_until(is_settled)
    assert publisher.settled >= number
    assert sorted(desk.ids("q"), key=int) == names(30, 1)


def test_the_dead_letters_themselves_are_made_again(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(WRONG))
    publisher = offer(transport, ["0"], "wrong")
    poll_until_settled(publisher)
    desk.delete("fastq.dead")
    offer(transport, ["1"], "wrong")
    poll_until_settled(publisher)
    assert len(dead(transport)) == 1
    desk.link.call(desk.channel, METHODS["exchange.delete"], "fastq.dead", False, False)
    offer(transport, ["2"], "wrong")
    poll_until_settled(publisher)
    assert len(dead(transport)) == 2


def test_the_levels_of_delayed_delivery_are_made_again(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(delayed_queue_type="classic")
    publisher = transport._publisher
    publisher.offer(Message("q", content("0"), run_at=time.time() + 3600))
    poll_until_settled(publisher)
    for level in range(28):
        desk.link.call(desk.channel, METHODS["exchange.delete"], f"celery_delayed_{level}", False, False)
        desk.delete(f"celery_delayed_{level}")
    publisher.offer(Message("q", content("1"), run_at=time.time() + 3600))
    poll_until_settled(publisher)
    assert sum(desk.ready(f"celery_delayed_{level}") or 0 for level in range(28)) == 1


def test_a_result_for_somebody_who_is_gone_is_dropped(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publisher = transport._publisher
    publisher.offer(Message("nobody", envelope.pack({"correlation_id": "1"}, {}, b"{}"), exchange=REPLY))
    poll_until_settled(publisher)
    assert desk.ready("nobody") is None
    assert dead(transport) == []
