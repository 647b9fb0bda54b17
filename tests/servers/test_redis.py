"""The Redis that tests start: empty for each, obedient, and gone when its starter is."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis as client

from fastq.bench.servers import ServerFailed, ServerMissing
from fastq.bench.servers.cluster import Cluster
from fastq.bench.servers.redis import Certificate, Redis
from fastq.bench.servers.sentinel import Sentinels
from tests.deadline import wait_until
from tests.servers.authority import Authority


def connect(url: str, **options: Any) -> client.Redis:
    return client.Redis.from_url(url, **options)


def test_a_database_that_is_given_back_is_empty(redis: Redis) -> None:
    url = redis.place()
    with connect(url, retry=None) as held, held.pubsub() as listening:
        held.set("key", "value")
        listening.subscribe("channel")
        redis.reclaim(url)
        with connect(url) as anew:
            assert anew.dbsize() == 0
        with pytest.raises(client.ConnectionError):
            listening.connection.read_response()
    again = redis.place()
    assert again == url
    redis.reclaim(again)


def test_what_is_in_one_database_is_not_in_another(redis: Redis, redis_url: str) -> None:
    url = redis.place()
    with connect(url) as one, connect(redis_url) as other:
        one.set("key", "value")
        assert other.get("key") is None
        redis.reclaim(url)
        assert other.ping()


def test_an_order_that_fails_says_why_and_the_next_one_is_obeyed(redis: Redis) -> None:
    with pytest.raises(ServerFailed, match="unknown command"):
        redis.ask("NONSENSE")
    assert redis.ask("ECHO", "a \r\n\u00e9") == "a \r\n\u00e9"
    assert redis.ask("COMMAND", "INFO", "nonsense") == [None]


def test_all_connections_are_closed(redis: Redis, redis_url: str) -> None:
    with connect(redis_url, retry=None) as one, one.pubsub() as listening:
        listening.subscribe("channel")
        assert redis.close_connections() >= 1
        with pytest.raises(client.ConnectionError):
            while True:
                listening.connection.read_response()


def test_a_server_that_was_stopped_or_killed_has_its_data_again(redis: Redis, redis_url: str) -> None:
    for end in (redis.stop, redis.kill):
        with connect(redis_url) as one:
            one.set("key", end.__name__)
        end()
        with socket.socket() as trial:
            assert trial.connect_ex(("127.0.0.1", redis.port)) != 0
        redis.start()
        with connect(redis_url) as one:
            assert one.get("key") == end.__name__.encode()


def test_without_an_append_only_file_only_an_orderly_stop_keeps_the_data(tmp_path: Path) -> None:
    with Redis(tmp_path) as server:
        server.ask("SET", "key", "kept")
        server.stop()
        server.start()
        assert server.ask("GET", "key") == "kept"
        server.kill()
        server.start()
        assert server.ask("DBSIZE") == 0


def test_a_full_server_refuses_to_store_until_its_place_is_given_back(redis: Redis) -> None:
    url = redis.place()
    redis.ask("CONFIG", "SET", "maxmemory", 1)
    with connect(url) as one, pytest.raises(client.OutOfMemoryError):
        one.set("key", "value")
    redis.reclaim(url)
    redis.ask("SET", "key", "value")
    redis.flush()


@pytest.mark.parametrize("user", ["", "worker"])
def test_a_password_is_asked_for_and_stands_in_the_address(tmp_path: Path, user: str) -> None:
    with Redis(tmp_path, user=user, password='s p@"\\\u00e9/#') as server:
        with connect(server.url) as one:
            assert one.ping()
        with connect(f"redis://127.0.0.1:{server.port}/0") as other, pytest.raises(client.AuthenticationError):
            other.ping()


def test_memory_and_policy_are_as_told(tmp_path: Path) -> None:
    with Redis(tmp_path, memory="10mb", policy="allkeys-lru") as server:
        told = server.info("memory")
        assert (told["maxmemory"], told["maxmemory_policy"]) == (str(10 << 20), "allkeys-lru")


def test_a_client_reaches_it_over_tls_and_over_a_socket_file(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files = authority.issue("server", "IP:127.0.0.1")
    with Redis(tmp_path / "server", certificate=Certificate(authority.ca_certs, **files), has_socket=True) as server:
        with connect(server.tls_url, ssl_ca_certs=authority.ca_certs) as one:
            assert one.ping()
        with connect(server.tls_url) as other, pytest.raises(client.ConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            other.ping()
        with client.Redis(unix_socket_path=str(server.socket)) as one:
            assert one.ping()


def test_a_client_without_a_certificate_is_refused_where_one_is_demanded(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    files, own = authority.issue("server", "IP:127.0.0.1"), authority.issue("client", "DNS:client")
    with Redis(tmp_path / "server", certificate=Certificate(authority.ca_certs, **files, demand=True)) as server:
        with connect(server.tls_url, ssl_ca_certs=authority.ca_certs, ssl_certfile=own["certfile"],
                     ssl_keyfile=own["keyfile"]) as one:
            assert one.ping()
        with connect(server.tls_url, ssl_ca_certs=authority.ca_certs) as one, pytest.raises(client.ConnectionError):
            one.ping()


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(ServerFailed, match="nonsense"):
        Redis(tmp_path, config=("nonsense yes",)).start()


def test_a_missing_program_is_named_with_the_cure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_SERVER", "a-program-that-nobody-has")
    with pytest.raises(ServerMissing, match="apt-get install redis-server"):
        Redis(tmp_path)


def test_a_replica_takes_over_when_the_primary_dies_and_is_followed_by_it(sentinels: Sentinels) -> None:
    old = sentinels.primary
    old.ask("SET", "key", "value")
    wait_until(lambda: sentinels.replica.ask("GET", "key") == "value", what="the replica to follow")
    old.kill()
    new = sentinels.wait_for_failover(old)
    assert new.ask("GET", "key") == "value"
    old.start()
    wait_until(sentinels.is_whole, what="the old primary to follow")
    assert sentinels.primary is new
    new.flush()


def test_a_key_of_a_cluster_is_found_and_moved(cluster: Cluster) -> None:
    with client.RedisCluster.from_url(cluster.url) as one:
        one.set("{queue}.key", "value")
        old = cluster.owner("{queue}")
        assert old.ask("GET", "{queue}.key") == "value"
        new = cluster.move("{queue}")
        assert new is not old and cluster.owner("{queue}") is new
        with pytest.raises(ServerFailed, match="MOVED"):
            old.ask("GET", "{queue}.key")
    assert new.ask("GET", "{queue}.key") == "value"
    cluster.flush()


STARTER = """
import sys
from pathlib import Path
from fastq.bench.servers.redis import Redis
server = Redis(Path(sys.argv[1]))
server.start()
print(*server.pids, flush=True)
sys.stdin.read()
"""


def test_a_server_ends_when_its_starter_is_killed(tmp_path: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(tmp_path)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    with starter:
        assert starter.stdout is not None
        family = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
        assert len(family) == 2
        starter.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, family)), what="the end of the server")


def is_running(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
