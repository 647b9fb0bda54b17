"""Broker and store addresses: the grammar of the embedded ones, and the check of any scheme. No I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from fastq.exceptions import ConfigError


class Address(NamedTuple):
    """``scheme://target?options``, with the target unquoted and the options still text."""

    scheme: str
    target: str
    options: dict[str, str]


def nearest(word: str, known: Iterable[str]) -> str:
    """Say which of *known* was perhaps meant, or list them all."""
    names = sorted(known)
    from difflib import get_close_matches  # noqa: PLC0415  only errors pay for it

    close = get_close_matches(word, names, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(names)}"


def split_urls(url: str | Sequence[str]) -> tuple[str, ...]:
    """Take apart several addresses: a sequence of them, or one text joined by ';'. Raises ConfigError for none.

    A ';' that no ``scheme://`` follows belongs to its address: a password or file name may hold it.
    """
    texts = (url,) if isinstance(url, str) else url
    parts = (part for text in texts for part in re.split(r"(?i);(?=\s*[a-z][\w+.-]*://)", text))
    found = tuple(part.strip().rstrip(";") for part in parts)
    if not found or not all(found):
        raise ConfigError(f"{url!r} names no broker; write for example amqp://guest:guest@localhost//")
    return found


def scheme_of(url: str, known: Iterable[str]) -> str:
    """Return the scheme of *url*, lower case. Raises ConfigError when it is not among *known*."""
    scheme, separator, _ = url.partition("://")
    if not separator:
        raise ConfigError(f"{url!r} is no address: it has no '://'; write for example sqlite:///tasks.db")
    if scheme.lower() not in known:
        # Without the rest of the address, in which a password may stand.
        raise ConfigError(f"unknown scheme {scheme!r}; {nearest(scheme.lower(), known)}")
    return scheme.lower()


def parse_url(url: str) -> Address:
    """Take an embedded address apart: ``sqlite:///relative.db``, ``sqlite:////absolute.db``, ``memory://name``.

    Raises ConfigError when the address names no file, or names a host.
    """
    scheme, _, rest = url.partition("://")
    target, _, query = rest.partition("?")
    target = unquote(target)
    if scheme.lower() == "sqlite":
        if not target.startswith("/"):
            raise ConfigError(f"{url!r} names a host; a file on this machine takes three slashes: sqlite:///{target}")
        target = target[1:]
        if not target or target.endswith("/"):
            raise ConfigError(f"{url!r} names no file; write for example sqlite:///tasks.db")
        if "\0" in target:
            raise ConfigError(f"{url!r}: a file name cannot hold a NUL character")
    return Address(scheme.lower(), target, dict(parse_qsl(query, keep_blank_values=True)))


def merge_options(url: str, query: Mapping[str, str], options: Mapping[str, object],
                  known: Iterable[str]) -> dict[str, object]:
    """Join the options in the address (they win) with those in settings. Raises ConfigError for an unknown one."""
    merged = {**options, **query}
    for name in merged:
        if name not in known:
            raise ConfigError(f"unknown option {name!r} for {url!r}; {nearest(name, known)}")
    return merged


def number(name: str, value: object, least: float) -> float:
    """Read an option that is a number not below *least*."""
    try:
        found = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else None
    except ValueError:
        found = None
    if found is None or not least <= found < float("inf"):
        raise ConfigError(f"option {name!r} must be a number of at least {least:g}, not {value!r}")
    return found


def choice(name: str, value: object, among: tuple[str, ...]) -> str:
    """Read an option that is one word of *among*, in any case."""
    word = str(value).lower()
    if word not in among:
        raise ConfigError(f"option {name!r} cannot be {value!r}; {nearest(word, among)}")
    return word
