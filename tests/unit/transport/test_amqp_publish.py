"""Publishing to a broker that confirms, returns, refuses, blocks, breaks and comes back."""

from __future__ import annotations

import logging
import re
import threading
import time

import pytest

from fastq._ext import envelope
from fastq._ext.amqp import METHODS
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import BrokerRefused, OperationalError, TransportError, Undeliverable
from fastq.transport.amqp import AmqpTransport
from fastq.transport.amqp_publish import WINDOW
from fastq.types import Message
from fastq.wire.entity import Exchange, Queue
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import QUORUM, TINY, Desk, Open, content, known, names, once, publish

# -- confirms --------------------------------------------------------------------------------------------------


def test_messages_arrive_in_order_and_a_flush_waits_for_the_last(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publish(transport, names(1200))
    transport.publish(Message("q", content(name)) for name in names(100, 1200))
    publish(transport, names(1, 1300))
    assert transport.publish(()) == 0
    assert desk.ids("q") == names(1301)


def test_confirms_of_several_queues_come_out_of_turn_and_all_are_counted(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    for number in range(300):
        transport.publish_one("quorum" if number % 3 else "q", content(str(number)))
    transport.publish(())
    assert transport._publisher.pending == 0
    assert transport._publisher.settled == 300
    assert desk.ready("q") == 100
    assert len(desk.ids("quorum")) == 200


def test_no_more_than_a_window_is_on_its_way_without_a_confirm(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                               desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url), publish_timeout_s=0.3)
    publish(transport, ["first"])
    transport.publish(())
    proxy.half_open(up=False)
    publish(transport, names(WINDOW))
    with pytest.raises(OperationalError, match=rf"127.0.0.1:{proxy.port} has not confirmed {WINDOW} messages"):
        publish(transport, ["one too many"])
    with pytest.raises(OperationalError, match=f"127.0.0.1:{proxy.port}"):      # a new connection is as silent
        transport.publish(())
    wait_until(lambda: desk.ready("q") == WINDOW + 1)
    proxy.behave()
    proxy.cut()
    transport.publish(())
    assert once(desk.ids("q")) == ["first", *names(WINDOW)]


def test_confirms_are_read_as_messages_go_out(open_amqp: Open) -> None:
    transport = open_amqp()
    publish(transport, names(WINDOW // 2))

    def is_read() -> bool:
        publish(transport, names(1))
        return transport._publisher.pending < WINDOW // 4

    wait_until(is_read)


def test_a_transport_can_be_told_to_confirm_every_message(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(confirm_publish=True)
    publish(transport, names(3))
    assert transport._publisher.pending == 0
    assert desk.ids("q") == names(3)


def test_threads_share_a_transport(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()

    def run(at: int) -> None:
        for number in range(100):
            transport.publish_one(f"q{number % 2}", content(f"{at}.{number}"))
        transport.publish([Message("q0", content(f"{at}.100"))])

    threads = [threading.Thread(target=run, args=[at]) for at in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert transport._publisher.pending == 0
    found = desk.ids("q0"), desk.ids("q1")
    for at in range(8):
        for first, ids in enumerate(found):
            assert [one for one in ids if one.startswith(f"{at}.")] == \
                [f"{at}.{number}" for number in range(first, 101, 2)]


# -- cut -------------------------------------------------------------------------------------------------------


def test_what_was_not_confirmed_is_sent_again_over_a_new_connection(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                                    desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    for at in range(10):
        publish(transport, names(70, at * 70))
        proxy.cut()
    transport.publish(())
    found = desk.ids("q")
    assert once(found) == names(700)


def test_a_cut_before_a_message_for_a_new_queue_costs_nothing(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                              desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, ["1"], "a")
    transport.publish(())
    proxy.cut()
    publish(transport, ["2"], "b")
    proxy.cut()
    transport.publish([Message("c", content("3"))])
    assert [once(desk.ids(queue)) for queue in "abc"] == [["1"], ["2"], ["3"]]


def test_a_flush_outlasts_a_broker_that_is_away_for_a_moment(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                             desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, names(1))
    transport.publish(())
    proxy.cut(refuse=True)
    with pytest.raises(TransportError):
        publish(transport, ["refused"])
    accepted = proxy.accepted
    heal = threading.Thread(target=lambda: (wait_until(lambda: proxy.accepted > accepted + 1), proxy.behave()))
    transport._publisher.offer(Message("q", content("1")))
    heal.start()
    transport.publish(())
    heal.join()
    assert desk.ids("q") == names(2)


def test_a_broker_that_closes_all_connections_loses_nothing(open_amqp: Open, rabbitmq: RabbitMQ, desk: Desk) -> None:
    transport = open_amqp()
    publish(transport, names(100))
    rabbitmq.close_all_connections()
    publish(transport, names(100, 100))
    transport.publish(())
    again = Desk(transport_url(transport))
    assert once(again.ids("q")) == names(200)
    again.close()


def transport_url(transport: AmqpTransport) -> str:
    target = transport._brokers.targets[0]
    return f"amqp://guest:guest@{target.where}/{target.vhost}"


def test_a_message_that_cannot_be_encoded_leaves_nothing_behind(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publish(transport, ["1"])
    with pytest.raises(ValueError, match="content"):
        transport.publish_one("q", b"\xff\xff\xff\xff")
    with pytest.raises(ValueError, match="content"):
        transport.publish([Message("q", content("2")), Message("q", b"")])
    with pytest.raises(ValueError, match="priority"):
        transport.publish_one("q", content("3"), 10)
    with pytest.raises(ValueError, match="too far ahead"):
        transport.publish_one("q", content("4"), 0, 1e12)
    with pytest.raises(ZeroDivisionError):
        transport.publish(Message("q", content(str(1 // number))) for number in (1, 0))
    with pytest.raises(ValueError, match="255"):
        transport.publish_one("q" * 256, content("5"))
    publish(transport, ["6"])
    transport.publish(())
    assert transport._publisher.pending == 0
    assert desk.ids("q") == ["1", "6"]


# -- returned, refused -----------------------------------------------------------------------------------------


def test_a_queue_that_was_deleted_is_declared_again_and_the_messages_arrive(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    for queue in ("q", "quorum"):
        publish(transport, names(1), queue)
        transport.publish(())
        desk.delete(queue)
        publish(transport, names(40, 1), queue)
        transport.publish(())
        assert sorted(desk.ids(queue), key=int) == names(40, 1)


def topics(transport_of: Open, **options: object) -> AmqpTransport:
    bound = Queue("media", Exchange("media", "topic"), "video.#")
    return transport_of(queue_of=known(bound), bound_to=lambda name: [bound] if name == "media" else [], **options)


def test_a_message_that_no_queue_takes_is_named_once_and_logged(open_amqp: Open, desk: Desk,
                                                                caplog: pytest.LogCaptureFixture) -> None:
    transport = topics(open_amqp)
    for name, key in (("1", "video.a"), ("2", "audio.a"), ("3", "video.b"), ("4", "audio.b")):
        transport.publish_one(key, content(name), exchange="media")
    with pytest.raises(Undeliverable, match=r"proj\.add\[2\].*'media'.*'audio\.a'") as caught:
        transport.publish(())
    assert caught.value.task_ids == ("2", "4")
    assert [record.levelname for record in caplog.records if "proj.add[4]" in record.message] == ["ERROR"]
    assert transport.publish(()) == 0
    assert desk.ids("media") == ["1", "3"]


def test_messages_without_an_id_have_their_second_chance_too(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    transport.publish_one("q", content("1"))
    transport.publish(())
    desk.delete("q")
    for number in range(5):
        transport.publish_one("q", envelope.pack({}, {}, b"%d" % number))
    transport.publish(())
    assert desk.ready("q") == 5


def test_a_message_that_its_queue_refuses_is_named(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(TINY))
    publish(transport, names(1), "tiny")
    transport.publish(())
    publish(transport, names(2, 1), "tiny")
    publish(transport, names(1, 3))
    with pytest.raises(Undeliverable, match=r"proj\.add\[1\].*'tiny'.*full") as caught:
        transport.publish(())
    assert caught.value.task_ids == ("1", "2")
    transport.publish(())
    assert desk.ids("tiny") == ["0"]
    assert desk.ids("q") == ["3"]


def test_an_exchange_that_does_not_exist_takes_no_other_message_along(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publish(transport, names(2))
    for name in ("lost", "lost too"):
        transport.publish_one("key", content(name), exchange="nowhere")
    publish(transport, names(2, 2))
    with pytest.raises(Undeliverable, match=r"proj\.add\[lost\].*no exchange 'nowhere'") as caught:
        transport.publish(())
    assert caught.value.task_ids == ("lost", "lost too")
    publish(transport, names(1, 4))
    transport.publish(())
    assert once(desk.ids("q")) == names(5)


def test_a_message_that_the_broker_finds_wrong_takes_no_other_along(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    publish(transport, names(2))
    transport.publish_one("q", envelope.pack({"expiration": "soon"}, {"task": "proj.add", "id": "wrong"}, b"x"))
    publish(transport, names(2, 2))
    with pytest.raises(Undeliverable, match=r"proj\.add\[wrong\].*expiration") as caught:
        transport.publish(())
    assert caught.value.task_ids == ("wrong",)
    publish(transport, names(1, 4))
    transport.publish(())
    assert once(desk.ids("q")) == names(5)


def test_an_exchange_that_was_deleted_is_declared_again(open_amqp: Open, desk: Desk) -> None:
    transport = topics(open_amqp)
    transport.publish_one("video.a", content("1"), exchange="media")
    transport.publish(())
    desk.link.call(desk.channel, METHODS["exchange.delete"], "media", False, False)
    transport.publish_one("video.a", content("2"), exchange="media")
    transport.publish(())
    assert desk.ids("media") == ["1", "2"]


# -- a broker that does not take messages ----------------------------------------------------------------------


def test_a_blocked_broker_is_named_in_time_and_gets_the_messages_later(open_amqp: Open, rabbitmq: RabbitMQ, desk: Desk,
                                                                       caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastq.transport.amqp")
    transport = open_amqp(publish_timeout_s=0.5)
    publish(transport, names(1))
    transport.publish(())
    rabbitmq.alarm(True)
    sent = names(1)

    def is_blocked() -> bool:
        publish(transport, names(1, len(sent)))
        sent.append(str(len(sent)))
        return False

    began = time.monotonic()
    with pytest.raises(OperationalError, match=rf":{rabbitmq.port} has not confirmed .* it takes no messages: low on"):
        wait_until(is_blocked)
    assert time.monotonic() - began < 5
    with pytest.raises(OperationalError, match="it takes no messages: low on memory"):
        transport.publish(())
    rabbitmq.alarm(False)
    publish(transport, names(1, len(sent)))
    transport.publish(())
    assert desk.ids("q") == names(len(sent) + 1)
    told = [(record.levelname, record.getMessage()) for record in caplog.records if " takes " in record.getMessage()]
    where = f"RabbitMQ at 127.0.0.1:{rabbitmq.port} takes"
    assert [level for level, _ in told] == ["WARNING", "INFO"]
    assert re.fullmatch(rf"{where} no messages: low on memory; \d+ wait", told[0][1])
    assert re.fullmatch(rf"{where} messages again; \d+ wait", told[1][1])


def test_a_wrong_password_is_refused_at_once_and_never_told(open_amqp: Open, amqp_url: str,
                                                            caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    transport = open_amqp(amqp_url.replace("guest:guest", "guest:hunter2"))
    with pytest.raises(BrokerRefused, match="refused user 'guest'") as caught:
        publish(transport, ["1"])
    assert caught.value.code == 403
    assert "hunter2" not in f"{caught.value}{transport!r}{caplog.text}"
