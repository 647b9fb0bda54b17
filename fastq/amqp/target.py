"""Broker addresses: ``amqp://user:password@host:port/vhost?options``. No I/O, and no password in any text.

What is left out is ``guest:guest@localhost:5672/``, and 5671 for ``amqps``. Everything may be percent-encoded. The
path without its first slash is the virtual host, so that ``/`` and ``//`` both mean ``/``, and ``//a`` means ``/a``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from fastq.exceptions import ConfigError
from fastq.net.tls import TlsOption

SCHEMES = ("amqp", "amqps", "pyamqp", "librabbitmq")
_PORT, _TLS_PORT = 5672, 5671
_PASSWORD = re.compile(r"(://[^/?#]*?:)(.*)@")


class Target(NamedTuple):
    """Where a broker is and as whom to come. ``options`` holds what the query says beyond TLS, as text."""

    host: str = "localhost"
    port: int = _PORT
    user: str = "guest"
    password: str = "guest"
    vhost: str = "/"
    ssl: TlsOption = None
    options: Mapping[str, str] = {}

    @property
    def where(self) -> str:
        """``host:port``, for messages."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        tls = ", tls" if self.ssl else ""
        return f"Target({self.where}, user={self.user!r}, vhost={self.vhost!r}{tls})"

def parse(url: str, ssl: TlsOption = None) -> Target:
    """Read one address; *ssl* holds for it unless the address itself says how. Raises ConfigError naming the part.

    ``amqps`` means TLS with a checked certificate. Options that begin with ``ssl_`` (``ssl_ca_certs``,
    ``ssl_certfile``, ``ssl_keyfile``, ``ssl_cert_reqs``, ``ssl_check_hostname``, ``ssl_server_hostname``) refine it.

    >>> parse("amqp://me:secret@rabbit.example.org/tasks").where
    'rabbit.example.org:5672'
    """
    scheme, separator, rest = url.strip().partition("://")
    if not separator or scheme.lower() not in SCHEMES:
        raise ConfigError(f"{mask(url)!r} is no AMQP address; it begins with one of "
                          + ", ".join(f"{known}://" for known in SCHEMES))
    try:  # as an http address: urlsplit knows user, port and query only of schemes that it knows
        parts = urlsplit(f"http://{rest}")
        host, port = unquote(parts.hostname or ""), parts.port
    except ValueError as error:
        raise ConfigError(f"{mask(url)!r}: {_without_secret(error)}; '/', '?', '#', '[' and '@' in user, password or "
                          "virtual host are percent-encoded, as %2F, %3F, %23, %5B and %40") from None
    if port == 0:
        raise ConfigError(f"{mask(url)!r}: no server listens on port 0")
    tls, options = _tls(scheme.lower() == "amqps", parts, ssl)
    return Target(
        host or "localhost", port or (_TLS_PORT if tls else _PORT), unquote(parts.username or "") or "guest",
        unquote(parts.password or "") or "guest", unquote(parts.path[1:]) or "/", tls, options)


def parse_many(urls: str | Sequence[str], ssl: TlsOption = None) -> list[Target]:
    """Read a list of addresses, or one text that holds several with ``;`` between them. Raises ConfigError.

    >>> [target.host for target in parse_many("amqp://a;amqp://b")]
    ['a', 'b']
    """
    texts = urls.split(";") if isinstance(urls, str) else [part for url in urls for part in url.split(";")]
    targets = [parse(text, ssl) for text in texts if text.strip()]
    if not targets:
        raise ConfigError("no broker address was given; write for example amqp://guest:guest@localhost:5672//")
    return targets


def mask(url: str) -> str:
    """Return *url* with ``**`` in place of its password."""
    return _PASSWORD.sub(r"\1**@", url)


def _without_secret(error: ValueError) -> str:
    """urllib quotes what it takes for the port, which is a part of the password when that holds a slash."""
    return "the port is no number from 1 to 65535" if "ort" in str(error) else "the host name is malformed"


def _tls(asked: bool, parts: SplitResult, given: TlsOption) -> tuple[TlsOption, dict[str, str]]:
    """TLS as scheme, query and settings together say, and what else the query holds."""
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    refined = {name[4:]: query.pop(name) for name in list(query) if name.startswith("ssl_")}
    if (named := query.pop("ssl", "")).lower() in ("1", "true", "yes"):
        asked = True
    elif named:
        raise ConfigError(f"option ssl={named!r} of an address can only be true; leave it away for none")
    if refined:
        return {**(given if isinstance(given, Mapping) else {}), **refined}, query
    return (given or True) if asked else given, query
