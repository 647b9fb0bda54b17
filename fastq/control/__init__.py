"""Remote control: how requests reach every worker. `open` is the one place where an address becomes a mailbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from fastq import transport
from fastq.control.mailbox import Mailbox
from fastq.exceptions import ConfigError
from fastq.transport.url import scheme_of

_MODULES = {"sqlite": "fastq.control.sqlite", "memory": "fastq.control.sqlite", "amqp": "fastq.control.amqp",
            "redis": "fastq.control.redis"}


def is_possible(url: str) -> bool:
    """Tell whether workers at *url* can be reached: on a cluster of Redis they cannot."""
    return _kind_of(url) in _MODULES


def open(urls: Sequence[str], options: Mapping[str, object], name: str = "celery") -> Mailbox:
    """Connect to the mailbox at *urls*, which are those of the broker; *options* are a transport's.

    *name* is the setting ``control_exchange``. Raises ConfigError, TransportError.
    """
    kind = _kind_of(urls[0])
    if kind not in _MODULES:
        raise ConfigError(f"remote control does not work over {urls[0].partition('://')[0]}://: a cluster of Redis has "
                          "no channel that reaches all workers in order; use one server, or RabbitMQ")
    opened: Mailbox = import_module(_MODULES[kind]).open_urls(urls, options, name)
    return opened


def _kind_of(url: str) -> str:
    return transport.SCHEMES[scheme_of(url, transport.SCHEMES)].rpartition(".")[2]
