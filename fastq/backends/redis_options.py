"""How a store of results on Redis is reached, and what is in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from fastq.exceptions import ConfigError
from fastq.net.tls import TlsOption
from fastq.transport.redis_target import mask, parse_many
from fastq.transport.redis_way import Way
from fastq.transport.url import merge_options, number, split_urls

OF_CELERY = (
    "additional_connection_errors", "fanout_patterns", "fanout_prefix", "health_check_interval", "max_connections",
    "priority_steps", "queue_order_strategy", "retry_on_timeout", "sep", "socket_keepalive", "visibility_timeout",
)
"""Options that Celery's users write here and that mean nothing to this store: a process has two connections at most,
with keepalive, and what was not answered is asked once more."""

RENAMED = {"socket_connect_timeout": "connect_timeout_s", "socket_timeout": "reply_timeout_s"}
"""Celery's names of options -> ours."""

_SECONDS = {"connect_timeout_s": 0.1, "reply_timeout_s": 0.1, "patience_s": 0.0}
_TEXTS = ("client_name", "global_keyprefix", "master_name", "password", "username")


class StoreOptions(NamedTuple):
    """Seconds where a name ends so. ``patience_s`` is how long who waits lets a server be away; ``retry_policy`` is
    Celery's way to say it. With ``result_chord_ordered`` false the values of a chord come in the order in which its
    members ended. ``credential_provider`` has ``get_credentials() -> (user, password)``.
    """

    serializer: str = "json"
    accept: Iterable[str] = ("json",)
    global_keyprefix: str = ""
    connect_timeout_s: float = 4.0
    reply_timeout_s: float = 5.0
    patience_s: float = 20.0
    retry_policy: Mapping[str, Any] | None = None
    ssl: TlsOption = None
    username: str = ""
    password: str = ""
    credential_provider: Any = None
    master_name: str = ""
    sentinel_kwargs: Mapping[str, Any] = {}
    client_name: str = "fastq-results"
    result_chord_ordered: bool = True

    @classmethod
    def read(cls, url: str, options: Mapping[str, object]) -> StoreOptions:
        """Read the *options* of settings for the store at *url*. Raises ConfigError."""
        given = merge_options(_masked(url), {}, options, (*cls._fields, *OF_CELERY, *RENAMED))
        # What a user says in Celery's words wins over what the app adds in ours.
        named = {RENAMED.get(name, name): value for name, value in sorted(given.items(), key=_is_celerys)
                 if value is not None}
        kept: dict[str, Any] = {name: value for name, value in named.items() if name in cls._fields}
        kept.update({name: number(name, kept[name], least) for name, least in _SECONDS.items() if name in kept})
        for name in _TEXTS:
            if not isinstance(kept.get(name, ""), str):
                raise ConfigError(f"option {name!r} must be text, not a {type(kept[name]).__name__}")
        if (policy := kept.get("retry_policy")) is not None:
            kept["patience_s"] = _patience_of(policy)
        return cls(**kept)

    def way(self, url: str) -> Way:
        """How to connect to the server at *url*; what it leaves open is filled in. Raises ConfigError."""
        targets = parse_many(url, self.ssl)
        for name in (name for target in targets for name in target.options):
            if name not in OF_CELERY:
                raise ConfigError(f"unknown option {name!r} in the address of the result store, {_masked(url)!r}")
        completed = [
            target._replace(username=target.username or self.username, password=target.password or self.password,
                            master=target.master or self.master_name) for target in targets]
        return Way(completed, "round-robin", self.reply_timeout_s, self.sentinel_kwargs, self.credential_provider)


def _masked(url: str) -> str:
    return ";".join(map(mask, split_urls(url)))


def _is_celerys(pair: tuple[str, object]) -> bool:
    return pair[0] in RENAMED


def _patience_of(policy: Any) -> float:
    """The seconds for which Celery would try again: by default 20 times, at once and then a second apart."""
    if not isinstance(policy, Mapping):
        raise ConfigError(f"option 'retry_policy' must be a mapping of names to numbers, not {policy!r}")

    def told(name: str, default: float) -> float:
        return number(f"retry_policy[{name!r}]", policy.get(name, default), 0)

    if policy.get("timeout") is not None:
        return told("timeout", 0)
    if policy.get("max_retries", 20) is None:
        return float(2**31)
    start, step, most = told("interval_start", 0), told("interval_step", 1), told("interval_max", 1)
    return sum(min(start + step * turn, max(start, most)) for turn in range(int(told("max_retries", 20))))
