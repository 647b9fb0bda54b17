"""Results in the memory of one process, shared by all who open the same ``memory://name``."""

from __future__ import annotations

from collections.abc import Mapping

from fastq.backends.sqlite import SqliteStore
from fastq.transport.memory import MemoryFile
from fastq.transport.url import merge_options, parse_url


def open_url(url: str, options: Mapping[str, object]) -> SqliteStore:
    """Open the store at a ``memory://`` address. Raises ConfigError."""
    address = parse_url(url)
    merge_options(url, address.options, options, ())
    return SqliteStore(MemoryFile.named(address.target))
