"""The public client: what users of py-librabbitmq know, against the broker."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

from fastq.amqp import ChannelError, Connection, ConnectionError, Message
from fastq.exceptions import EncodeError
from tests.deadline import wait_until

Connect = Callable[..., Connection]


def drain(connection: Connection, count: int) -> None:
    for _ in range(count):
        connection.drain_events(timeout=5)


def test_queue_declare_tells_name_and_counts(channel: Any) -> None:
    declared = channel.queue_declare("tasks", durable=True)
    assert declared == ("tasks", 0, 0)
    assert (declared.queue, declared.message_count, declared.consumer_count) == ("tasks", 0, 0)
    assert channel.queue_declare("").queue.startswith("amq.gen-")
    assert channel.queue_declare("quick", nowait=True) is None
    assert channel.queue_declare("quick", passive=True).queue == "quick"


def test_message_that_was_fetched_knows_where_it_came_from(channel: Any) -> None:
    channel.exchange_declare("e", "topic")
    channel.queue_declare("q")
    channel.queue_bind("q", "e", "a.*")
    channel.basic_publish(b"body", "e", "a.b", content_type="text/plain", content_encoding="utf-8", priority=3,
                          headers={"x": 1}, correlation_id="c", reply_to="r", delivery_mode=2, timestamp=1700000000)
    channel.basic_publish(b"second", "e", "a.c")
    channel.basic_publish(b"nowhere", "e", "b")
    message = channel.basic_get("q")
    assert message.body == b"body" and message.channel is channel
    assert message.properties == {
        "content_type": "text/plain", "content_encoding": "utf-8", "priority": 3, "headers": {"x": 1},
        "correlation_id": "c", "reply_to": "r", "delivery_mode": 2, "timestamp": 1700000000}
    assert message.delivery_info == {"delivery_tag": 1, "redelivered": False, "exchange": "e", "routing_key": "a.b",
                                     "message_count": 1}
    assert (message.content_type, message.content_encoding, message.headers) == ("text/plain", "utf-8", {"x": 1})
    message.ack()
    assert channel.basic_get("q", no_ack=True).body == b"second"
    assert channel.basic_get("q") is None


def test_consumer_gets_one_message_a_drain_and_its_name(connection: Connection, channel: Any) -> None:
    channel.queue_declare("q")
    got: list[Any] = []
    tag = channel.basic_consume("q", callback=got.append)
    for number in range(100):
        channel.basic_publish(str(number), routing_key="q")
    for number in range(100):
        connection.drain_events(timeout=5)
        assert len(got) == number + 1
    with pytest.raises(socket.timeout):
        connection.drain_events(timeout=0.01)
    assert [message.body for message in got] == [b"%d" % number for number in range(100)]
    assert got[0].delivery_info == {"consumer_tag": tag, "delivery_tag": 1, "redelivered": False, "exchange": "",
                                    "routing_key": "q"}
    got[-1].ack(multiple=True)
    channel.close()
    assert connection.channel().queue_declare("q", passive=True).message_count == 0


@pytest.mark.parametrize("timeout", [0, 0.01, 0.05])
def test_drain_events_times_out_as_sockets_do(connection: Connection, timeout: float) -> None:
    started = time.monotonic()
    with pytest.raises(socket.timeout, match="timed out"):
        connection.drain_events(timeout=timeout)
    assert timeout <= time.monotonic() - started < timeout + 5


def test_drain_events_without_timeout_waits(connection: Connection, channel: Any, connect: Connect) -> None:
    channel.queue_declare("q")
    got: list[Any] = []
    channel.basic_consume("q", no_ack=True, callback=got.append)
    later = connect().channel()
    publishing = threading.Timer(0.05, later.basic_publish, (b"late", "", "q"))
    publishing.start()
    connection.drain_events()
    publishing.join()
    assert got[0].body == b"late"


@pytest.mark.parametrize("size", [0, 1, 131063, 131064, 131065, 3_000_000])
def test_bodies_of_any_size(connection: Connection, channel: Any, size: int) -> None:
    channel.queue_declare("q")
    got: list[Any] = []
    channel.basic_consume("q", no_ack=True, callback=got.append)
    channel.basic_publish(os.urandom(1) * size, routing_key="q")
    connection.drain_events(timeout=10)
    assert len(got[0].body) == size and isinstance(got[0].body, bytes)


@pytest.mark.parametrize("body", [b"bytes", "t\u00e9xt", bytearray(b"array"), memoryview(b"view"), None])
def test_body_may_be_text_or_any_kind_of_bytes(channel: Any, body: Any) -> None:
    channel.queue_declare("q")
    channel.basic_publish(body, routing_key="q")
    expected = body.encode() if isinstance(body, str) else bytes(body or b"")
    assert channel.basic_get("q", no_ack=True).body == expected


def test_headers_of_every_kind_come_back(channel: Any) -> None:
    headers = {"text": "¯\\_(ツ)_/¯", "ключ": "значение", "int": -5, "big": 1 << 40, "float": 1.5, "bool": True,
               "none": None, "list": [1, "two", [3], {"four": 4}], "table": {"a": {"b": {"c": None}}}}
    channel.queue_declare("q")
    channel.basic_publish(Message(body="x", properties={"headers": headers}), routing_key="q")
    assert channel.basic_get("q", no_ack=True).headers == headers


def test_names_may_be_bytes_or_none_as_kombu_gives_them(channel: Any) -> None:
    channel.queue_declare(b"q", arguments={b"x-max-length": 10, b"x-message-ttl": 60000})
    channel.queue_bind("q", "amq.direct", None)
    channel.basic_publish((b"x", {"content_type": b"text/plain", "headers": {b"a": 1}, "priority": None}), b"", b"q")
    message = channel.basic_get("q", no_ack=True)
    assert message.properties == {"content_type": "text/plain", "headers": {"a": 1}}


def test_property_that_has_no_form_on_the_wire_is_named(channel: Any) -> None:
    with pytest.raises(EncodeError, match="priority"):
        channel.basic_publish(b"x", routing_key="q", priority="high")
    assert channel.is_open


def test_message_that_was_not_delivered_cannot_be_settled(channel: Any) -> None:
    with pytest.raises(ValueError, match="was not delivered"):
        Message(channel, {}, None, b"x").ack()
    with pytest.raises(ValueError, match="came over no channel"):
        Message(None, {}, {"delivery_tag": 1}, b"x").reject()


def test_rejected_messages_go_back_or_away(channel: Any) -> None:
    channel.queue_declare("q")
    for _ in range(3):
        channel.basic_publish(b"x", routing_key="q")
    first, second, third = (channel.basic_get("q") for _ in range(3))
    first.reject()
    again = wait_until(lambda: channel.basic_get("q"))
    assert again.delivery_info["redelivered"] is True
    again.reject(requeue=False)
    channel.basic_nack(third.delivery_tag, multiple=True, requeue=True)
    wait_until(lambda: channel.queue_declare("q", passive=True).message_count == 2)
    assert second.delivery_tag < third.delivery_tag


def test_recover_sends_again_what_was_not_acknowledged(connection: Connection, channel: Any) -> None:
    channel.queue_declare("q")
    channel.basic_publish(b"x", routing_key="q")
    assert channel.basic_get("q") is not None
    channel.basic_recover(requeue=True)
    assert channel.basic_get("q").delivery_info["redelivered"] is True


def test_prefetch_limits_what_is_out(connection: Connection, channel: Any) -> None:
    channel.queue_declare("q")
    for _ in range(5):
        channel.basic_publish(b"x", routing_key="q")
    channel.basic_qos(0, 2, False)
    got: list[Any] = []
    channel.basic_consume("q", callback=got.append)
    drain(connection, 2)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0.05)
    got[0].ack()
    drain(connection, 1)


def test_cancelled_consumer_gives_back_what_it_was_not_handed(connection: Connection, channel: Any) -> None:
    channel.queue_declare("q")
    for _ in range(10):
        channel.basic_publish(b"x", routing_key="q")
    got: list[Any] = []
    tag = channel.basic_consume("q", callback=got.append)
    drain(connection, 1)
    got[0].ack()
    channel.basic_cancel(tag)
    wait_until(lambda: channel.queue_declare("q", passive=True).message_count == 9)
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)
    assert len(got) == 1


def test_consumer_that_the_broker_ends_is_told(connection: Connection, channel: Any, connect: Connect) -> None:
    channel.queue_declare("q")
    ended: list[str] = []
    tag = channel.basic_consume("q", callback=print, on_cancel=ended.append)
    connect().channel().queue_delete("q")
    connection.drain_events(timeout=5)
    assert ended == [tag]
    assert channel.is_open


def test_consumers_without_acknowledgement_are_known(channel: Any) -> None:
    channel.queue_declare("q")
    tag = channel.basic_consume("q", consumer_tag="mine", no_ack=True, callback=print)
    assert tag == "mine"
    assert channel.no_ack_consumers == {"mine"}
    channel.basic_cancel("mine")
    assert channel.no_ack_consumers == set()


def test_consumer_begun_without_waiting_gets_its_messages(connection: Connection, channel: Any) -> None:
    channel.queue_declare("q")
    channel.basic_publish(b"x", routing_key="q")
    got: list[Any] = []
    channel.basic_consume("q", callback=got.append, nowait=True)
    drain(connection, 1)
    assert got[0].body == b"x"


def test_what_a_callback_raises_comes_out_of_drain_events(connection: Connection, channel: Any) -> None:
    def fail(message: Any) -> None:
        raise LookupError(message.body)

    channel.queue_declare("q")
    channel.basic_consume("q", no_ack=True, callback=fail)
    channel.basic_publish(b"1", routing_key="q")
    channel.basic_publish(b"2", routing_key="q")
    for expected in ("1", "2"):
        with pytest.raises(LookupError, match=expected):
            connection.drain_events(timeout=5)


def test_callback_may_use_its_channel(connection: Connection, channel: Any) -> None:
    channel.queue_declare("q")
    seen: list[int] = []

    def again(message: Any) -> None:
        seen.append(channel.queue_declare("q", passive=True).consumer_count)
        if len(seen) < 5:
            channel.basic_publish(message.body, routing_key="q")
        message.ack()

    channel.basic_consume("q", callback=again)
    channel.basic_publish(b"x", routing_key="q")
    drain(connection, 5)
    assert seen == [1] * 5


def test_several_channels_have_their_own_consumers_and_tags(connection: Connection) -> None:
    got: dict[int, list[Any]] = {}
    channels = [connection.channel() for _ in range(5)]
    for number, channel in enumerate(channels):
        channel.queue_declare(f"q{number}")
        channel.basic_consume(f"q{number}", consumer_tag="same", callback=got.setdefault(number, []).append)
    for number in range(50):
        channels[0].basic_publish(str(number), routing_key=f"q{number % 5}")
    drain(connection, 50)
    for number, channel in enumerate(channels):
        assert [message.body for message in got[number]] == [b"%d" % n for n in range(number, 50, 5)]
        assert [message.delivery_tag for message in got[number]] == list(range(1, 11))
        assert {message.channel for message in got[number]} == {channel}


def test_channel_by_number_is_the_same_as_long_as_it_is_open(connection: Connection) -> None:
    channel = connection.channel(7)
    assert connection.channel(7) is channel
    assert connection.channels == {7: channel}
    channel.close()
    assert connection.channels == {}
    assert connection.channel(7) is not channel


def test_topology_can_be_undone(channel: Any) -> None:
    channel.exchange_declare("one", "fanout", auto_delete=True)
    channel.exchange_declare("two", "fanout")
    channel.exchange_bind("two", "one")
    channel.queue_declare("q")
    channel.queue_bind("q", "two", "k", arguments={"a": 1})
    channel.basic_publish(b"x", "one")
    assert channel.queue_purge("q") == 1
    channel.exchange_unbind("two", "one")
    channel.queue_unbind("q", "two", "k", arguments={"a": 1})
    channel.basic_publish(b"x", "two")
    assert channel.queue_delete("q") == 0
    channel.exchange_delete("two", if_unused=True)
    for missing in (lambda c: c.exchange_declare("one", passive=True), lambda c: c.queue_declare("q", passive=True)):
        with pytest.raises(ChannelError) as error:
            missing(channel.connection.channel())
        assert error.value.reply_code == 404


def test_queue_that_is_not_empty_is_not_deleted(channel: Any) -> None:
    channel.queue_declare("q")
    channel.basic_publish(b"x", routing_key="q")
    with pytest.raises(ChannelError) as refused:
        channel.queue_delete("q", if_empty=True)
    assert refused.value.reply_code == 406
    assert channel.connection.channel().queue_delete("q") == 1


def test_confirms_are_waited_for(channel: Any) -> None:
    channel.confirm_select()
    assert channel.wait_for_confirms(timeout=5) is True
    channel.queue_declare("q")
    for _ in range(500):
        channel.basic_publish(b"x", routing_key="q", delivery_mode=2)
    assert channel.wait_for_confirms(timeout=10) is True
    assert channel.queue_purge("q") == 500
    channel.basic_publish(b"x", routing_key="q", confirm_timeout=5)
    assert channel.queue_purge("q") == 1


def test_message_that_the_broker_cannot_take_is_told(channel: Any) -> None:
    channel.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    channel.confirm_select()
    refused: list[int] = []
    channel.events["basic_nack"].add(lambda tag, multiple: refused.append(tag))
    channel.basic_publish(b"1", routing_key="full", confirm_timeout=5)
    channel.basic_publish(b"2", routing_key="full")
    assert channel.wait_for_confirms(timeout=5) is False
    channel.connection.drain_events(timeout=5)
    assert refused == [2]
    with pytest.raises(ChannelError, match="could not take"):
        channel.basic_publish(b"3", routing_key="full", confirm_timeout=5)
    assert channel.wait_for_confirms(timeout=5) is True


def test_confirms_end_with_the_channel(channel: Any) -> None:
    channel.confirm_select()
    channel.basic_publish(b"x", "missing", "k")
    with pytest.raises(ChannelError, match="missing"):
        channel.wait_for_confirms(timeout=5)


def test_confirms_that_do_not_come_in_time(channel: Any, rabbitmq: Any) -> None:
    channel.confirm_select()
    rabbitmq.alarm(True)
    channel.basic_publish(b"x", routing_key="q")
    channel.basic_publish(b"x", routing_key="q")
    with pytest.raises(TimeoutError):
        channel.wait_for_confirms(timeout=0.2)
    assert "memory" in channel.connection.blocked
    rabbitmq.alarm(False)
    assert channel.wait_for_confirms(timeout=10)
    wait_until(lambda: channel.queue_declare("q") and channel.connection.blocked is None)


def test_message_that_no_queue_gets_comes_back(connection: Connection, channel: Any) -> None:
    channel.basic_publish(b"lost", "", "no-queue", mandatory=True, content_type="text/plain")
    with pytest.raises(ChannelError, match="came back: NO_ROUTE") as unheard:
        connection.drain_events(timeout=5)
    assert unheard.value.reply_code == 312
    returned: list[Any] = []
    channel.events["basic_return"].add(lambda *told: returned.append(told))
    channel.basic_publish(b"lost", "", "no-queue", mandatory=True, content_type="text/plain")
    connection.drain_events(timeout=5)
    (error, exchange, routing_key, message), = returned
    assert (error.reply_code, exchange, routing_key) == (312, "", "no-queue")
    assert (message.body, message.content_type) == (b"lost", "text/plain")
    assert channel.is_open


def test_transaction_counts_when_it_is_committed(channel: Any, connect: Connect) -> None:
    other = connect().channel()
    channel.queue_declare("q")
    channel.tx_select()
    channel.basic_publish(b"1", routing_key="q")
    assert other.queue_declare("q", passive=True).message_count == 0
    channel.tx_commit()
    assert other.queue_declare("q", passive=True).message_count == 1
    channel.basic_publish(b"2", routing_key="q")
    channel.tx_rollback()
    assert other.queue_declare("q", passive=True).message_count == 1


def test_flow_can_only_go_on(connection: Connection, channel: Any) -> None:
    assert channel.flow(True) is True
    with pytest.raises((ChannelError, ConnectionError), match="NOT_IMPLEMENTED"):
        channel.flow(False)


def test_immediate_is_refused_by_the_broker(connection: Connection, channel: Any) -> None:
    channel.basic_publish(b"x", routing_key="q", immediate=True)
    with pytest.raises((ChannelError, ConnectionError), match="NOT_IMPLEMENTED"):
        connection.drain_events(timeout=5)


def test_prepared_message_is_what_publish_takes(channel: Any) -> None:
    channel.queue_declare("q")
    prepared = channel.prepare_message(b"x", 3, "text/plain", "utf-8", {"a": 1}, {"delivery_mode": 2})
    channel.basic_publish(prepared, "", "q")
    assert channel.basic_get("q", no_ack=True).properties == {
        "priority": 3, "content_type": "text/plain", "content_encoding": "utf-8", "headers": {"a": 1},
        "delivery_mode": 2}


def test_a_broker_that_takes_no_messages_says_so_and_when_it_does_again(connect: Connect, rabbitmq: Any) -> None:
    told: list[str | None] = []
    connection = connect(on_blocked=told.append, on_unblocked=lambda: told.append(None))
    channel = connection.channel()
    channel.queue_declare("q")
    rabbitmq.alarm(True)

    def is_told() -> bool:
        channel.basic_publish(b"x", routing_key="q")
        with suppress(TimeoutError):
            connection.drain_events(timeout=0.01)
        return bool(told)

    wait_until(is_told)
    assert len(told) == 1 and "memory" in str(told[0])
    rabbitmq.alarm(False)
    wait_until(lambda: channel.queue_declare("q") and len(told) == 2)
    assert told[1] is None


def test_a_connection_without_a_free_channel_says_so_as_librabbitmq_does(connect: Connect) -> None:
    connection = connect(channel_max=2)
    channels = [connection.channel() for _ in range(2)]
    with pytest.raises(ConnectionError, match=r"all 2 channels .* in use: close one"):
        connection.channel()
    assert connection.connected and channels[0].queue_declare("q")
    channels[1].close()
    assert connection.channel().is_open


def test_consumers_without_a_tag_are_numbered(channel: Any) -> None:
    channel.queue_declare("q")
    tags = [channel.basic_consume("q") for _ in range(2)]
    assert len(set(tags)) == 2 and channel.next_consumer_tag() == 3
