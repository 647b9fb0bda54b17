"""Addresses of Redis, as Celery's users write them. No I/O, and no password in any text.

====================================  ====================================================
``redis://user:password@host:6379/0``  TCP; what is left out is ``localhost:6379/0``
``rediss://...``                       the same with TLS; certificates are checked
``redis+socket:///path?virtual_host=0``  a unix socket, also as ``unix:///path?db=0``
``sentinel://h1:26379;sentinel://h2``  whoever the sentinels name; password and database are those of the master
``redis+cluster://h1;redis+cluster://h2``  nodes of a cluster, which know the others; ``rediss+cluster://`` with TLS
====================================  ====================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from fastq.exceptions import ConfigError
from fastq.net.tls import TlsOption
from fastq.transport.url import split_urls

TCP, TLS, SENTINEL = "redis", "rediss", "sentinel"
CLUSTERS = (CLUSTER, CLUSTER_TLS) = "redis+cluster", "rediss+cluster"
PATHS = ("redis+socket", "unix")
SCHEMES = (TCP, TLS, *PATHS, SENTINEL, *CLUSTERS)
_PORT, _SENTINEL_PORT = 6379, 26379
_PASSWORD = re.compile(r"(://[^/?#]*?:)(.*)@")


class Target(NamedTuple):
    """Where a server is, as whom to come, and which database to use; ``options`` is the rest of the query, as text.

    With ``sentinels`` they are asked where ``master`` is, and ``host`` and ``port`` mean nothing. ``prefix`` stands
    before every key and channel.
    """

    host: str = "localhost"
    port: int = _PORT
    path: str = ""
    db: int = 0
    username: str = ""
    password: str = ""
    ssl: TlsOption = None
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    prefix: str = ""
    options: Mapping[str, str] = {}
    is_clustered: bool = False
    """It is a node of a cluster."""

    @property
    def where(self) -> str:
        """``host:port/db``, for messages."""
        if self.sentinels:
            return f"{self.master or 'the master'} of sentinel " + ", ".join(map(_address, self.sentinels))
        return f"{self.path} db {self.db}" if self.path else f"{_address((self.host, self.port))}/{self.db}"

    def __repr__(self) -> str:
        user = f", user={self.username!r}" if self.username else ""
        return f"Target({self.where}{user}{', tls' if self.ssl else ''})"


def parse(url: str, ssl: TlsOption = None) -> Target:
    """Read one address; *ssl* holds for it unless the address says how. Raises ConfigError naming the part.

    Options that begin with ``ssl_`` (``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_cert_reqs``,
    ``ssl_check_hostname``) refine TLS.

    >>> parse("redis://:secret@redis.example.org/3").where
    'redis.example.org:6379/3'
    """
    scheme, separator, rest = url.strip().partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in SCHEMES:
        raise ConfigError(f"{mask(url)!r} is no address of Redis; it begins with one of "
                          + ", ".join(f"{known}://" for known in SCHEMES))
    try:  # as an http address: urlsplit knows user, port and query only of schemes that it knows
        parts = urlsplit(f"http://{rest}")
        host, port = unquote(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ConfigError(f"{mask(url)!r}: {_without_secret(error)}; '/', '?', '#', '[' and '@' in a user or password "
                          "are percent-encoded, as %2F, %3F, %23, %5B and %40") from None
    if port == 0:
        raise ConfigError(f"{mask(url)!r}: no server listens on port 0")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    path = unquote(parts.path)
    tls = _tls(scheme in (TLS, CLUSTER_TLS), query, ssl)
    found = Target(
        host or "localhost", port or _PORT, username=unquote(parts.username or "") or query.pop("username", ""),
        password=unquote(parts.password or "") or query.pop("password", ""), ssl=None if scheme in PATHS else tls,
        prefix=query.pop("global_keyprefix", ""), master=query.pop("master_name", ""))
    if scheme in PATHS:
        found = found._replace(host="localhost", path=_socket_path(url, parts))
        path = ""
    if scheme == SENTINEL:
        found = found._replace(sentinels=((found.host, port or _SENTINEL_PORT),))
    db = _database(url, query.pop("virtual_host", "") or query.pop("db", "") or path)
    if db and scheme in CLUSTERS:
        raise ConfigError(f"{mask(url)!r}: a cluster has database 0 only; global_keyprefix keeps apps apart")
    return found._replace(db=db, options=query, is_clustered=scheme in CLUSTERS)


def parse_many(urls: str | Sequence[str], ssl: TlsOption = None) -> list[Target]:
    """Read a list of addresses, or one text that holds several with ``;`` between them. Raises ConfigError.

    Sentinels belong together: they make one target.

    >>> [target.host for target in parse_many("redis://a;redis://b")]
    ['a', 'b']
    """
    targets: list[Target] = []
    for url in split_urls(urls):
        target = parse(url, ssl)
        if target.sentinels and targets and targets[-1].sentinels:
            before = targets[-1]
            # Celery's users write password and database in any one of the addresses.
            targets[-1] = target._replace(
                sentinels=before.sentinels + target.sentinels, master=before.master or target.master,
                username=before.username or target.username, password=before.password or target.password,
                db=before.db or target.db, options={**target.options, **before.options})
        else:
            targets.append(target)
    return targets


def mask(url: str) -> str:
    """Return *url* with ``**`` in place of its password."""
    return re.sub(r"([?&]password=)[^&]*", r"\1**", _PASSWORD.sub(r"\1**@", url))


def _address(pair: tuple[str, int]) -> str:
    host, port = pair
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _without_secret(error: ValueError) -> str:
    """urllib quotes what it takes for the port, which is a part of the password when that holds a slash."""
    return "the port is no number from 1 to 65535" if "ort" in str(error) else "the host name is malformed"


def _socket_path(url: str, parts: SplitResult) -> str:
    # Both are written: unix:///run/redis.sock, and the path percent-encoded in the place of the host.
    path = unquote(parts.path) if len(parts.path) > 1 else unquote(parts.netloc.rpartition("@")[2])
    if not path.startswith("/"):
        raise ConfigError(f"{mask(url)!r} names no socket; write for example redis+socket:///run/redis.sock")
    return path


def _database(url: str, text: str) -> int:
    text = text.strip("/")
    if text and not text.isdecimal():
        raise ConfigError(f"{mask(url)!r}: a database of Redis is a number, as in redis://localhost:6379/0, "
                          f"not {text!r}")
    return int(text or 0)


def _tls(asked: bool, query: dict[str, str], given: TlsOption) -> TlsOption:
    """TLS as scheme, query and settings together say; takes its options out of *query*."""
    refined = {name: query.pop(name) for name in list(query) if name.startswith("ssl_")}
    if (named := query.pop("ssl", "")).lower() in ("1", "true", "yes"):
        asked = True
    elif named:
        raise ConfigError(f"option ssl={named!r} of an address can only be true; leave it away for none")
    if refined and (asked or given):
        return {**(given if isinstance(given, Mapping) else {}), **refined}
    if refined:
        raise ConfigError(f"{next(iter(refined))} is an option of TLS, and the address is without: write rediss://")
    return (given or True) if asked else given
