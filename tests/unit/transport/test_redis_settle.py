"""What a wait got and has ended leaves its inbox by a word on the wait's own connection, whatever becomes of that."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from fastq.bench.servers.redis import Redis
from fastq.transport import redis_watch
from fastq.types import Endings
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.redisdesk import Row, Server, Worker, bodies, message, runs, working

pytestmark = pytest.mark.redis


@pytest.fixture
def proxy(redis: Redis) -> Iterator[Proxy]:
    with Proxy(redis.port) as standing:
        yield standing


def one(server: Server, worker: Worker, body: str) -> list[Row]:
    """Let one message come to a worker that waits."""
    worker.idle()
    server.put(body)
    rows = worker.take(1, credit=5)
    assert bodies(rows) == [body]
    return rows


def ack(worker: Worker, rows: list[Row]) -> None:
    """Ack as a worker does before it runs what it acks."""
    assert worker.turn(0, ack=runs(rows)) == []


def inbox(server: Server, worker: Worker) -> list[bytes]:
    found: list[bytes] = server.client.lrange(worker.desk.lanes.inboxes[0], 0, -1)
    return found


def calls(server: Server, name: str) -> int:
    return int(server.client.info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"])


def test_a_task_that_comes_alone_and_is_acked_before_it_runs_costs_no_script(server: Server) -> None:
    with working(server.url) as worker:
        worker.idle()
        server.client.config_resetstat()
        for number in range(20):
            server.put(str(number))
            rows = worker.take(1, credit=5)
            assert bodies(rows) == [str(number)]
            ack(worker, rows)
            worker.turn(5)
        worker.until(lambda: not worker.desk.ears.is_unsure)
        assert calls(server, "evalsha") == 0
        # The next wait has begun with the ack, in the same packet. Some servers count a wait at its end.
        assert calls(server, "lrem") == 20 and calls(server, "blmove") in (20, 21)
        assert inbox(server, worker) == [] and server.held() == []
    assert server.bodies() == []


def test_a_worker_that_wants_nothing_more_does_not_wait_again(server: Server) -> None:
    with working(server.url) as worker:
        worker.idle(1)
        server.put("a")
        ack(worker, worker.take(1, credit=1))
        assert not any(watch.waits for watch in worker.desk.ears._watches)
        server.put("b")
        worker.until(lambda: not worker.desk.ears.is_unsure)
        assert server.bodies() == ["b"]
        assert bodies(worker.take(1)) == ["b"]


def test_what_waits_behind_a_message_is_asked_for_with_all_there_is(server: Server) -> None:
    with working(server.url) as worker:
        worker.idle(9)
        server.client.config_resetstat()
        with server.client.pipeline() as both:
            for body in "abc":
                both.lpush("q", server.packed(body))
            both.execute()
        assert bodies(worker.take(3, credit=9)) == ["a", "b", "c"]
        assert calls(server, "evalsha") == 1 and calls(server, "blmove") <= 1


def test_what_ended_unheard_does_not_come_again(server: Server) -> None:
    with working(server.url) as worker:
        rows = one(server, worker, "a")
        watch, = worker.desk.ears._watches
        server.client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        ack(worker, rows)
        assert watch.unsure is not None
        server.client.execute_command("CLIENT", "KILL", "ID", watch.client_id)
        server.client.execute_command("CLIENT", "UNPAUSE")
        worker.until(lambda: not worker.desk.ears.is_unsure and not inbox(server, worker))
        server.put("b")
        assert bodies(worker.take(1, credit=5)) == ["b"]
    assert server.bodies() == ["b"]


def test_what_came_behind_it_unheard_comes_once(server: Server, proxy: Proxy) -> None:
    with working(proxy.url(server.url)) as worker:
        rows = one(server, worker, "a")
        proxy.half_open(up=False, down=True)
        ack(worker, rows)
        wait_until(lambda: not inbox(server, worker))
        server.put("b")
        wait_until(lambda: inbox(server, worker))
        proxy.behave()
        proxy.cut()
        assert bodies(worker.take(1, credit=5)) == ["b"]
        worker.until(lambda: not inbox(server, worker))
        assert worker.turn(5) == [] and server.held() == ["b"]


def test_a_worker_does_not_leave_before_it_knows(server: Server) -> None:
    with working(server.url) as worker:
        rows = one(server, worker, "a")
        server.client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
        ack(worker, rows)
        assert not worker.desk.flush(0.1)
        server.client.execute_command("CLIENT", "UNPAUSE")
        assert worker.desk.flush(5)
        assert inbox(server, worker) == []


def test_a_user_who_may_not_say_so_leaves_it_to_turns(server: Server, redis: Redis,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    redis.ask("ACL", "SETUSER", "few", "on", ">word", "~*", "&*", "+@all", "-lrem")
    try:
        url = server.url.replace("redis://", "redis://few:word@")
        with working(url, lease_s=2.0) as worker, caplog.at_level(logging.WARNING):
            for body in ("a", "b", "c"):
                worker.turn(5)
                server.put(body)
                rows = worker.take(1, credit=5)
                assert bodies(rows) == [body]
                ack(worker, rows)
                worker.until(lambda: not worker.desk.ears.is_unsure and not inbox(server, worker))
        assert caplog.text.count("cannot be taken out of an inbox") == 1
        assert server.bodies() == []
    finally:
        redis.ask("ACL", "DELUSER", "few")


def test_a_large_message_is_named_by_its_tag(server: Server) -> None:
    with working(server.url) as worker:
        ack(worker, one(server, worker, "x" * redis_watch.MOST_SETTLED))
        assert not worker.desk.ears.is_unsure
        worker.until(lambda: not worker.desk._turns)
        assert inbox(server, worker) == [] and server.held() == []


@pytest.mark.parametrize("beside", ["ack", "back", "publish"])
def test_an_ack_with_anything_beside_it_is_a_turn(server: Server, beside: str) -> None:
    server.put("held")
    with working(server.url) as worker:
        held = worker.take(1)
        endings = Endings(ack=runs(one(server, worker, "a")))
        if beside == "publish":
            endings.publish.append(message("out", "b"))
        else:
            getattr(endings, beside).extend(runs(held))
        worker.transport.turn(endings, 0)
        assert not worker.desk.ears.is_unsure
        worker.until(lambda: not worker.desk._turns)
        assert inbox(server, worker) == []
        assert server.held() == (["held"] if beside == "publish" else [])
        assert server.bodies() == (["held"] if beside == "back" else [])
        assert server.bodies("out") == (["b"] if beside == "publish" else [])
