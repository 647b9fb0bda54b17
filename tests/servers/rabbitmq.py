"""A RabbitMQ for the whole run, started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fastq.bench.servers import ServerMissing
from fastq.bench.servers.rabbitmq import RabbitMQ
from tests.servers import STANDING

IMPATIENT_S = 4


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitMQ]:
    """The server. A test that stops, kills or alarms it need not heal it: `amqp_url` does."""
    try:
        server = RabbitMQ(tmp_path_factory.mktemp("rabbitmq"))
    except ServerMissing as missing:
        pytest.skip(str(missing))
    STANDING.append(server)
    try:
        with server:
            yield server
    finally:
        STANDING.remove(server)


@pytest.fixture
def amqp_url(rabbitmq: RabbitMQ) -> Iterator[str]:
    """The address of an empty virtual host."""
    url = rabbitmq.vhost()
    yield url
    rabbitmq.reclaim(url)


@pytest.fixture
def impatient(rabbitmq: RabbitMQ) -> Iterator[None]:
    """Have the broker wait `IMPATIENT_S` for each ack, and look often; on channels opened from now on."""
    usual = [(name, rabbitmq.eval(f"element(2, application:get_env(rabbit, {name}))"))
             for name in ("consumer_timeout", "channel_tick_interval")]
    for name, value in (("consumer_timeout", IMPATIENT_S * 1000), ("channel_tick_interval", 200)):
        rabbitmq.eval(f"application:set_env(rabbit, {name}, {value})")
    yield
    for name, value in usual:
        rabbitmq.eval(f"application:set_env(rabbit, {name}, {value})")
