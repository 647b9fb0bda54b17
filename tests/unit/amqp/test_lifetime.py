"""The life of a connection and its channels in the public client: opened, refused, broken, closed, forked."""

from __future__ import annotations

import gc
import importlib
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import fastq.amqp
from fastq.amqp import ChannelError, Connection, ConnectionError
from fastq.amqp.target import parse
from fastq.exceptions import ConnectionLost, TransportError
from tests.deadline import wait_until

Connect = Callable[..., Connection]


def test_channel_error_closes_one_channel_and_says_why_for_good(connection: Connection) -> None:
    bad, good = connection.channel(), connection.channel()
    for _ in range(3):
        with pytest.raises(ChannelError, match="no queue 'missing'") as error:
            bad.basic_get("missing")
        assert (error.value.reply_code, error.value.class_id, error.value.method_id) == (404, 60, 70)
        assert error.value.reply_text.startswith("NOT_FOUND")
        assert isinstance(error.value, TransportError)
    assert not bad.is_open and good.is_open and connection.connected
    assert good.queue_declare("q").queue == "q"
    bad.close()


def test_publish_to_a_missing_exchange_is_told_by_drain_events(connection: Connection, channel: Any) -> None:
    other = connection.channel()
    channel.basic_publish(b"x", "missing", "k")
    with pytest.raises(ChannelError, match="no exchange 'missing'"):
        connection.drain_events(timeout=5)
    with pytest.raises(ChannelError, match="no exchange 'missing'"):
        channel.basic_publish(b"x", routing_key="k")
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)
    assert other.queue_declare("q")


def test_who_only_publishes_hears_of_a_closed_channel_too(channel: Any) -> None:
    channel.basic_publish(b"x", "missing", "k")
    with pytest.raises(ChannelError, match="no exchange 'missing'"):
        wait_until(lambda: channel.basic_publish(b"x", routing_key="k"))


def test_who_only_publishes_hears_of_a_closed_connection_too(connection: Connection, rabbitmq: Any) -> None:
    channel = connection.channel()
    rabbitmq.close_all_connections("maintenance")
    with pytest.raises(ConnectionError, match="maintenance") as closed:
        wait_until(lambda: channel.basic_publish(b"x", routing_key="k"))
    assert closed.value.reply_code == 320


def test_connection_closed_by_an_administrator_ends_everything(connection: Connection, rabbitmq: Any) -> None:
    channel = connection.channel()
    channel.queue_declare("q")
    channel.basic_consume("q", callback=print)
    rabbitmq.close_all_connections("maintenance")
    with pytest.raises(ConnectionError, match="maintenance") as closed:
        connection.drain_events(timeout=5)
    assert isinstance(closed.value, ConnectionLost) and closed.value.reply_code == 320
    assert not connection.connected and not channel.is_open
    for use in (channel.queue_declare, connection.channel, connection.drain_events, lambda: channel.basic_ack(1)):
        with pytest.raises(ConnectionError, match="maintenance"):
            use()
    channel.close()
    connection.reconnect()
    assert connection.channel().queue_declare("q", passive=True).queue == "q"


def test_broker_that_is_killed_ends_the_connection(connection: Connection, rabbitmq: Any) -> None:
    connection.channel()
    rabbitmq.kill()
    with pytest.raises(ConnectionError):
        connection.drain_events(timeout=10)
    assert not connection.connected
    with pytest.raises(ConnectionError, match="connection refused"):
        connection.reconnect()
    rabbitmq.start()
    connection.reconnect()
    assert connection.channel().queue_declare("q").queue == "q"


def test_use_after_close_says_so(connection: Connection) -> None:
    channel, other = connection.channel(), connection.channel()
    channel.close()
    channel.close()
    with pytest.raises(ChannelError, match="channel 1 was closed"):
        channel.basic_publish(b"x")
    connection.close()
    connection.close()
    with pytest.raises(ConnectionError, match="was closed"):
        other.queue_declare("q")
    with pytest.raises(ConnectionError, match="was closed"):
        connection.drain_events(timeout=0)
    with pytest.raises(ValueError, match="not connected"):
        connection.fileno()
    other.close()
    assert not connection.connected and connection.channels == {}


