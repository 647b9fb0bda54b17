"""The options of an AMQP address: those in its query, those of the settings, and what the app adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from fastq.amqp.target import Target
from fastq.exceptions import ConfigError
from fastq.net.tls import TlsOption
from fastq.transport.url import choice, merge_options, number
from fastq.wire.entity import Queue

OF_CELERY = (
    "interval_start", "interval_step", "interval_max", "max_retries", "connect_retries_timeout", "read_timeout",
    "write_timeout", "queue_order_strategy", "fanout_prefix", "fanout_patterns", "visibility_timeout",
)
"""Options that Celery's transports take and that mean nothing here."""

LOGINS = ("plain", "amqplain", "external")


def _any_queue(name: str) -> Queue | None:
    return Queue(name, name, name)


def _no_queues(exchange: str) -> Iterable[Queue]:
    return ()


def _no_names() -> Iterable[str]:
    return ()


class AmqpOptions(NamedTuple):
    """How a broker is reached and used; seconds, unless a name says otherwise.

    ``children`` is how many tasks the worker runs at a time. ``queue_of`` tells what to declare for a queue's name,
    None for nothing; ``bound_to`` the known queues of an exchange, ``known`` the names of all. ``confirm_publish``
    makes every single publish wait for its confirm. ``publish_timeout_s`` bounds all that a producer waits for.
    ``hold_s`` is how long a delivery is held before a copy takes its place: at most half of the broker's
    ``consumer_timeout``; 0: for ever.
    """

    death_limit: int = 3
    children: int = 1000
    queue_of: Callable[[str], Queue | None] = _any_queue
    bound_to: Callable[[str], Iterable[Queue]] = _no_queues
    known: Callable[[], Iterable[str]] = _no_names
    heartbeat_s: float = 60.0
    connect_timeout_s: float = 4.0
    publish_timeout_s: float = 5.0
    confirm_publish: bool = False
    hold_s: float = 900.0
    failover: str | Callable[[list[Target]], Any] = "round-robin"
    delayed_queue_type: str = "quorum"
    dead_queue_type: str = "classic"
    login_method: str = "PLAIN"
    client_properties: Mapping[str, Any] = {}
    ssl: TlsOption = None
    result_content: tuple[str, str] = ("application/json", "utf-8")

    @classmethod
    def read(cls, url: str, query: Mapping[str, str], options: Mapping[str, Any]) -> AmqpOptions:
        """Read the options of an address and of settings. Raises ConfigError."""
        found = merge_options(url, query, options, (*cls._fields, *OF_CELERY))
        kept = {name: value for name, value in found.items() if name in cls._fields and value is not None}
        read = {name: reader(name, kept[name]) for name, reader in _READERS.items() if name in kept}
        return cls(**{**kept, **read})  # type: ignore[arg-type]


def _flag(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return value
    return choice(name, value, (*_YES, *_NO)) in _YES


def _strategy(name: str, value: object) -> object:
    return value if callable(value) else choice(name, value, ("round-robin", "shuffle"))


def _table(name: str, value: object) -> object:
    if not isinstance(value, Mapping):
        raise ConfigError(f"option {name!r} must be a mapping of names to values, not {value!r}")
    return value


def _callable(name: str, value: object) -> object:
    if not callable(value):
        raise ConfigError(f"option {name!r} must be a function, not {value!r}")
    return value


_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_READERS: dict[str, Callable[[str, object], object]] = {
    "death_limit": lambda name, value: int(number(name, value, 1)),
    "children": lambda name, value: int(number(name, value, 1)),
    "queue_of": _callable,
    "bound_to": _callable,
    "known": _callable,
    "heartbeat_s": lambda name, value: number(name, value, 0),
    "connect_timeout_s": lambda name, value: number(name, value, 0.1),
    "publish_timeout_s": lambda name, value: number(name, value, 0.1),
    "confirm_publish": _flag,
    "hold_s": lambda name, value: number(name, value, 0),
    "failover": _strategy,
    "delayed_queue_type": lambda name, value: choice(name, value, ("quorum", "classic")),
    "dead_queue_type": lambda name, value: choice(name, value, ("quorum", "classic")),
    "login_method": lambda name, value: choice(name, value, LOGINS).upper(),
    "client_properties": _table,
}
