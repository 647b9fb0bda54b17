"""A worker whose connections break: what it says is done once, what it was given is not lost, and its runs go on."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from fastq._ext.resp import command
from fastq.bench.servers.redis import Redis
from fastq.exceptions import ConnectionLost, LeaseLost
from fastq.transport import redis_desk
from fastq.transport.redis_ears import Poller
from fastq.transport.redis_link import NOTHING, Link, connect
from fastq.transport.redis_target import parse
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.redisdesk import Server, bodies, message, runs, working

pytestmark = pytest.mark.redis


@pytest.fixture
def proxy(redis: Redis) -> Iterator[Proxy]:
    with Proxy(redis.port) as standing:
        yield standing


def test_what_is_held_outlives_a_broken_connection(server: Server, proxy: Proxy) -> None:
    server.put("a", "b")
    with working(proxy.url(server.url)) as worker:
        rows = worker.take(2)
        proxy.cut()
        worker.until(lambda: worker.desk.line is not None)
        worker.turn(ack=runs(rows))
        worker.until(lambda: server.held() == [])
        assert server.bodies() == []


@pytest.mark.parametrize("direction", ["up", "down"])
def test_a_turn_whose_answer_was_lost_is_done_once(server: Server, proxy: Proxy, direction: str) -> None:
    server.put("a")
    with working(proxy.url(server.url)) as worker:
        rows = worker.take(1)
        proxy.half_open(up=direction == "up", down=direction == "down")
        worker.turn(ack=runs(rows), publish=[message("q", "b"), message("out", "c")])
        worker.turn(publish=[message("q", "d")])
        if direction == "down":
            worker.until(lambda: server.bodies("out") == ["c"])
        proxy.behave()
        proxy.cut()
        assert bodies(worker.take(2)) == ["b", "d"]
        assert server.bodies("out") == ["c"]


def test_what_a_lost_answer_gave_comes_all_the_same(server: Server, proxy: Proxy) -> None:
    with working(proxy.url(server.url)) as worker:
        server.put(*(str(n) for n in range(700)))
        proxy.half_open(up=False)
        assert worker.turn(600) == []
        worker.until(lambda: len(server.held()) == 600)
        proxy.behave()
        proxy.cut()
        assert bodies(worker.take(600)) == [str(n) for n in range(600)]


def test_a_message_that_a_broken_wait_took_is_found_in_the_inbox(server: Server, proxy: Proxy) -> None:
    with working(proxy.url(server.url), lease_s=1.0) as worker:
        worker.idle()
        proxy.half_open(up=False)
        server.put("a")
        wait_until(lambda: server.bodies() == [])
        proxy.behave()
        proxy.cut()
        assert bodies(worker.take(1, 5)) == ["a"]


def disturb(proxy: Proxy, chance: random.Random) -> None:
    """Now and then break all connections, or let them seem to stand."""
    if chance.random() < 0.05:
        proxy.behave()
        proxy.cut()
    elif chance.random() < 0.03:
        proxy.half_open(up=chance.random() < 0.5, down=True)


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_or_doubled_while_connections_break_at_any_point(server: Server, proxy: Proxy,
                                                                         seed: int) -> None:
    chance, total = random.Random(seed), 400
    server.put(*(str(n) for n in range(total)))
    done: list[str] = []
    with working(proxy.url(server.url), lease_s=60.0, reply_timeout_s=0.3, connect_timeout_s=0.3) as worker:
        rows = []
        while len(done) < total:
            rows = worker.turn(chance.randint(1, 40), ack=runs(rows),
                               publish=[message("out", body) for body in bodies(rows)])
            done += bodies(rows)
            if not rows:
                worker.sleep()
            disturb(proxy, chance)
        proxy.behave()
        proxy.cut()
        worker.turn(ack=runs(rows), publish=[message("out", body) for body in bodies(rows)])
        worker.until(lambda: len(server.bodies("out")) >= total and not server.held())
    assert sorted(done, key=int) == [str(n) for n in range(total)]
    assert sorted(server.bodies("out"), key=int) == [str(n) for n in range(total)]


@pytest.mark.parametrize("seed", range(3))
def test_what_is_acked_before_it_runs_comes_once_while_connections_break_at_any_point(server: Server, proxy: Proxy,
                                                                                      seed: int) -> None:
    chance, done = random.Random(seed), list[str]()
    with working(proxy.url(server.url), lease_s=3.0, reply_timeout_s=0.3, connect_timeout_s=0.3) as worker:
        for number in range(25):
            server.put(str(number))
            while len(done) <= number:
                rows = worker.turn(5)
                done += bodies(rows)
                if rows:
                    worker.turn(ack=runs(rows))
                else:
                    worker.sleep()
                disturb(proxy, chance)
        proxy.behave()
        proxy.cut()
        worker.until(lambda: not server.held() and not any(map(server.client.exists, worker.desk.lanes.inboxes)))
    assert done == [str(number) for number in range(25)]
    assert server.bodies() == []


def test_the_descriptor_stays_the_same_over_reconnects(server: Server, proxy: Proxy) -> None:
    with working(proxy.url(server.url)) as worker:
        number = worker.transport.fileno()
        for body in ("a", "b"):
            assert worker.turn(5) == []
            proxy.cut()
            server.put(body)
            assert bodies(worker.take(1, 5)) == [body]
            assert worker.transport.fileno() == number


def test_a_server_that_is_away_is_borne(server: Server, redis: Redis) -> None:
    server.put("a", "b")
    with working(server.url) as worker:
        rows = worker.take(1)
        redis.kill()
        assert worker.turn(1, ack=runs(rows)) == []
        assert worker.transport.arm() is not None
        redis.start()
        assert bodies(worker.take(1, 1)) == ["b"]
        worker.until(lambda: server.held() == ["b"])


def test_a_server_that_was_away_for_long_is_told_its_scripts_again(server: Server, redis: Redis) -> None:
    server.put("a")
    with working(server.url) as worker:
        worker.turn(1)
        redis.kill()
        worker.until(lambda: worker.desk._reach._failures > 4)
        redis.start()
        assert bodies(worker.take(1, 1)) == ["a"]


def test_a_server_that_lost_its_data_ends_the_life(server: Server, redis: Redis) -> None:
    server.put("a")
    with working(server.url) as worker:
        rows = worker.take(1)
        server.client.flushdb()
        with pytest.raises(LeaseLost, match="it has lost its data"):
            worker.turn(ack=runs(rows))
            worker.until(lambda: False)


def test_a_new_connection_renews_the_lease_at_once(server: Server, proxy: Proxy) -> None:
    """A worker renews every third of its lease: after an absence that may be too late."""
    with working(proxy.url(server.url), lease_s=60.0) as worker:
        life, = server.lives()
        server.client.zincrby("fastq.lives", -50_000, life)
        proxy.cut()
        end_ms = server.client.time()[0] * 1000 + 55_000
        worker.until(lambda: server.client.zscore("fastq.lives", life) > end_ms)


def test_a_server_that_forgot_some_turns_ends_the_life(server: Server) -> None:
    server.put("a", "b", "c")
    with working(server.url) as worker:
        worker.take(1)
        worker.take(1)
        life, = server.lives()
        server.client.hset(f"fastq.life.{life}", "turn", 0)
        with pytest.raises(LeaseLost, match="lost some of its data"):
            worker.take(1)


def test_scripts_that_the_server_forgot_are_loaded_again(server: Server) -> None:
    server.put(*"abcdef")
    with working(server.url) as worker:
        for body in "abcdef":
            server.client.script_flush()
            rows = worker.take(1)
            assert bodies(rows) == [body]
            server.client.script_flush()
            worker.turn(ack=runs(rows))
            worker.turn(publish=[message("out", body)])
            worker.transport.keep()
        worker.until(lambda: server.bodies("out") == list("abcdef"))
        assert server.held() == []


def test_a_descriptor_of_a_broken_link_may_be_anothers_before_its_owner_knows(server: Server) -> None:
    heard: list[str] = []
    poller, target = Poller(), parse(server.url)
    first = connect(target, 5)
    poller.hear("first", first, lambda: heard.append("first"))
    number = first.fileno()
    first.close()
    second = connect(target, 5)
    assert second.fileno() == number
    poller.hear("second", second, lambda: heard.append("second"))
    poller.hear("first", None, lambda: None)
    second.send(command("PING"))
    for read in poller.ready(5):
        read()
    assert heard == ["second"]
    second.close()
    poller.close()


def test_who_is_not_to_connect_again_says_that_the_connection_is_lost(server: Server, proxy: Proxy) -> None:
    server.put("a")
    with working(proxy.url(server.url), lease_s=0.5, reconnects=False) as worker:
        worker.take(1)
        proxy.cut()
        with pytest.raises(ConnectionLost):
            wait_until(worker.turn)
        with pytest.raises(ConnectionLost):
            worker.turn(1)
        assert worker.desk.line is None
    with working(server.url) as other:
        wait_until(other.transport.keep, 20)    # its lease is over then
        assert bodies(other.take(1)) == ["a"]


@pytest.mark.parametrize("is_lost", [True, False])
def test_ready_messages_of_which_nothing_told_are_noticed(server: Server, monkeypatch: pytest.MonkeyPatch,
                                                          caplog: pytest.LogCaptureFixture, is_lost: bool) -> None:
    """The wake-up is taken from under a worker that sleeps: it looks by itself, some time after its last delivery."""
    with working(server.url) as worker:
        worker.idle()
        if is_lost:
            bell: Link = worker.desk.ears._bell._link
            server.put("a", queue="q\x06\x166")
            wait_until(lambda: bell.fill() or bell.get() is not NOTHING)
        assert not worker.sleep(0.1)
        worker.transport.keep()
        assert "nothing told of them" not in caplog.text    # not yet
        monkeypatch.setattr(redis_desk, "DOUBT_S", 0.0)
        worker.transport.keep()
        if is_lost:
            wait_until(lambda: (worker.sleep(0.01) and worker.desk.tend()) or "nothing told of them" in caplog.text)
            assert "1 messages are ready" in caplog.text
            assert bodies(worker.take(1)) == ["a"]
        else:
            worker.turn(5)
            assert "nothing told of them" not in caplog.text
