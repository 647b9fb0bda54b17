"""The options of a broker on Redis: those in its address, those of the settings, and what the app adds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from fastq.exceptions import ConfigError
from fastq.net.tls import TlsOption
from fastq.transport.redis_keys import SEP, STEPS, Keys
from fastq.transport.redis_target import Target, mask
from fastq.transport.redis_way import Way
from fastq.transport.url import choice, merge_options, number
from fastq.wire.entity import Queue

OF_CELERY = (
    "ack_emulation", "body_encoding", "connect_retries_timeout", "deadletter_queue", "interval_max", "interval_start",
    "interval_step", "max_connections", "max_retries", "min_other_sentinels", "polling_interval", "retry_on_timeout",
    "sentinel_fanout_compat", "socket_keepalive", "socket_keepalive_options", "unacked_mutex_expire",
    "unacked_mutex_key", "unacked_restore_interval", "unacked_restore_limit", "unacked_restore_throttle",
)
"""Options that Celery takes and that mean nothing here: connections are few and always have keepalive, what broke is
made anew, messages are always acknowledged, a dead worker's come back by its lease, and any number of workers may put
back what Celery's left, as much as there is."""

RENAMED = {"socket_timeout": "reply_timeout_s", "socket_connect_timeout": "connect_timeout_s",
           "health_check_interval": "health_check_s"}
"""Celery's names of options -> ours."""


def _any_queue(name: str) -> Queue | None:
    return Queue(name, name, name)


def _no_queues(exchange: str) -> Iterable[Queue]:
    return ()


def _no_names() -> Iterable[str]:
    return ()


class RedisOptions(NamedTuple):
    """How a broker is reached and used; seconds, unless a name says otherwise.

    ``queue_of``, ``bound_to`` and ``known`` tell of the app's queues. ``publish_timeout_s`` bounds all that a producer
    waits for. ``visibility_timeout`` and the ``unacked_`` names are those of the Celery workers that share the broker.
    """

    death_limit: int = 3
    queue_of: Callable[[str], Queue | None] = _any_queue
    bound_to: Callable[[str], Iterable[Queue]] = _no_queues
    known: Callable[[], Iterable[str]] = _no_names
    connect_timeout_s: float = 4.0
    publish_timeout_s: float = 5.0
    reply_timeout_s: float = 5.0
    health_check_s: float = 25.0
    failover: str | Callable[[list[Target]], Any] = "round-robin"
    ssl: TlsOption = None
    client_name: str = "fastq"
    credential_provider: Any = None
    master_name: str = ""
    sentinel_kwargs: Mapping[str, Any] = {}
    result_prefix: str = "celery-task-meta-"
    kept_lease_s: float = 30.0
    reconnects: bool = True
    global_keyprefix: str = ""
    priority_steps: tuple[int, ...] = STEPS
    sep: str = SEP
    queue_order_strategy: str = "round_robin"
    fanout_prefix: str = "/{db}."
    fanout_patterns: bool = True
    visibility_timeout: float = 3600.0
    unacked_key: str = "unacked"
    unacked_index_key: str = "unacked_index"

    @classmethod
    def read(cls, url: str, query: Mapping[str, str], options: Mapping[str, Any]) -> RedisOptions:
        """Read the options of an address and of settings. Raises ConfigError."""
        found = merge_options(mask(url), query, options, (*cls._fields, *OF_CELERY, *RENAMED))
        # What a user says in Celery's words wins over what the app adds in ours.
        named = {RENAMED.get(name, name): value for name, value in sorted(found.items(), key=_is_celerys)
                 if value is not None}
        kept = {name: value for name, value in named.items() if name in cls._fields}
        read = {name: reader(name, kept[name]) for name, reader in _READERS.items() if name in kept}
        return cls(**{**kept, **read})

    def way(self, targets: Sequence[Target]) -> Way:
        """How to connect to *targets*."""
        completed = [target._replace(master=target.master or self.master_name) for target in targets]
        return Way(completed, self.failover, self.reply_timeout_s, self.sentinel_kwargs, self.credential_provider)

    def keys(self, targets: Sequence[Target]) -> Keys:
        """The names of keys in the database of *targets*."""
        return Keys(targets[0].prefix or self.global_keyprefix, self.priority_steps, self.sep, targets[0].db,
                    self.fanout_prefix, self.fanout_patterns)


def _is_celerys(pair: tuple[str, object]) -> bool:
    return pair[0] in RENAMED


_YES, _NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def _flag(name: str, value: object) -> bool:
    return value if isinstance(value, bool) else choice(name, value, (*_YES, *_NO)) in _YES


def _fanout_prefix(name: str, value: object) -> str:
    if isinstance(value, str) and value.lower() not in (*_YES, *_NO):
        return value
    return "/{db}." if _flag(name, value) else ""


def _steps(name: str, value: object) -> tuple[int, ...]:
    given = value.split(",") if isinstance(value, str) else value
    try:
        steps = tuple(sorted(int(step) for step in given))  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        steps = ()
    if not steps or steps[0] != 0 or steps[-1] > 255:
        raise ConfigError(f"option {name!r} must be numbers of which one is 0, such as [0, 3, 6, 9], not {value!r}")
    return steps


def _strategy(name: str, value: object) -> object:
    return value if callable(value) else choice(name, value, ("round-robin", "shuffle"))


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"option {name!r} must be text, not {value!r}")
    return value


def _table(name: str, value: object) -> object:
    if not isinstance(value, Mapping):
        raise ConfigError(f"option {name!r} must be a mapping of names to values, not {value!r}")
    return value


def _callable(name: str, value: object) -> object:
    if not callable(value):
        raise ConfigError(f"option {name!r} must be a function, not {value!r}")
    return value


def _provider(name: str, value: object) -> object:
    if not hasattr(value, "get_credentials"):
        raise ConfigError(f"option {name!r} must have a method get_credentials(), which returns user and password; "
                          f"{value!r} has none")
    return value


def _seconds(least: float) -> Callable[[str, object], float]:
    return lambda name, value: number(name, value, least)


_READERS: dict[str, Callable[[str, object], Any]] = {
    "death_limit": lambda name, value: int(number(name, value, 1)),
    **dict.fromkeys(("queue_of", "bound_to", "known"), _callable),
    **dict.fromkeys(("connect_timeout_s", "publish_timeout_s", "reply_timeout_s"), _seconds(0.1)),
    **dict.fromkeys(("health_check_s", "kept_lease_s", "visibility_timeout"), _seconds(0)),
    "failover": _strategy,
    "credential_provider": _provider,
    "sentinel_kwargs": _table,
    "priority_steps": _steps,
    "queue_order_strategy": lambda name, value: choice(name, value, ("round_robin", "priority", "sorted")),
    "fanout_prefix": _fanout_prefix,
    **dict.fromkeys(("fanout_patterns", "reconnects"), _flag),
    **dict.fromkeys(("client_name", "master_name", "global_keyprefix", "result_prefix", "sep", "unacked_key",
                     "unacked_index_key"), _text),
}
