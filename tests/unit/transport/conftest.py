"""Connections to RabbitMQ, and a look behind Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.transport import amqp
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import Desk, OpenAs
from tests.unit.transport.redisdesk import Server


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
def open_amqp(amqp_url: str) -> Iterator[Callable[..., amqp.AmqpTransport]]:
    """Open one more transport, at the broker or at another address; all are closed at the end."""
    opened: list[amqp.AmqpTransport] = []

    def open_one(url: str | list[str] | None = None, **options: Any) -> amqp.AmqpTransport:
        opened.append(amqp.open_url(amqp_url if url is None else url, options))
        return opened[-1]

    yield open_one
    for transport in opened:
        transport.close()


@pytest.fixture
def open_as(rabbitmq: RabbitMQ, amqp_url: str, open_amqp: Callable[..., amqp.AmqpTransport]) -> Iterator[OpenAs]:
    """Open a transport as a user who may configure and read only queues whose names match."""
    vhost = amqp_url.rpartition("/")[2]

    def open_as(configure: str, read: str) -> amqp.AmqpTransport:
        rabbitmq.eval('rabbit_auth_backend_internal:add_user(<<"some">>, <<"body">>, <<"test">>)')
        rabbitmq.eval(f'rabbit_auth_backend_internal:set_permissions(<<"some">>, <<"{vhost}">>, <<"{configure}">>,'
                      f' <<".*">>, <<"{read}">>, <<"test">>)')
        return open_amqp(amqp_url.replace("guest:guest", "some:body"))

    yield open_as
    rabbitmq.eval('rabbit_auth_backend_internal:delete_user(<<"some">>, <<"test">>)')


@pytest.fixture
def server(redis_url: str) -> Iterator[Server]:
    """An empty database, as another client sees it."""
    opened = Server(redis_url)
    yield opened
    opened.client.close()
