"""The result stores. `open` is the one place where an address becomes an implementation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from fastq.backends.base import ResultStore
from fastq.exceptions import ConfigError
from fastq.transport.url import scheme_of

SCHEMES = {
    "sqlite": "fastq.backends.sqlite",
    "memory": "fastq.backends.memory",
    "rpc": "fastq.backends.rpc",
    **dict.fromkeys(("redis", "rediss", "redis+socket", "unix", "sentinel", "redis+cluster",
                     "rediss+cluster"), "fastq.backends.redis"),
}


def open(url: str, options: Mapping[str, object] | None = None) -> ResultStore:
    """Open the result store at *url*. Raises ConfigError for a wrong address, BackendError when it is not to be had.

    Example::

        store = open("sqlite:///tasks.db")
        documents = store.wait(["0190..."], timeout=10)
    """
    if url.partition("://")[0].lower() in ("amqp", "amqps", "pyamqp"):
        raise ConfigError("RabbitMQ keeps no results under amqp://; result_backend = 'rpc://' sends each back to the "
                          "process that sent the task, over the app's own broker")
    module = import_module(SCHEMES[scheme_of(url, SCHEMES)])
    opened: ResultStore = module.open_url(url, options or {})
    return opened
