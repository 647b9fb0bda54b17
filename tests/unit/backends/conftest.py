"""Stores on the Redis of the whole run, and servers of a test's own for what is done to them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fastq.backends.redis import RedisStore
from fastq.backends.redis_options import StoreOptions
from fastq.bench.servers.redis import Redis
from fastq.transport.redis_link import Link, connect
from fastq.transport.redis_target import parse


@pytest.fixture
def link(redis_url: str) -> Iterator[Link]:
    made = connect(parse(redis_url), 5)
    yield made
    made.close()


@pytest.fixture
def open_redis(redis_url: str) -> Iterator[Callable[..., RedisStore]]:
    """Open one more store; all are closed at the end."""
    opened: list[RedisStore] = []

    def open_one(url: str = redis_url, **options: Any) -> RedisStore:
        opened.append(RedisStore(url, StoreOptions.read(url, options)))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(open_redis: Callable[..., RedisStore]) -> RedisStore:
    """The store of a client."""
    return open_redis()


@pytest.fixture
def worker(open_redis: Callable[..., RedisStore]) -> RedisStore:
    """The store of another process, as far as the server can tell."""
    return open_redis()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[Callable[..., Redis]]:
    """Start a server of the test's own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(Redis(tmp_path / "redis", **options))
