"""The transports. `open` is the one place where an address becomes an implementation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from fastq.transport.base import Transport
from fastq.transport.url import scheme_of

SCHEMES = {
    "sqlite": "fastq.transport.sqlite",
    "memory": "fastq.transport.memory",
}


def open(url: str, options: Mapping[str, object] | None = None) -> Transport:
    """Open the transport at *url*. Raises ConfigError for a wrong address, TransportError when it is not to be had.

    Example::

        transport = open("sqlite:///tasks.db?synchronous=full")
        transport.publish_one("celery", content)
    """
    module = import_module(SCHEMES[scheme_of(url, SCHEMES)])
    opened: Transport = module.open_url(url, options or {})
    return opened
