"""A Redis for the whole run, and others that are no plain one, each started by the first test that asks for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol, TypeVar

import pytest

from fastq.bench.servers import ServerMissing
from fastq.bench.servers.cluster import Cluster
from fastq.bench.servers.redis import Redis
from fastq.bench.servers.sentinel import Sentinels
from tests.servers import STANDING, Server


class Standing(Server, AbstractContextManager["Standing"], Protocol):
    """A server that runs while its block does."""


Made = TypeVar("Made", bound=Standing)


@contextmanager
def standing(make: Callable[[Path], Made], folder: Path) -> Iterator[Made]:
    """Make a server and let it run, no test's child. Without its program the test is skipped."""
    try:
        server = make(folder)
    except ServerMissing as missing:
        pytest.skip(str(missing))
    STANDING.append(server)
    try:
        with server:
            yield server
    finally:
        STANDING.remove(server)


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Redis]:
    """The server. A test that stops, kills or fills it need not heal it: `redis_url` does."""
    with standing(lambda folder: Redis(folder, aof=True), tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis: Redis) -> Iterator[str]:
    """The address of an empty database."""
    url = redis.place()
    yield url
    redis.reclaim(url)


@pytest.fixture(scope="session")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    """A primary, a replica and three sentinels. A test that ends one of them starts it again."""
    with standing(Sentinels, tmp_path_factory.mktemp("sentinels")) as setup:
        yield setup


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes. A test that ends one of them starts it again, and leaves nothing in them."""
    with standing(lambda folder: Cluster(folder, aof=True), tmp_path_factory.mktemp("cluster")) as nodes:
        yield nodes


@pytest.fixture
def cluster_url(cluster: Cluster) -> Iterator[str]:
    """The address of an empty cluster, with a node to ask first."""
    yield cluster.url.replace("redis://", "redis+cluster://")
    for node in cluster.nodes:
        node.start()
        node.close_connections()
    cluster.flush()
