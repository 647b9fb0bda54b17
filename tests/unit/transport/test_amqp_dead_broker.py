"""A producer whose broker is not there, does not answer, or is one of several."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from fastq import Fastq, control
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import BrokerRefused, OperationalError, TransportError
from fastq.transport.amqp_publish import WINDOW
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import Desk, Open, content, names, publish

SHORT = {"publish_timeout_s": 1.0, "connect_timeout_s": 0.8}
"""A fifth of the defaults, so that the tests take a fifth of their time."""


@pytest.fixture
def mute() -> Iterator[int]:
    """A port that lets in nobody: its backlog is full, so that even SYNs are swallowed."""
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        port = listener.getsockname()[1]
        for each in (first, second):
            each.setblocking(False)
            each.connect_ex(("127.0.0.1", port))
        yield port


@pytest.fixture
def silent() -> Iterator[int]:
    """A port that lets everybody in and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def closed() -> int:
    """A port where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@pytest.fixture
def stuck(rabbitmq: RabbitMQ, amqp_url: str, proxy: Proxy) -> Iterator[str]:
    """A virtual host that lets everybody in and makes no classic queue: whoever asks for one gets no answer."""
    found = f'{{ok, Sup}} = rabbit_amqqueue_sup_sup:find_for_vhost(<<"{amqp_url.rpartition("/")[2]}">>)'
    rabbitmq.eval(f"{found}, sys:suspend(Sup)")
    yield proxy.url(amqp_url)
    rabbitmq.eval(f"{found}, sys:resume(Sup)")


def seconds_to_fail(app: Fastq, match: str) -> float:
    began = time.monotonic()
    with pytest.raises(OperationalError, match=match):
        app.send_task("proj.add", (1, 2))
    return time.monotonic() - began


@pytest.mark.parametrize("backend", [None, "rpc://"])
@pytest.mark.parametrize("kind", ["closed", "mute", "silent"])
def test_a_broker_that_is_not_there_fails_a_call_in_time_with_all_its_retries(kind: str, backend: str | None,
                                                                              request: pytest.FixtureRequest) -> None:
    port = request.getfixturevalue(kind)
    with Fastq("proj", broker=f"amqp://127.0.0.1:{port}//", broker_transport_options={"publish_timeout_s": 1.0},
               broker_connection_timeout=0.8, backend=backend) as app:
        # The pauses of the policy are 0, 0.2 and 0.4 s.
        assert seconds_to_fail(app, f"127.0.0.1:{port}") < 1.0 + 0.6 + 1.5


def test_a_broker_that_falls_silent_fails_a_call_in_time_with_all_its_retries(amqp_url: str, proxy: Proxy,
                                                                              desk: Desk) -> None:
    with Fastq("proj", broker=proxy.url(amqp_url), broker_transport_options={"publish_timeout_s": 1.0},
               broker_connection_timeout=0.8) as app:
        app.send_task("proj.add").confirmed()
        proxy.half_open()
        for _ in range(WINDOW):
            app.send_task("proj.add")
        assert seconds_to_fail(app, f"127.0.0.1:{proxy.port}") < 1.0 + 0.6 + 1.5
        proxy.behave()
        proxy.cut()
        app.transport.publish(())
        app.send_task("proj.add").confirmed()
    assert desk.ready("celery") == WINDOW + 2


def test_a_broker_that_answers_nothing_after_the_login_fails_a_call_in_time(open_amqp: Open, amqp_url: str,
                                                                            proxy: Proxy) -> None:
    transport = open_amqp(proxy.url(amqp_url), **SHORT)
    publish(transport, names(1))
    transport.publish(())
    proxy.half_open(down=False)
    began = time.monotonic()
    with pytest.raises(TransportError, match=f"127.0.0.1:{proxy.port}"):
        publish(transport, ["1"], "another")
    assert time.monotonic() - began < 2.5
    proxy.cut(refuse=True)


@pytest.mark.parametrize("backend", [None, "rpc://"])
def test_a_broker_that_makes_no_queue_fails_a_call_in_time_with_all_its_retries(stuck: str, proxy: Proxy,
                                                                                backend: str | None) -> None:
    with Fastq("proj", broker=stuck, broker_transport_options={"publish_timeout_s": 1.0},
               broker_connection_timeout=0.8, backend=backend, task_default_queue_type="classic") as app:
        assert seconds_to_fail(app, f"127.0.0.1:{proxy.port}.*queue.declare") < 1.0 + 0.6 + 3.0
        assert proxy.accepted == 1, "one attempt that took all the time is the last for a while"


def test_remote_control_of_a_broker_that_makes_no_queue_fails_in_time(stuck: str) -> None:
    mailbox = control.open([stuck], {"connect_timeout_s": 0.8})
    began = time.monotonic()
    with pytest.raises(TransportError, match=r"queue\.declare was not answered in 0\.8 s"):
        mailbox.listen("worker@here")
    assert time.monotonic() - began < 5.0


@pytest.mark.parametrize("way", ["delay", "apply_async", "batch", "map_delay"])
def test_a_broker_that_comes_back_meanwhile_gets_a_task_whose_result_is_awaited(way: str, amqp_url: str, proxy: Proxy,
                                                                                desk: Desk) -> None:
    with Fastq("proj", broker=proxy.url(amqp_url), backend="rpc://") as app:
        app.conf.task_publish_retry_policy = {"errback": lambda error, pause: proxy.behave()}

        @app.task(name="proj.add")
        def add(numbers: list[int]) -> int:
            return sum(numbers)

        proxy.cut(refuse=True)
        with app.batch() if way == "batch" else nullcontext():
            if way == "apply_async":
                add.apply_async(([1, 2],))
            elif way == "map_delay":
                add.map_delay([[1, 2]])
            else:
                add.delay([1, 2])
        app.transport.publish(())
    assert desk.ready("celery") == 1


def test_a_full_socket_fails_a_call_in_time(open_amqp: Open, amqp_url: str, proxy: Proxy) -> None:
    transport = open_amqp(proxy.url(amqp_url), **SHORT)
    publish(transport, names(1))
    proxy.stall()
    large = content("large", b"x" * (16 << 20))
    began = time.monotonic()
    with pytest.raises(TransportError, match=rf"127.0.0.1:{proxy.port}.*no room to write for 1 s"):
        transport.publish_one("q", large)
    # What the kernel finds room for late counts as progress, once or twice.
    assert time.monotonic() - began < 4.0
    proxy.cut(refuse=True)


def test_what_failed_was_not_sent_and_what_was_accepted_is(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                           desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url), **SHORT)
    publish(transport, names(1))
    transport.publish(())
    proxy.half_open()
    publish(transport, names(1, 1))
    proxy.cut(refuse=True)
    with pytest.raises(TransportError):
        wait_until(lambda: publish(transport, ["refused"]))
    proxy.behave()
    transport.publish(())
    found = desk.ids("q")
    assert "refused" not in found or transport._publisher.settled > 2
    assert {"0", "1"} <= set(found)


def test_the_first_broker_that_answers_is_taken(open_amqp: Open, amqp_url: str, closed: int, silent: int,
                                                desk: Desk) -> None:
    elsewhere = [f"amqp://127.0.0.1:{port}//" for port in (closed, silent)]
    transport = open_amqp([*elsewhere, amqp_url], connect_timeout_s=0.6, failover="round-robin")
    publish(transport, names(3))
    transport.publish(())
    assert desk.ids("q") == names(3)


def test_another_broker_gets_what_the_first_did_not_confirm(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                            desk: Desk) -> None:
    transport = open_amqp(f"{proxy.url(amqp_url)};{amqp_url}")
    publish(transport, names(1))
    transport.publish(())
    proxy.half_open()
    publish(transport, names(50, 1))
    proxy.cut(refuse=True)
    transport.publish(())
    assert desk.ids("q") == names(51)


def test_a_strategy_that_never_ends_is_asked_for_as_many_as_there_are(open_amqp: Open, amqp_url: str, closed: int,
                                                                      desk: Desk) -> None:
    def last_first(targets: list[object]) -> Iterator[object]:
        while True:
            yield from reversed(targets)

    transport = open_amqp([f"amqp://127.0.0.1:{closed}//"] * 2 + [amqp_url], failover=last_first)
    publish(transport, names(1))
    transport.publish(())
    assert desk.ids("q") == names(1)


def test_all_brokers_are_named_when_none_is_there(open_amqp: Open, closed: int, silent: int) -> None:
    transport = open_amqp([f"amqp://127.0.0.1:{silent}//", f"amqp://127.0.0.1:{closed}//"], connect_timeout_s=0.3)
    with pytest.raises(TransportError) as caught:
        publish(transport, names(1))
    assert f"127.0.0.1:{silent}" in str(caught.value)
    assert f"127.0.0.1:{closed}" in str(caught.value)


def test_a_wrong_password_is_refused_at_once_also_through_an_app(amqp_url: str) -> None:
    with Fastq("proj", broker=amqp_url.replace("guest:guest", "guest:hunter2")) as app:
        began = time.monotonic()
        with pytest.raises(BrokerRefused, match="check user and password") as caught:
            app.send_task("proj.add")
        assert time.monotonic() - began < 2.0
        assert "hunter2" not in str(caught.value)
