"""Finding a server: several addresses, sentinels, TLS, passwords that change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastq.exceptions import BrokerRefused, ConfigError, TransportError
from fastq.transport.redis_error import Unready
from fastq.transport.redis_link import connect
from fastq.transport.redis_target import Target, parse, parse_many
from fastq.transport.redis_way import Way
from tests.deadline import wait_until
from tests.servers.authority import Authority
from tests.unit.transport.redisroom import RedisRoom, free_port, refusal


class SentinelRoom(RedisRoom):
    """A sentinel that watches the server at *master_port* as ``mymaster``."""

    def __init__(self, folder: Path, master_port: int, *settings: str) -> None:
        super().__init__(folder)
        self._lines = (f"port {self.port}", "bind 127.0.0.1", f"dir {folder}", *settings,
                       f"sentinel monitor mymaster 127.0.0.1 {master_port} 1",
                       "sentinel down-after-milliseconds mymaster 300", "sentinel failover-timeout mymaster 1000")

    def _command(self) -> list[str]:
        path = self.folder / "sentinel.conf"
        path.write_text("\n".join(self._lines) + "\n")
        return [self.program, str(path), "--sentinel"]


@pytest.fixture
def master(tmp_path: Path) -> Iterator[RedisRoom]:
    with RedisRoom(tmp_path) as server:
        yield server


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "second"
    made.mkdir()
    return made


def test_the_first_server_that_answers_is_taken(master: RedisRoom) -> None:
    way = Way([Target("127.0.0.1", free_port()), master.target])
    link = way.connect(5, name="taken")
    assert link.where == master.target.where
    link.close()


def test_when_none_answers_all_are_named() -> None:
    ports = free_port(), free_port()
    way = Way([Target("127.0.0.1", port) for port in ports])
    with pytest.raises(TransportError, match="none of 2 servers") as caught:
        way.connect(1)
    assert all(f"127.0.0.1:{port}" in str(caught.value) for port in ports)


def test_of_several_servers_a_replica_is_passed_over(master: RedisRoom, folder: Path) -> None:
    with RedisRoom(folder, "--replicaof", "127.0.0.1", str(master.port)) as replica:
        link = Way([replica.target, master.target]).connect(5)
        assert link.where == master.target.where
        link.close()
        Way([replica.target]).connect(5).close()
        with pytest.raises(TransportError, match="is a replica"):
            Way([replica.target, Target("127.0.0.1", free_port())]).connect(5)


def test_a_provider_is_asked_for_user_and_password_at_each_connection(tmp_path: Path) -> None:
    class Provider:
        told = ("secret",)

        def get_credentials(self) -> tuple[str, ...]:
            return self.told

    with RedisRoom(tmp_path, "--requirepass", "secret") as room:
        provider = Provider()
        way = Way([room.target], credentials=provider)
        link = way.connect(5)
        link.call("CONFIG", "SET", "requirepass", "other")
        link.close()
        with pytest.raises(BrokerRefused):
            way.connect(5)
        provider.told = ("default", "other")
        way.connect(5).close()


def test_sentinels_tell_where_the_master_is(master: RedisRoom, folder: Path) -> None:
    with SentinelRoom(folder, master.port) as sentinel:
        (target,) = parse_many(f"sentinel://127.0.0.1:{free_port()};sentinel://127.0.0.1:{sentinel.port}/1")
        link = Way([target._replace(master="mymaster")]).connect(5)
        assert link.where == f"127.0.0.1:{master.port}/1"
        link.close()


def test_a_sentinel_without_that_master_says_which_it_has(master: RedisRoom, folder: Path) -> None:
    with SentinelRoom(folder, master.port) as sentinel:
        target = parse(f"sentinel://127.0.0.1:{sentinel.port}?master_name=other")
        with pytest.raises(TransportError, match=r"knows no master 'other'; it knows mymaster"):
            Way([target]).connect(5)
        with pytest.raises(ConfigError, match="master_name"):
            Way([target._replace(master="")]).connect(5)
        with pytest.raises(ConfigError, match="did you mean 'password'"):
            Way([target], sentinel_kwargs={"pasword": "x"}).connect(5)


def test_sentinels_have_a_password_of_their_own(master: RedisRoom, folder: Path) -> None:
    with SentinelRoom(folder, master.port, "requirepass watch") as sentinel:
        target = parse(f"sentinel://127.0.0.1:{sentinel.port}?master_name=mymaster")
        with pytest.raises(BrokerRefused, match="NOAUTH"):
            Way([target]).connect(5)
        Way([target], sentinel_kwargs={"password": "watch"}).connect(5).close()


def test_after_a_failover_the_new_master_is_found(master: RedisRoom, folder: Path, tmp_path: Path) -> None:
    third = tmp_path / "third"
    third.mkdir()
    with RedisRoom(folder, "--replicaof", "127.0.0.1", str(master.port)) as replica, \
            SentinelRoom(third, master.port) as sentinel:
        probe = replica.link()
        wait_until(lambda: b"master_link_status:up" in bytes(probe.call("INFO", "replication")))  # type: ignore[call-overload]
        watch = sentinel.link()
        wait_until(lambda: len(watch.call("SENTINEL", "REPLICAS", "mymaster")) == 1, 30)  # type: ignore[arg-type]
        way = Way([parse(f"sentinel://127.0.0.1:{sentinel.port}?master_name=mymaster")])
        before = way.connect(5)
        assert before.where.endswith(f":{master.port}/0")
        before.close()
        master.kill()

        def found() -> bool:
            try:
                link = way.connect(1)
            except TransportError:
                return False
            link.close()
            return link.where.endswith(f":{replica.port}/0")

        wait_until(found, 30, what="the replica to be the master")
        probe.close()
        watch.close()


def test_a_master_that_is_away_may_be_replaced_soon(master: RedisRoom, folder: Path) -> None:
    with SentinelRoom(folder, master.port) as sentinel:
        master.kill()
        with pytest.raises(Unready, match=r"connection refused.*perhaps a failover"):
            Way([parse(f"sentinel://127.0.0.1:{sentinel.port}?master_name=mymaster")]).connect(5)


def test_a_replica_that_is_named_as_master_is_not_taken(master: RedisRoom, folder: Path, tmp_path: Path) -> None:
    third = tmp_path / "third"
    third.mkdir()
    with SentinelRoom(third, master.port) as sentinel, RedisRoom(folder) as other:
        link = master.link()
        link.call("REPLICAOF", "127.0.0.1", other.port)
        link.close()
        with pytest.raises(Unready, match="is a replica, and the sentinels call it the master"):
            Way([parse(f"sentinel://127.0.0.1:{sentinel.port}?master_name=mymaster")]).connect(5)


def test_certificates_are_checked(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    served = authority.issue("server", "IP:127.0.0.1")
    port = free_port()
    with RedisRoom(tmp_path, "--tls-port", str(port), "--tls-cert-file", served["certfile"], "--tls-key-file",
                   served["keyfile"], "--tls-ca-cert-file", authority.ca_certs, "--tls-auth-clients", "no"):
        target = parse(f"rediss://127.0.0.1:{port}?ssl_ca_certs={authority.ca_certs}")
        link = connect(target, 5)
        assert link.call("ECHO", bytes(300_000)) == bytes(300_000)
        link.close()
        assert "its certificate is not accepted" in str(refusal(target._replace(ssl=True)))
        connect(target._replace(ssl={"ssl_cert_reqs": "none"}), 5).close()
        # Without TLS the server hangs up, or sends what is no reply.
        assert "does not speak Redis" in str(refusal(target._replace(ssl=None)))
