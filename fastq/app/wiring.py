"""From settings to addresses and options: which brokers there are, and what a transport is told besides.

1. `broker_urls` finds the addresses: a URL, several for failover, or one put together from single settings.
2. `broker_options` says what a transport is told by its app; which of it a kind of transport takes, stands in
   `fastq.transport.TOLD`.
3. `result_url` finds where results are kept, `store_options` says what the store there is told, and `is_beside`
   whether a worker's broker is the same place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from fastq import backends, transport
from fastq.app import loader
from fastq.backends.redis_keys import task_prefix
from fastq.exceptions import ConfigError
from fastq.transport.redis_target import Target, parse_many
from fastq.transport.url import nearest, scheme_of, split_urls
from fastq.wire import serializers

AMQP = frozenset(name for name, module in transport.SCHEMES.items() if module == transport.SCHEMES["amqp"])
REDIS = frozenset(name for name, module in backends.SCHEMES.items() if module == backends.SCHEMES["redis"])
WITH_LOGIN = frozenset((*AMQP, "redis", "rediss", "redis+cluster", "rediss+cluster"))
"""Schemes whose addresses may be put together from single settings."""
EMBEDDED = ("sqlite:", "memory:")
RPC = "rpc://"

_PARTS = ("broker_user", "broker_password", "broker_port", "broker_vhost")
_STRATEGIES = ("round-robin", "shuffle")
_QUEUE_TYPES = ("quorum", "classic")
_LOGIN_METHODS = ("PLAIN", "AMQPLAIN", "EXTERNAL")


# --- addresses ---


def broker_urls(conf: Any, main: str | None, *, for_worker: bool = False) -> tuple[str, ...]:
    """Return the addresses of the brokers, the first to be tried first.

    Without any setting the preset Fastq means a file beside the program, Celery a RabbitMQ on this machine. User,
    password, port and virtual host that an address leaves open are taken from the settings of those names.
    """
    url = (conf.broker_read_url if for_worker else conf.broker_write_url) or conf.broker_url
    if url == conf.broker_host:  # which broker_url is, where only the host is set
        return (_default_url(conf, main),)
    return tuple(_completed(each, conf) for each in split_urls(url))


def _default_url(conf: Any, main: str | None) -> str:
    given = ("broker_host", "broker_transport", *_PARTS)
    if not any(getattr(conf, name) for name in given):
        return f"sqlite:///{main or 'fastq'}.fastq.db" if conf.preset == "Fastq" else "amqp://guest@localhost//"
    scheme = conf.broker_transport or "amqp"
    host = conf.broker_host or ("localhost" if scheme in WITH_LOGIN else "")
    return _completed(host if "://" in host else f"{scheme}://{host}", conf)


def _completed(url: str, conf: Any) -> str:
    scheme = url.partition("://")[0].lower()
    if scheme not in WITH_LOGIN or not any(getattr(conf, name) for name in _PARTS):
        return url
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    user, password = user or _quoted(conf.broker_user), password or _quoted(conf.broker_password)
    if conf.broker_port and ":" not in host.rpartition("]")[2]:
        host = f"{host}:{conf.broker_port}"
    nobody = "guest" if scheme in AMQP else ""
    login = f"{user or nobody}:{password}@" if password else f"{user}@" if user else ""
    path = parts.path
    if path in ("", "/") and conf.broker_vhost:
        path = f"/{_quoted(conf.broker_vhost)}"
    return urlunsplit(parts._replace(netloc=f"{login}{host}", path=path))


def _quoted(text: str | None) -> str:
    return quote(text or "", safe="")


def results_by_reply(url: str | None, brokers: Iterable[str]) -> bool:
    """Return whether results go back as messages: *url* is ``rpc://``. Raises ConfigError when no broker can do it."""
    if url != RPC:
        return False
    for broker in brokers:
        scheme = scheme_of(broker, transport.SCHEMES)
        if scheme not in AMQP:
            raise ConfigError(f"result_backend is rpc://, which sends results over RabbitMQ, but the broker is {scheme}://;"
                              " leave result_backend out, or set a store such as sqlite:///results.db")
    return True


DISABLED = ("disabled", "disabled://")
"""What Celery calls it to keep no results."""


def result_url(conf: Any, brokers: Sequence[str]) -> str | None:
    """Return where results are kept, as ``result_backend`` says; None where it says nothing. Raises ConfigError.

    The names alone will do: ``rpc``, and ``redis``, which means ``redis_host``, ``redis_port`` and ``redis_db``.
    """
    url = str(conf.result_backend or "")
    if not url:
        return None
    if url == "rpc" or url.startswith(RPC):
        results_by_reply(RPC, brokers)
        return RPC
    scheme, separator, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if scheme.lower() not in ("redis", "rediss") or place[:1] not in ("", "/", "?"):
        return url
    host = conf.redis_host or "localhost"
    server = f"{f'[{host}]' if ':' in host else host}:{conf.redis_port or 6379}"
    return f"{scheme}://{login}{at}{server}{place if separator else f'/{conf.redis_db or 0}'}"


