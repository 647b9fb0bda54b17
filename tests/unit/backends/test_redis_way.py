"""Results over TLS and by way of sentinels."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastq.backends.redis import RedisStore
from fastq.bench.servers import wait_for
from fastq.bench.servers.redis import Certificate, Redis
from fastq.bench.servers.sentinel import Sentinels
from fastq.exceptions import BackendError
from fastq.types import Result
from tests.deadline import wait_until
from tests.servers.authority import Authority
from tests.unit.backends.redisstore import DONE, document, done, ended, waiting


@pytest.fixture
def tls_server(tmp_path: Path, own_redis: Callable[..., Redis]) -> tuple[Redis, str]:
    """A server with TLS, and the address of its first database."""
    (tmp_path / "authority").mkdir()
    authority = Authority(tmp_path / "authority")
    server = own_redis(certificate=Certificate(authority.ca_certs, **authority.issue("server", "DNS:localhost")))
    return server, f"rediss://localhost:{server.tls_port}/0?ssl_ca_certs={authority.ca_certs}"


def test_results_come_over_tls(tls_server: tuple[Redis, str], open_redis: Callable[..., RedisStore]) -> None:
    _, url = tls_server
    store, worker = open_redis(url), open_redis(url)
    large = document("SUCCESS", "x" * 300_000)
    found: dict[str, bytes] = {}

    def ask(number: int) -> None:
        for turn in range(10):
            task_id = f"{number}-{turn}"
            thread = threading.Thread(target=worker.put, args=([Result(task_id, "SUCCESS", large)],))
            thread.start()
            found.update(store.wait([task_id], 20))
            thread.join()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 100
    assert set(found.values()) == {large}


def test_a_wait_over_tls_outlives_its_connection(tls_server: tuple[Redis, str],
                                                 open_redis: Callable[..., RedisStore]) -> None:
    server, url = tls_server
    store, worker = open_redis(url), open_redis(url)
    wait = waiting(store, ["a"])
    assert server.ask("CLIENT", "KILL", "TYPE", "pubsub") == 1
    worker.put([done("a")])
    assert ended(*wait) == {"a": DONE}


def test_a_certificate_that_nobody_vouches_for_is_refused(tls_server: tuple[Redis, str],
                                                          open_redis: Callable[..., RedisStore]) -> None:
    server, _ = tls_server
    with pytest.raises(BackendError, match="certificate"):
        open_redis(f"rediss://localhost:{server.tls_port}/0").get(["a"])


@pytest.mark.redis
def test_a_wait_outlives_the_primary(sentinels: Sentinels, open_redis: Callable[..., RedisStore]) -> None:
    store = open_redis(sentinels.url, master_name=sentinels.name)
    worker = open_redis(sentinels.url, master_name=sentinels.name)
    worker.put([done("before")])
    wait = waiting(store, ["a"], 60)
    old = sentinels.primary
    old.kill()
    try:
        sentinels.wait_for_failover(old)
        # The other sentinels hear of it a moment later, and whoever asks them first is told to try again.
        wait_until(lambda: _is_put(worker), 30, what="a sentinel that knows the new primary")
        assert ended(*wait, timeout=60) == {"a": DONE}
    finally:
        old.start()
        wait_for(sentinels.is_whole, 30, lambda: "the old primary is no replica")


def _is_put(store: RedisStore) -> bool:
    try:
        store.put([done("a")])
    except BackendError as error:
        assert "failover" in str(error)
        return False
    return True
