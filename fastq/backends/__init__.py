"""The result stores. `open` is the one place where an address becomes an implementation."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from fastq.backends.base import ResultStore
from fastq.transport.url import scheme_of

SCHEMES = {
    "sqlite": "fastq.backends.sqlite",
    "memory": "fastq.backends.memory",
}


def open(url: str, options: Mapping[str, object] | None = None) -> ResultStore:
    """Open the result store at *url*. Raises ConfigError for a wrong address, BackendError when it is not to be had.

    Example::

        store = open("sqlite:///tasks.db")
        documents = store.wait(["0190..."], timeout=10)
    """
    module = import_module(SCHEMES[scheme_of(url, SCHEMES)])
    opened: ResultStore = module.open_url(url, options or {})
    return opened
