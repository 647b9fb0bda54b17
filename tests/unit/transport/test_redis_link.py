"""One connection to Redis, against real servers, and against listeners that are none."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import hiredis
import pytest

from fastq.exceptions import BrokerFull, BrokerRefused, ConnectionLost, TransportError
from fastq.transport.redis_error import ReadOnly, ScriptGone, Unready, error_of
from fastq.transport.redis_link import NOTHING, Link, Push, ReplyError, connect
from fastq.transport.redis_target import Target
from tests.deadline import wait_until
from tests.unit.transport.redisroom import RedisRoom, free_port, refusal


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisRoom]:
    with RedisRoom(tmp_path_factory.mktemp("redis"), "--requirepass", "se cret", "--databases", "4") as server:
        yield server


@pytest.fixture
def link(room: RedisRoom) -> Iterator[Link]:
    made = room.link(password="se cret")
    made.call("FLUSHALL")
    yield made
    made.close()


@contextmanager
def listener(answer: bytes | None) -> Iterator[Target]:
    """Somebody who says *answer* to whoever comes and closes; None: who accepts and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        accepted: list[socket.socket] = []

        def serve() -> None:
            try:
                peer, _ = server.accept()
            except OSError:
                return  # the test is over
            accepted.append(peer)
            if answer is not None:
                peer.recv(4096)
                peer.sendall(answer)
                peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield Target("127.0.0.1", server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for peer in accepted:
                peer.close()


def test_a_link_knows_the_server_and_its_own_number(link: Link, room: RedisRoom) -> None:
    assert link.version >= (6, 2, 0)
    assert link.client_id == link.call("CLIENT", "ID")
    assert link.where == f"127.0.0.1:{room.port}/0"


def test_values_come_back_as_they_were_sent(link: Link) -> None:
    assert link.call("LPUSH", "list", b"\xff\x00", "text", 1, 1.5) == 4
    assert link.call("LRANGE", "list", 0, -1) == [b"1.5", b"1", b"text", b"\xff\x00"]
    assert link.call("GET", "nothing") is None


def test_an_error_reply_is_raised_by_call_and_returned_by_get(link: Link) -> None:
    link.call("SET", "text", "x")
    with pytest.raises(TransportError, match=r"Redis at 127\.0\.0\.1:\d+/0: WRONGTYPE"):
        link.call("LPUSH", "text", "y")
    link.send(hiredis.pack_command(("LPUSH", "text", "y")))
    reply = link.receive()
    assert isinstance(reply, ReplyError)
    assert link.call("PING") == b"PONG"


def test_replies_of_commands_under_way_come_in_order(link: Link) -> None:
    link.send(b"".join(hiredis.pack_command(("INCR", "n")) for _ in range(1000)))
    assert [link.receive() for _ in range(1000)] == list(range(1, 1001))
    assert link.get() is NOTHING


def test_more_than_both_buffers_hold_blocks_nobody(link: Link) -> None:
    value = bytes(64 * 1024)
    link.send(hiredis.pack_command(("SET", "big", value)))
    assert link.receive() == b"OK"
    # The server stops reading when its replies are not taken: 64 MiB of them.
    link.send(b"".join(hiredis.pack_command(("GET", "big")) + hiredis.pack_command(("ECHO", value))
                       for _ in range(512)))
    assert all(link.receive() == value for _ in range(1024))


def test_a_database_and_a_name_are_taken_at_once(room: RedisRoom) -> None:
    link = connect(room.target._replace(password="se cret", db=3), 5, name="worker one@host")
    told = link.call("CLIENT", "INFO")
    assert isinstance(told, bytes)
    assert b" db=3 " in told
    assert b" name=worker_one@host " in told
    assert link.where.endswith("/3")
    link.close()


def test_a_unix_socket_is_as_good_as_tcp(room: RedisRoom) -> None:
    link = connect(Target(path=room.socket, password="se cret", db=1), 5)
    assert link.call("PING") == b"PONG"
    assert link.where == f"{room.socket} db 1"
    link.close()


def test_with_protocol_3_a_link_subscribes_and_asks(room: RedisRoom, link: Link) -> None:
    both = connect(room.target._replace(password="se cret"), 5, protocol=3)
    both.send(hiredis.pack_command(("SUBSCRIBE", "news")))
    wait_until(lambda: both.fill(1.0))
    assert both.get() == [b"subscribe", b"news", 1]
    assert link.call("PUBLISH", "news", "one") == 1
    assert both.call("GET", "nothing") is None
    wait_until(lambda: (found := both.get()) is not NOTHING or both.fill(0.1) < 0 or found)
    both.close()


def test_a_push_that_comes_during_a_call_is_kept(room: RedisRoom, link: Link) -> None:
    both = connect(room.target._replace(password="se cret"), 5, protocol=3)
    both.send(hiredis.pack_command(("SUBSCRIBE", "news")))
    wait_until(lambda: both.fill(1.0))
    both.get()
    both.send(hiredis.pack_command(("PUBLISH", "news", "to myself")))
    assert both.receive() == 1 or isinstance(both.get(), Push)
    found = wait_until(lambda: both.get() or (both.fill(0.1) < 0))
    assert isinstance(found, Push)
    assert found == [b"message", b"news", b"to myself"]
    both.close()


def test_a_silent_server_is_given_up_at_the_deadline(room: RedisRoom, link: Link) -> None:
    link.reply_timeout_s = 0.05
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match=r"no answer for 0\.05 s"):
        link.call("BLPOP", "nothing", 0)
    assert time.monotonic() - began < 2
    assert not link.is_open
    with pytest.raises(ConnectionLost, match=r"no answer for 0\.05 s"):
        link.call("PING")