def test_lazy_connection_connects_when_told(connect: Connect) -> None:
    connection = connect(lazy=True)
    assert not connection.connected
    with pytest.raises(ConnectionError, match=r"call connect\(\)"):
        connection.channel()
    connection.connect()
    assert connection.connected and connection.fileno() > 0
    with pytest.raises(ConnectionError, match="open already"):
        connection.connect()


def test_settings_come_back_as_agreed(connect: Connect) -> None:
    connection = connect(channel_max=9, frame_max=9000, heartbeat=11, insist=False)
    assert (connection.channel_max, connection.frame_max, connection.heartbeat) == (9, 9000, 11)
    assert connection.server_properties["product"] == "RabbitMQ"
    assert connection.transport_options == {"insist": False}
    assert "open" in repr(connection)


@pytest.mark.parametrize(("host", "port", "expected"), [
    ("rabbit", 1, ("rabbit", 1)), ("rabbit:2", 1, ("rabbit", 2)), ("rabbit:", 1, ("rabbit", 1)),
    ("::1", 1, ("::1", 1)), ("[::1]:2", 1, ("::1", 2)), ("[::1]", 1, ("::1", 1)), ("", 1, ("localhost", 1)),
    ("rabbit", "3", ("rabbit", 3)),
])
def test_host_may_hold_the_port(host: str, port: Any, expected: tuple[str, int]) -> None:
    connection = Connection(host, port=port, lazy=True)
    assert (connection.hostname, connection.port) == expected


def test_failed_connection_is_a_connection_error(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(ConnectionError, match=f"cannot reach RabbitMQ at 127.0.0.1:{port}: connection refused"):
        Connection(f"127.0.0.1:{port}")


def test_context_managers_close(connect: Connect) -> None:
    with connect() as connection:
        with connection.channel() as channel:
            assert channel.is_open
        assert not channel.is_open and connection.connected
    assert not connection.connected


def test_idle_connection_is_kept_alive_by_heartbeats(connect: Connect) -> None:
    """The broker hangs up on who is silent for two intervals; nobody does anything here but wait."""
    connection = connect(heartbeat=1)
    assert connection.heartbeat == 1
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=3.2)
    assert connection.channel().queue_declare("q").queue == "q"


def test_child_of_a_fork_neither_uses_nor_ends_its_parents_connection(connection: Connection) -> None:
    channel = connection.channel()
    if not (child := os.fork()):
        try:
            channel.queue_declare("q")
        except ConnectionError as error:
            told = f"belongs to process {os.getppid()}" in str(error)
            channel.close()
            connection.close()
            os._exit(0 if told else 1)
        os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert channel.queue_declare("q").queue == "q"


def test_descriptor_that_kombu_closed_is_not_closed_again(connect: Connect) -> None:
    """kombu closes the number itself when it gives a connection up; it is another file's by the time we end."""
    connection = connect()
    number = connection.fileno()
    os.close(number)
    reader, writer = os.pipe()
    taken = reader if reader == number else writer
    assert taken == number
    connection.close()
    assert os.fstat(taken)
    for end in (reader, writer):
        os.close(end)


@pytest.mark.parametrize("is_older", [False, True])
def test_collected_connection_leaves_other_files_alone(amqp_url: str, is_older: bool) -> None:
    target = parse(amqp_url)
    gc.collect()
    connection: Any = Connection(target.host, port=target.port, virtual_host=target.vhost, lazy=is_older)
    if is_older:
        # Of a generation above that of its socket, which is then looked at before it.
        gc.collect(0)
        connection.connect()
    connection.channel()
    number = connection.fileno()
    os.close(number)
    reader, writer = os.pipe()
    assert number in (reader, writer)
    del connection
    gc.collect()
    os.write(writer, b"x")
    assert os.read(reader, 1) == b"x"
    for end in (reader, writer):
        os.close(end)


def test_client_needs_nothing_above_it() -> None:
    code = ("import sys, fastq.amqp; "
            "print(sorted({name.split('.')[1] for name in sys.modules if name.startswith('fastq.')}))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['_ext', 'amqp', 'exceptions', 'net']"


def test_import_under_the_name_of_librabbitmq(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "librabbitmq", None)  # type: ignore[arg-type]
    fastq.amqp.install_as_librabbitmq()
    librabbitmq = importlib.import_module("librabbitmq")
    assert librabbitmq.Connection is Connection
    assert librabbitmq.__version__ == "2.0.0"
