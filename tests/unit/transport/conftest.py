"""Connections to RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.transport import amqp
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import Desk


@pytest.fixture
def open_desk(amqp_url: str) -> Iterator[Callable[[], Desk]]:
    """Open one more connection to the broker; all are closed at the end."""
    opened: list[Desk] = []

    def open_one() -> Desk:
        opened.append(Desk(amqp_url))
        return opened[-1]

    yield open_one
    for desk in opened:
        desk.close()


@pytest.fixture
def desk(open_desk: Callable[[], Desk]) -> Desk:
    """A connection to an empty virtual host."""
    return open_desk()


@pytest.fixture
def proxy(rabbitmq: RabbitMQ) -> Iterator[Proxy]:
    """What stands between a transport and the broker."""
    with Proxy(rabbitmq.port) as opened:
        yield opened


@pytest.fixture
def impatient(rabbitmq: RabbitMQ) -> Iterator[None]:
    """A broker that waits a second for each ack, and looks often; to channels opened from now on."""
    usual = [(name, rabbitmq.eval(f"element(2, application:get_env(rabbit, {name}))"))
             for name in ("consumer_timeout", "channel_tick_interval")]
    for name, value in (("consumer_timeout", 1000), ("channel_tick_interval", 200)):
        rabbitmq.eval(f"application:set_env(rabbit, {name}, {value})")
    yield
    for name, value in usual:
        rabbitmq.eval(f"application:set_env(rabbit, {name}, {value})")


@pytest.fixture
def open_amqp(amqp_url: str) -> Iterator[Callable[..., amqp.AmqpTransport]]:
    """Open one more transport, at the broker or at another address; all are closed at the end."""
    opened: list[amqp.AmqpTransport] = []

    def open_one(url: str | list[str] | None = None, **options: Any) -> amqp.AmqpTransport:
        opened.append(amqp.open_url(amqp_url if url is None else url, options))
        return opened[-1]

    yield open_one
    for transport in opened:
        transport.close()