def is_redis(url: str) -> bool:
    """Return whether *url* is an address of Redis."""
    return url.partition("://")[0].lower() in REDIS


def is_beside(conf: Any, url: str, brokers: Sequence[str]) -> bool:
    """Return whether the results at *url* are kept where the *brokers* are: on one server, in one database."""
    if not all(map(is_redis, (url, *brokers))):
        return {url} == set(brokers)
    return _places((url,), conf.result_backend_transport_options) == _places(brokers, conf.broker_transport_options)


def _places(urls: Sequence[str], options: Mapping[str, Any] | None) -> list[Target]:
    master = (options or {}).get("master_name", "")
    return [target._replace(prefix="", options={}, master=target.master or master) for target in parse_many(urls)]


# --- options ---


def broker_options(app: Any, *, for_worker: bool = False) -> dict[str, Any]:
    """Return what the settings and queues of *app* say to a transport; a value of None is left out.

    ``queue_of(name)`` is the queue to declare under a name or None, ``bound_to(exchange)`` are those that an exchange
    feeds, ``known()`` the names of all; of a `Broadcast` among these only a worker that consumes it declares more than
    the exchange.
    ``failover`` is "round-robin", "shuffle" or a callable that gets the list of addresses and yields them in order;
    ``ssl`` is True or a mapping. ``result_prefix`` stands before a task's id in the key of its result, for a transport
    that stores results with the acks; how long one is kept stands in each (`Result.expires_at`). Raises ConfigError.
    """
    conf = app.conf
    content_type, content_encoding, _ = serializers.dumps(None, conf.result_serializer)
    options = {
        "queue_of": lambda name: app.router.queues.declared(name),
        "bound_to": lambda exchange: app.router.queues.bound_to(exchange),
        "known": lambda: list(app.router.queues),
        # A client that only publishes has nobody to send heartbeats when it is idle: TCP watches its connection.
        "heartbeat_s": float(conf.broker_heartbeat or 0) if for_worker else 0.0,
        "delayed_queue_type": _one_of(conf, "broker_native_delayed_delivery_queue_type", _QUEUE_TYPES, str.lower),
        "result_content": (content_type, content_encoding),
        "result_prefix": task_prefix((conf.result_backend_transport_options or {}).get("global_keyprefix")),
        **_ways_to_connect(conf),
    }
    return {name: value for name, value in options.items() if value is not None}


def store_options(conf: Any, url: str, brokers: Sequence[str]) -> dict[str, Any]:
    """Return what the settings say to the store of results at *url*. Raises ConfigError."""
    found = _reply_options(conf, brokers) if url == RPC else \
        _redis_options(conf) if is_redis(url) else {}
    return {**found, **(conf.result_backend_transport_options or {})}


def _redis_options(conf: Any) -> dict[str, Any]:
    provider = conf.redis_backend_credential_provider
    if isinstance(provider, str):
        provider = loader.import_object(provider)()
    options = {
        "serializer": conf.result_serializer,
        "accept": conf.result_accept_content or conf.accept_content or (conf.result_serializer,),
        "connect_timeout_s": conf.redis_socket_connect_timeout,
        "reply_timeout_s": conf.redis_socket_timeout,
        "username": conf.redis_username,
        "password": conf.redis_password,
        "ssl": conf.redis_backend_use_ssl or None,
        "client_name": conf.redis_client_name,
        "credential_provider": provider,
    }
    return {name: value for name, value in options.items() if value is not None}


def _reply_options(conf: Any, urls: Sequence[str]) -> dict[str, Any]:
    kept = conf.result_expires
    options = {
        **_ways_to_connect(conf),
        "brokers": urls,
        "client_properties": (conf.broker_transport_options or {}).get("client_properties"),
        "serializer": conf.result_serializer,
        "accept": conf.result_accept_content or conf.accept_content or (conf.result_serializer,),
    }
    expires_s = kept.total_seconds() if isinstance(kept, timedelta) else kept
    return {**{name: value for name, value in options.items() if value is not None}, "expires_s": expires_s}


def _ways_to_connect(conf: Any) -> dict[str, Any]:
    return {
        "connect_timeout_s": conf.broker_connection_timeout,
        "ssl": conf.broker_use_ssl or None,
        "failover": _failover(conf.broker_failover_strategy),
        "login_method": _one_of(conf, "broker_login_method", _LOGIN_METHODS, str.upper),
    }


def _failover(strategy: Any) -> Any:
    if strategy is None or callable(strategy) or strategy in _STRATEGIES:
        return strategy
    raise ConfigError(f"broker_failover_strategy is {strategy!r}; it is one of {', '.join(map(repr, _STRATEGIES))}, or "
                      "a callable that gets the list of brokers and yields them in the order in which to try them")


def _one_of(conf: Any, setting: str, words: tuple[str, ...], cased: Callable[[str], str]) -> str | None:
    value = getattr(conf, setting)
    if value is None:
        return None
    word = cased(str(value))
    if word not in words:
        raise ConfigError(f"{setting} is {value!r}; {nearest(word, words)}")
    return word
