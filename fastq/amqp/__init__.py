"""AMQP 0-9-1: a client for RabbitMQ with py-librabbitmq's API, usable without the rest of fastq.

    from fastq.amqp import Connection

    with Connection("localhost") as connection, connection.channel() as channel:
        channel.queue_declare("tasks", durable=True)
        channel.basic_publish(b"{}", routing_key="tasks", content_type="application/json", delivery_mode=2)

Otherwise than there: a channel that the broker closed stays closed (make a new one), errors carry ``reply_code`` and
``reply_text``, bodies are always bytes, ``nowait`` and ``auto_delete`` are heeded, TLS, confirms and transactions work.
"""

from __future__ import annotations

import sys

from fastq.amqp.channel import Channel
from fastq.amqp.connection import Connection
from fastq.amqp.error import ChannelError, ConnectionError
from fastq.amqp.message import Message
from fastq.amqp.topology import queue_declare_ok_t

__all__ = ("Channel", "ChannelError", "Connection", "ConnectionError", "Message", "install_as_librabbitmq",
           "queue_declare_ok_t")

__version__ = "2.0.0"
"""The version of py-librabbitmq whose API this is; kombu shows it as the driver's."""


def install_as_librabbitmq() -> None:
    """Make ``import librabbitmq`` give this package, so that kombu's ``librabbitmq://`` transport runs on it.

    Call it before kombu opens its first connection.

    Example::

        fastq.amqp.install_as_librabbitmq()
        kombu.Connection("librabbitmq://guest:guest@localhost:5672//").connect()
    """
    sys.modules["librabbitmq"] = sys.modules[__name__]
