"""The opening, against the broker and against peers that do it wrong."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastq._ext import amqp
from fastq._ext.amqp import METHODS
from fastq.amqp.error import ConnectionFailed, ConnectionRefused
from fastq.amqp.link import Link
from fastq.amqp.target import Target, parse
from fastq.exceptions import BrokerRefused, ConfigError, TransportError


def start_frame(**capabilities: bool) -> bytes:
    return amqp.method(0, METHODS["connection.start"], 0, 9, {"product": "Old", "capabilities": capabilities},
                       "PLAIN AMQPLAIN", "en_US")


def scripted(listener: socket.socket, script: Callable[[socket.socket], None]) -> threading.Thread:
    """Have *script* talk to whoever connects, and hang up after it."""
    def run() -> None:
        peer, _ = listener.accept()
        with peer:
            peer.settimeout(10)
            script(peer)

    talking = threading.Thread(target=run)
    talking.start()
    return talking


def target_of(listener: socket.socket) -> Target:
    return Target("127.0.0.1", listener.getsockname()[1])


def test_wrong_password_is_refused_with_code_and_hint(amqp_url: str) -> None:
    target = parse(amqp_url)._replace(password="wrong-one")
    with pytest.raises(ConnectionRefused) as refused:
        Link.open(target)
    assert isinstance(refused.value, BrokerRefused)
    assert refused.value.code == 403
    assert str(refused.value).startswith(f"RabbitMQ at {target.where} refused user 'guest': ACCESS_REFUSED")
    assert "check user and password" in str(refused.value)
    assert "wrong-one" not in str(refused.value)


def test_unknown_virtual_host_is_refused_with_code_and_hint(amqp_url: str) -> None:
    with pytest.raises(ConnectionRefused, match="check the virtual host 'nowhere'") as refused:
        Link.open(parse(amqp_url)._replace(vhost="nowhere"))
    assert refused.value.code == 530


def test_user_without_permission_for_the_virtual_host_is_refused(amqp_url: str, rabbitmq: Any) -> None:
    rabbitmq.eval('rabbit_auth_backend_internal:add_user(<<"poor">>, <<"poor">>, <<"tests">>)')
    try:
        with pytest.raises(ConnectionRefused, match="permissions there"):
            Link.open(parse(amqp_url)._replace(user="poor", password="poor"))
    finally:
        rabbitmq.eval('rabbit_auth_backend_internal:delete_user(<<"poor">>, <<"tests">>)')


def test_password_of_any_letters_is_taken(amqp_url: str, rabbitmq: Any) -> None:
    rabbitmq.eval('rabbit_auth_backend_internal:add_user(<<"odd">>, <<"p\\"@/:ß"/utf8>>, <<"tests">>)')
    try:
        for method in ("PLAIN", "AMQPLAIN"):
            with pytest.raises(ConnectionRefused, match="permissions there"):  # so the password was right
                Link.open(parse(amqp_url)._replace(user="odd", password='p"@/:ß'), login_method=method)
    finally:
        rabbitmq.eval('rabbit_auth_backend_internal:delete_user(<<"odd">>, <<"tests">>)')


def test_broker_that_takes_no_more_connections_may_do_so_later(amqp_url: str, rabbitmq: Any) -> None:
    vhost = parse(amqp_url).vhost
    limit = 'rabbit_vhost_limit:{}(<<"{}">>, {} <<"tests">>)'
    rabbitmq.eval(limit.format("set", vhost, '[{<<"max-connections">>, 0}],'))
    try:
        with pytest.raises(ConnectionFailed, match=r"takes no connection.*limit"):
            Link.open(parse(amqp_url))
    finally:
        rabbitmq.eval(limit.format("clear", vhost, ""))


def test_port_where_nobody_listens(listener: socket.socket) -> None:
    target = target_of(listener)
    listener.close()
    with pytest.raises(ConnectionFailed) as failed:
        Link.open(target)
    assert isinstance(failed.value, TransportError)
    assert str(failed.value) == (f"cannot reach RabbitMQ at {target.where}: connection refused; is the server running,"
                                 " and is this its port?")


def test_host_that_has_no_address() -> None:
    with pytest.raises(ConnectionFailed, match=r"at no-such-host\.invalid:5672: the name cannot be resolved"):
        Link.open(Target("no-such-host.invalid"))


def test_host_that_swallows_everything_costs_no_more_than_the_timeout() -> None:
    """A full backlog takes no connection and refuses none: the first packets vanish as behind a firewall."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        with socket.create_connection(full.getsockname()):
            started = time.monotonic()
            with pytest.raises(ConnectionFailed, match=r"no answer in 0\.2 s; check address and firewall"):
                Link.open(target_of(full), connect_timeout_s=0.2)
    assert time.monotonic() - started < 5


