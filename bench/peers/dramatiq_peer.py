"""Dramatiq on RabbitMQ, as lean as its documentation allows: of its middleware only Retries.

Its messages are always persistent and its queues classic. It keeps no results in RabbitMQ.
"""

# mypy: disable-error-code="import-not-found,import-untyped,untyped-decorator"

from __future__ import annotations

import os

import dramatiq
from bell import ring
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.middleware import Retries

broker = RabbitmqBroker(url=os.environ["BENCH_BROKER_URL"], middleware=[Retries()])
dramatiq.set_broker(broker)

HOUR_MS = 3_600_000


@dramatiq.actor
def noop() -> None:
    pass


@dramatiq.actor
def marker(name: str) -> None:
    ring(name)


call = noop.send
mark = marker.send


def call_later() -> None:
    noop.send_with_options(delay=HOUR_MS)
