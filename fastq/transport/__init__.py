"""The transports. `open` is the one place where an address becomes an implementation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

from fastq.exceptions import ConfigError
from fastq.transport.base import Transport
from fastq.transport.url import scheme_of, split_urls

SCHEMES = {
    "sqlite": "fastq.transport.sqlite",
    "memory": "fastq.transport.memory",
    "amqp": "fastq.transport.amqp",
    "amqps": "fastq.transport.amqp",
    "pyamqp": "fastq.transport.amqp",
    "librabbitmq": "fastq.transport.amqp",
    "redis": "fastq.transport.redis",
    "rediss": "fastq.transport.redis",
    "redis+socket": "fastq.transport.redis",
    "unix": "fastq.transport.redis",
    "sentinel": "fastq.transport.redis",
    "redis+cluster": "fastq.transport.redis_shards",
    "rediss+cluster": "fastq.transport.redis_shards",
}

_EMBEDDED = ("death_limit",)
_AMQP = (
    "bound_to", "children", "connect_timeout_s", "death_limit", "delayed_queue_type", "failover", "heartbeat_s",
    "known", "login_method", "queue_of", "result_content", "ssl",
)
_REDIS = ("bound_to", "connect_timeout_s", "death_limit", "failover", "kept_lease_s", "known", "queue_of",
          "reconnects", "result_prefix", "ssl")
_OF_MODULE = {"sqlite": _EMBEDDED, "memory": _EMBEDDED, "amqp": _AMQP, "redis": _REDIS, "redis_shards": _REDIS}
TOLD: dict[str, tuple[str, ...]] = {
    scheme: _OF_MODULE[module.rpartition(".")[2]] for scheme, module in SCHEMES.items()
}
"""What an app tells a transport of each scheme of its own accord; it would refuse other options."""


def open(url: str | Sequence[str], options: Mapping[str, object] | None = None) -> Transport:
    """Open the transport at *url*.

    It may be several addresses of one kind, in a list or joined by ';': the brokers of one cluster, tried in turn.
    Raises ConfigError for a wrong address, TransportError when it is not to be had.

    Example::

        transport = open("sqlite:///tasks.db?synchronous=full")
        transport.publish_one("celery", content)
    """
    urls = split_urls(url)
    module = import_module(_module_of(urls))
    opened: Transport = module.open_url(urls[0] if len(urls) == 1 else urls, options or {})
    return opened


def _module_of(urls: Sequence[str]) -> str:
    found = {SCHEMES[scheme_of(url, SCHEMES)] for url in urls}
    if len(found) > 1:
        raise ConfigError("several brokers have to be of one kind, so that one can stand in for another; these are "
                          f"{', '.join(sorted({scheme_of(url, SCHEMES) for url in urls}))}")
    (module,) = found
    if len(urls) > 1 and _OF_MODULE[module.rpartition(".")[2]] is _EMBEDDED:
        raise ConfigError(f"{urls[0]!r} is a broker in a file or in memory, which no other can stand in for; name one")
    return module
