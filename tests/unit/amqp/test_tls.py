"""TLS against the broker, with certificates made here."""

from __future__ import annotations

import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fastq._ext import amqp, envelope
from fastq._ext.amqp import METHODS
from fastq.amqp import Connection
from fastq.amqp.error import ConnectionFailed
from fastq.amqp.link import Link
from fastq.amqp.target import Target, parse
from fastq.exceptions import ConfigError
from fastq.net import tls
from tests.servers.authority import Authority


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


LISTEN = """
    application:ensure_all_started(ssl),
    rabbit_networking:start_ssl_listener({{"127.0.0.1", {port}}}, [
        {{cacertfile, "{ca}"}}, {{certfile, "{cert}"}}, {{keyfile, "{key}"}},
        {{verify, verify_peer}}, {{fail_if_no_peer_cert, {demand}}}], 1)
"""


def tls_port(rabbitmq: Any, authority: Authority, demand: str) -> Iterator[int]:
    """Has the broker listen for TLS on another port."""
    served = authority.issue(f"server-{demand}", "IP:127.0.0.1,DNS:rabbit.example.org")
    with socket.create_server(("127.0.0.1", 0)) as trial:
        port = trial.getsockname()[1]
    rabbitmq.eval(LISTEN.format(port=port, ca=authority.ca_certs, cert=served["certfile"], key=served["keyfile"],
                                demand=demand))
    yield port
    rabbitmq.eval(f"[ranch:stop_listener(Name) || Name <- maps:keys(ranch:info()), ranch:get_port(Name) =:= {port}]")


@pytest.fixture(scope="module")
def port(rabbitmq: Any, authority: Authority) -> Iterator[int]:
    yield from tls_port(rabbitmq, authority, "false")


@pytest.fixture(scope="module")
def demanding_port(rabbitmq: Any, authority: Authority) -> Iterator[int]:
    yield from tls_port(rabbitmq, authority, "true")


def test_large_messages_over_a_checked_connection(port: int, amqp_url: str, authority: Authority) -> None:
    target = parse(amqp_url, {"ca_certs": authority.ca_certs})._replace(port=port)
    link = Link.open(target)
    channel = link.open_channel()
    link.call(channel, METHODS["queue.declare"], "q", False, False, False, False, False, {})
    for size in (0, 1, 16_384, 5_000_000):
        packed = envelope.pack({}, {}, b"\xff" * size)
        link.send(amqp.publish(amqp.publisher(channel, "", "q"), packed, link.frame_max))
        assert link.call(channel, METHODS["basic.get"], "q", True)[3] == packed
    assert not link.has_news()
    link.close()


def test_bytes_that_tls_holds_are_not_forgotten(port: int, amqp_url: str, authority: Authority) -> None:
    """The descriptor is silent once TLS has read a record: every message of it must come out all the same."""
    target = parse(amqp_url, {"ca_certs": authority.ca_certs})._replace(port=port)
    connection = Connection(target.host, port=port, virtual_host=target.vhost, ssl=target.ssl)
    channel, bodies = connection.channel(), []
    channel.queue_declare("q")
    channel.basic_consume("q", no_ack=True, callback=lambda message: bodies.append(message.body))
    for number in range(2000):
        channel.basic_publish(b"%d" % number, routing_key="q")
    while len(bodies) < 2000:
        connection.drain_events(timeout=5)
    assert bodies == [b"%d" % number for number in range(2000)]
    connection.close()


def test_certificate_of_an_unknown_authority_is_not_accepted(port: int) -> None:
    with pytest.raises(ConnectionFailed, match=r"its certificate is not accepted .*; set ca_certs"):
        Link.open(Target("127.0.0.1", port, ssl=True))


def test_certificate_for_another_name_is_not_accepted(port: int, authority: Authority) -> None:
    option = {"ca_certs": authority.ca_certs, "server_hostname": "other.example.org"}
    with pytest.raises(ConnectionFailed, match="Hostname mismatch"):
        Link.open(Target("127.0.0.1", port, ssl=option))


@pytest.mark.parametrize("more", [
    {"server_hostname": "rabbit.example.org"}, {"check_hostname": False, "server_hostname": "other.example.org"},
    {"cert_reqs": ssl.CERT_REQUIRED}, {"cert_reqs": "CERT_REQUIRED"}, {"cert_reqs": "optional"},
    {"ssl_cert_reqs": "none", "ca_certs": None}, {"cert_reqs": ssl.CERT_NONE, "ca_certs": None},
])
def test_options_are_those_of_celery(port: int, amqp_url: str, authority: Authority, more: dict[str, Any]) -> None:
    target = parse(amqp_url, {"ca_certs": authority.ca_certs, **more})._replace(port=port)
    Link.open(target).close()


def test_options_may_stand_in_the_address(port: int, amqp_url: str, authority: Authority) -> None:
    vhost = parse(amqp_url).vhost
    Link.open(parse(f"amqps://127.0.0.1:{port}/{vhost}?ssl_ca_certs={authority.ca_certs}")).close()


def test_ready_context_is_taken_as_it_is(port: int, amqp_url: str, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=authority.ca_certs)
    for option in (context, {"context": context}):
        Link.open(parse(amqp_url, option)._replace(port=port)).close()


def test_broker_that_wants_to_know_the_client(demanding_port: int, amqp_url: str, authority: Authority) -> None:
    known = {"ca_certs": authority.ca_certs, **authority.issue("client", "DNS:client")}
    Link.open(parse(amqp_url, known)._replace(port=demanding_port)).close()
    with pytest.raises(ConnectionFailed):
        Link.open(parse(amqp_url, {"ca_certs": authority.ca_certs})._replace(port=demanding_port))


def test_port_without_tls_says_so(rabbitmq: Any) -> None:
    with pytest.raises(ConnectionFailed, match="the port does not speak TLS; RabbitMQ's port for TLS is 5671"):
        Link.open(Target("127.0.0.1", rabbitmq.port, ssl=True))


def test_port_with_tls_spoken_to_without_hints_at_it(port: int) -> None:
    with pytest.raises(ConnectionFailed, match=r"does it expect TLS \(amqps://\)"):
        Link.open(Target("127.0.0.1", port))


def test_peer_that_never_answers_the_tls_greeting(listener: socket.socket) -> None:
    with pytest.raises(ConnectionFailed, match=r"no answer in 0\.\d s"):
        Link.open(Target("127.0.0.1", listener.getsockname()[1], ssl=True), connect_timeout_s=0.2)


@pytest.mark.parametrize(("option", "says"), [
    ({"ca_cert": "x"}, "unknown TLS option 'ca_cert'; known: ca_certs"),
    ({"cert_reqs": "perhaps"}, "'cert_reqs' cannot be 'perhaps'; known: required, optional, none"),
    ({"ca_certs": "/no/such/file"}, "ca_certs='/no/such/file' are not usable"),
    ({"certfile": "/no/such/file"}, "certfile='/no/such/file' are not usable"),
    ({"ciphers": "NOSUCH"}, "are not usable"),
    ({"context": "x"}, "'context' must be an ssl.SSLContext"),
])
def test_wrong_option_shows_before_any_connection(option: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError) as wrong:
        Link.open(Target("no-such-host.invalid", ssl=option))
    assert says in str(wrong.value)


def test_default_is_to_check_certificate_and_name() -> None:
    context = tls.build(True, "rabbit").context
    assert context.verify_mode == ssl.CERT_REQUIRED and context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_ssl_is_not_loaded_before_it_is_used() -> None:
    code = "import sys, fastq.amqp; sys.exit('ssl' in sys.modules or 'fastq.app' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