def test_server_that_says_nothing_costs_no_more_than_the_timeout(listener: socket.socket) -> None:
    started = time.monotonic()
    with pytest.raises(ConnectionFailed, match=r"no answer in 0\.\d* s \(at the protocol header\); is this its AMQP"):
        Link.open(target_of(listener), connect_timeout_s=0.2)
    assert time.monotonic() - started < 5


def test_server_that_stops_half_way_costs_no_more_than_the_timeout(listener: socket.socket) -> None:
    def script(peer: socket.socket) -> None:
        peer.sendall(start_frame())
        while peer.recv(1000):
            pass

    talking = scripted(listener, script)
    started = time.monotonic()
    with pytest.raises(ConnectionFailed, match=r"no answer in .* s \(at the login\)"):
        Link.open(target_of(listener), connect_timeout_s=0.3)
    assert time.monotonic() - started < 5
    talking.join()


def test_server_of_another_kind(listener: socket.socket) -> None:
    talking = scripted(listener, lambda peer: peer.sendall(b"-ERR unknown command\r\n"))
    with pytest.raises(ConnectionFailed, match="it sent what is no AMQP"):
        Link.open(target_of(listener))
    talking.join()


def test_server_that_hangs_up_at_once(listener: socket.socket) -> None:
    talking = scripted(listener, lambda peer: None)
    with pytest.raises(ConnectionFailed, match=r"at the protocol header\); is this its AMQP port"):
        Link.open(target_of(listener))
    talking.join()


def test_old_server_hangs_up_at_a_wrong_password(listener: socket.socket) -> None:
    def script(peer: socket.socket) -> None:
        peer.recv(8)
        peer.sendall(start_frame())
        peer.recv(1000)

    talking = scripted(listener, script)
    with pytest.raises(ConnectionRefused, match="which is how it refuses a password") as refused:
        Link.open(target_of(listener))
    assert refused.value.code == 403
    talking.join()


def test_server_that_crashes_at_the_login_did_not_refuse(listener: socket.socket) -> None:
    def script(peer: socket.socket) -> None:
        peer.recv(8)
        peer.sendall(start_frame(authentication_failure_close=True))
        peer.recv(1000)

    talking = scripted(listener, script)
    with pytest.raises(ConnectionFailed, match=r"\(at the login\); the broker's log may tell more"):
        Link.open(target_of(listener))
    talking.join()


def test_only_what_the_broker_offers_is_announced(listener: socket.socket) -> None:
    heard: list[bytes] = []

    def script(peer: socket.socket) -> None:
        peer.recv(8)
        peer.sendall(start_frame(consumer_cancel_notify=True, per_consumer_qos=True))
        heard.append(peer.recv(1000))

    talking = scripted(listener, script)
    with pytest.raises(ConnectionRefused):
        Link.open(target_of(listener), client_properties={"connection_name": "mine"})
    talking.join()
    decoder = amqp.Decoder()
    decoder.feed(heard[0])
    event = decoder.next()
    assert event is not None
    properties, mechanism, response, locale = event[2]
    assert properties["capabilities"] == {"consumer_cancel_notify": True}
    assert (properties["product"], properties["connection_name"]) == ("fastq", "mine")
    assert (mechanism, response, locale) == ("PLAIN", "\0guest\0guest", "en_US")


def test_limits_of_zero_mean_none(listener: socket.socket) -> None:
    def script(peer: socket.socket) -> None:
        peer.recv(8)
        peer.sendall(start_frame())
        peer.recv(1000)
        peer.sendall(amqp.method(0, METHODS["connection.tune"], 0, 0, 0))
        peer.recv(1000)
        peer.sendall(amqp.method(0, METHODS["connection.open-ok"]))
        peer.recv(1000)

    talking = scripted(listener, script)
    link = Link.open(target_of(listener), heartbeat_s=9.5, channel_max=0, frame_max=8192)
    assert (link.channel_max, link.frame_max, link.heartbeat_s) == (65535, 8192, 10.0)
    link.abandon()
    talking.join()


def test_login_method_that_is_unknown_here(amqp_url: str) -> None:
    with pytest.raises(ConfigError, match="'GSSAPI' is not known; known: PLAIN"):
        Link.open(parse(amqp_url), login_method="GSSAPI")


def test_login_method_that_the_broker_does_not_offer(amqp_url: str) -> None:
    with pytest.raises(ConnectionRefused, match="offers no login by EXTERNAL, but by"):
        Link.open(parse(amqp_url), login_method="EXTERNAL")