def test_an_interrupted_wait_gives_the_connection_up(link: Link) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise LookupError

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    try:
        with pytest.raises(LookupError):
            link.call("BLPOP", "nothing", 4)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    # What came later would be taken for the answer to something else.
    with pytest.raises(ConnectionLost, match="left its reply behind"):
        link.call("PING")


def test_a_connection_that_the_server_closed_is_noticed(room: RedisRoom, link: Link) -> None:
    other = room.link(password="se cret")
    link.call("CLIENT", "KILL", "ID", other.client_id)
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{room.port}/0"):
        wait_until(lambda: other.fill(0.1))
    assert not other.is_open
    assert not other.is_alive(0)


def test_a_long_idle_link_is_asked_for_a_sign_of_life(link: Link) -> None:
    link.heard_at -= 100
    assert link.is_alive(25)
    assert time.monotonic() - link.heard_at < 25


def test_closing_twice_is_safe_and_leaves_no_descriptor(room: RedisRoom) -> None:
    link = room.link(password="se cret")
    number = link.fileno()
    link.close()
    link.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    with pytest.raises(ConnectionLost):
        link.fileno()


@pytest.mark.parametrize(("password", "expected"), [("", "NOAUTH"), ("wrong", "WRONGPASS")])
def test_a_wrong_password_is_a_refusal_that_does_not_tell_it(room: RedisRoom, password: str, expected: str) -> None:
    found = refusal(room.target._replace(password=password))
    assert isinstance(found, BrokerRefused)
    assert expected in str(found)
    assert "HELLO" not in str(found)
    assert f"127.0.0.1:{room.port}" in str(found)
    assert not password or password not in str(found).replace("WRONGPASS", "")


def test_a_database_that_the_server_has_not_is_a_refusal(room: RedisRoom) -> None:
    found = refusal(room.target._replace(password="se cret", db=9))
    assert isinstance(found, BrokerRefused)
    assert "databases" in str(found)


def test_nobody_listens(tmp_path: Path) -> None:
    port = free_port()
    assert f"cannot reach Redis at 127.0.0.1:{port}/0: connection refused" in str(refusal(Target("127.0.0.1", port)))
    assert "there is no such socket" in str(refusal(Target(path=str(tmp_path / "none.sock"))))


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x15\x03\x01\x00\x02\x02\x46", b""])
def test_a_port_that_speaks_something_else_is_said_to(answer: bytes) -> None:
    with listener(answer) as target:
        found = refusal(target)
    assert not isinstance(found, ConnectionLost)
    assert f"cannot reach Redis at {target.where}" in str(found)
    assert "does not speak Redis" in str(found)


def test_a_server_that_accepts_and_says_nothing_costs_the_deadline_and_no_more() -> None:
    with listener(None) as target:
        began = time.monotonic()
        assert "no answer for " in str(refusal(target, 0.2))
        assert time.monotonic() - began < 2


def test_tls_to_a_plain_port_is_said_to_be_that(room: RedisRoom) -> None:
    # It waits for the end of a line that never comes.
    found = str(refusal(room.target._replace(ssl=True), 0.3))
    assert "does the port speak TLS?" in found
    assert "redis://" in found


