"""The RabbitMQ that tests start: empty for each, obedient, and gone when its starter is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import amqp
import psutil
import pytest

from fastq.bench.servers import ServerFailed
from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.deadline import wait_until


def connect(url: str, **options: Any) -> Any:
    place = url.rpartition("@")[2]
    host, _, vhost = unquote(place).partition("/")
    connection = amqp.Connection(host, virtual_host=vhost, **{"confirm_publish": True, **options})
    connection.connect()
    return connection


def store(channel: Any, queue: str, body: str) -> None:
    channel.queue_declare(queue, durable=True, auto_delete=False)
    channel.basic_publish(amqp.Message(body, delivery_mode=2), "", queue)


def test_a_virtual_host_that_is_given_back_is_empty(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.vhost()
    connection = connect(url)
    channel = connection.channel()
    store(channel, "durable", "x")
    channel.queue_declare("exclusive", exclusive=True)
    channel.queue_declare("quorum", durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    channel.exchange_declare("exchange", "topic")
    rabbitmq.reclaim(url)
    again = rabbitmq.vhost()
    assert again == url
    assert rabbitmq.eval(f'rabbit_amqqueue:list(<<"{url.rpartition("/")[2]}">>)') == "[]"
    with closing(connect(url)) as anew, pytest.raises(amqp.NotFound):
        anew.channel().exchange_declare("exchange", "topic", passive=True)
    with pytest.raises(amqp.ConnectionForced):
        connection.drain_events(5)
    rabbitmq.reclaim(again)


def test_a_virtual_host_can_have_any_name(rabbitmq: RabbitMQ) -> None:
    url = rabbitmq.vhost('ä "/\\')
    assert url.endswith("/%C3%A4%20%22%2F%5C")
    assert rabbitmq.eval(r'rabbit_vhost:exists(<<"ä \"/\\"/utf8>>)') == "true"
    rabbitmq.reclaim(url)


def test_an_order_that_fails_says_why_and_the_next_one_is_obeyed(rabbitmq: RabbitMQ) -> None:
    for order, why in (("1 +", "syntax error"), ("1 / 0", "badarith"), ("rabbit:no_such()", "undef")):
        with pytest.raises(ServerFailed, match=why):
            rabbitmq.eval(order)
    assert rabbitmq.eval("1 + 1") == "2"
    with pytest.raises(ServerFailed, match="no_such_vhost"):
        rabbitmq.ctl("delete_vhost", "no_such_vhost")


def test_all_connections_are_closed_with_the_reason_given(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    with closing(connect(amqp_url)) as connection:
        assert rabbitmq.close_all_connections('a "reason"') == 1
        with pytest.raises(amqp.ConnectionForced, match='a "reason"'):
            connection.drain_events(5)


def test_an_alarm_blocks_who_publishes_until_it_is_cleared(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    blocked: list[bool] = []
    with closing(connect(amqp_url, confirm_publish=False, on_blocked=lambda reason: blocked.append(True),
                         on_unblocked=lambda: blocked.append(False))) as connection:
        rabbitmq.alarm(True)
        connection.channel().basic_publish(amqp.Message("x"), "", "nowhere")
        connection.drain_events(5)
        rabbitmq.alarm(False)
        connection.drain_events(5)
    assert blocked == [True, False]


def test_a_broker_that_was_stopped_or_killed_has_its_data_again(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    for end in (rabbitmq.stop, rabbitmq.kill):
        with closing(connect(amqp_url)) as connection:
            store(connection.channel(), "q", end.__name__)
        end()
        with closing(socket.socket()) as trial:
            assert trial.connect_ex(("127.0.0.1", rabbitmq.port)) != 0
        rabbitmq.start()
        with closing(connect(amqp_url)) as connection:
            assert connection.channel().basic_get("q", no_ack=True).body == end.__name__


STARTER = """
import sys, threading
from pathlib import Path
from fastq.bench.servers.rabbitmq import RabbitMQ
server = RabbitMQ(Path(sys.argv[1]))
threading.Thread(target=server.start, daemon=True).start()
while len(server.pids) < 2:
    pass
print(*server.pids, flush=True)
sys.stdin.read()
"""


def test_a_server_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    with starter:
        assert starter.stdout is not None
        pids = [int(pid) for pid in starter.stdout.readline().split()]
        family = [process for pid in pids for process in (psutil.Process(pid), *psutil.Process(pid).children())]
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, family)), what="the end of node and mapper")


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
