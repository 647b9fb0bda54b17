"""What the tests of the AMQP client share: connections to the broker, and a peer that says what a test wants."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastq.amqp import Connection
from fastq.amqp.link import Link
from fastq.amqp.target import parse


@pytest.fixture
def link(amqp_url: str) -> Iterator[Link]:
    made = Link.open(parse(amqp_url))
    yield made
    made.close()


@pytest.fixture
def connect(amqp_url: str) -> Iterator[Callable[..., Connection]]:
    """Makes connections to the test's own virtual host, and closes them at its end."""
    target, made = parse(amqp_url), []

    def connect(**options: Any) -> Connection:
        made.append(Connection(target.host, port=target.port, virtual_host=target.vhost, **options))
        return made[-1]

    yield connect
    for connection in made:
        connection.close()


@pytest.fixture
def connection(connect: Callable[..., Connection]) -> Connection:
    return connect()


@pytest.fixture
def channel(connection: Connection) -> Any:
    return connection.channel()


@pytest.fixture
def wire() -> Iterator[tuple[Link, socket.socket]]:
    """A link as if its opening were done, and the other end of its socket."""
    ours, peer = socket.socketpair()
    ours.setblocking(False)
    link = Link(ours, "peer:5672")
    link.channel_max = 10
    link.channels.add(1)
    yield link, peer
    link.abandon()
    peer.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A port where the test itself answers."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield listening