def test_an_old_server_is_refused() -> None:
    with listener(b"*4\r\n$7\r\nversion\r\n$5\r\n6.0.9\r\n$2\r\nid\r\n:1\r\n") as target:
        assert "needs 6.2 or newer" in str(refusal(target))


@pytest.mark.parametrize(("text", "kind"), [
    ("OOM command not allowed when used memory > 'maxmemory'.", BrokerFull),
    ("NOSCRIPT No matching script. Please use EVAL.", ScriptGone),
    ("READONLY You can't write against a read only replica.", ReadOnly),
    ("LOADING Redis is loading the dataset in memory", Unready),
    ("NOPERM this user has no permissions to run the 'lpush' command", BrokerRefused),
    ("ERR something", TransportError),
])
def test_error_replies_have_their_classes(text: str, kind: type[Exception]) -> None:
    found = error_of(ReplyError(text), "host:1/0")
    assert type(found) is kind
    assert str(found).startswith(f"Redis at host:1/0: {text}")


IN_SCRIPT = "ERR Error running script (call to f_bad08606eaa4af3c): @user_script:5: "


@pytest.mark.parametrize(("text", "said", "kind"), [
    # As Redis 6.2.5 words them,
    (f"{IN_SCRIPT}@user_script: 5: -OOM command not allowed when used memory > 'maxmemory'.\r\n",
     "OOM command not allowed", BrokerFull),
    (f"{IN_SCRIPT}@user_script: 5: -READONLY You can't write against a read only replica.", "READONLY You", ReadOnly),
    (f"{IN_SCRIPT}@user_script: 5: -MISCONF Redis is configured to save RDB snapshots", "MISCONF Redis", Unready),
    (f"{IN_SCRIPT}@user_script: 5: The user executing the script can't run this command or subcommand",
     "The user executing", BrokerRefused),
    (f"{IN_SCRIPT}WRONGTYPE Operation against a key holding the wrong kind of value", "WRONGTYPE", TransportError),
    # Redis 7.0.15, and Valkey 9.1.
    ("ERR The user executing the script can't access at least one of the keys mentioned in the command arguments "
     "script: bad08606eaa4af3c, on @user_script:1.", "ERR The user executing", BrokerRefused),
    ("ERR ACL failure in script: User u has no permissions to run the 'set' command script: on @user_script:1.",
     "ERR ACL failure", BrokerRefused),
])
def test_what_a_script_met_has_the_class_of_what_it_met(text: str, said: str, kind: type[Exception]) -> None:
    found = error_of(ReplyError(text), "host:1/0")
    assert type(found) is kind
    assert str(found).startswith(f"Redis at host:1/0: {said}")


def test_a_script_fails_as_the_command_would(room: RedisRoom, link: Link) -> None:
    set_key = ("EVAL", "return redis.call('SET', KEYS[1], 'x')", 1, "key")
    link.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(BrokerFull, match="maxmemory"):
            link.call(*set_key)
    finally:
        link.call("CONFIG", "SET", "maxmemory", "0")
    link.call("ACL", "SETUSER", "few", "on", ">secret", "~*", "+@all", "-set")
    other = room.link(username="few", password="secret")
    try:
        with pytest.raises(BrokerRefused, match="ACL SETUSER"):
            other.call(*set_key)
    finally:
        other.close()
        link.call("ACL", "DELUSER", "few")


def test_a_full_server_is_told_with_its_cure(room: RedisRoom, link: Link) -> None:
    link.call("CONFIG", "SET", "maxmemory", "1")
    try:
        with pytest.raises(BrokerFull, match="maxmemory"):
            link.call("LPUSH", "list", "x")
    finally:
        link.call("CONFIG", "SET", "maxmemory", "0")
    assert link.is_open


def test_a_replica_drops_the_connection(room: RedisRoom, tmp_path: Path) -> None:
    with RedisRoom(tmp_path, "--replicaof", "127.0.0.1", str(room.port)) as replica:
        link = replica.link()
        with pytest.raises(ConnectionLost, match="READONLY"):
            link.call("LPUSH", "list", "x")
        assert not link.is_open
        link = replica.link()
        with pytest.raises(ConnectionLost, match="READONLY"):
            link.call("EVAL", "redis.call('LPUSH', 'list', 'x')", 0)
        assert not link.is_open
