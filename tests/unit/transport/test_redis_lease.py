"""Lives on Redis: leases, what dead and stopped workers leave, and what Celery's workers leave."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import celery
import kombu as other
import pytest
import redis as client

from fastq.bench.servers.redis import Redis
from fastq.exceptions import LeaseLost
from tests.deadline import wait_until
from tests.unit.transport.redisdesk import Server, Worker, bodies, runs, working

pytestmark = pytest.mark.redis


def eventually_kept(worker: Worker, wanted: int) -> None:
    found = 0

    def keep() -> bool:
        nonlocal found
        found += worker.transport.keep()
        return found >= wanted

    wait_until(keep, what=f"{wanted} messages to come back")
    assert found == wanted


def test_what_a_dead_worker_held_comes_back_in_order_with_a_death(server: Server) -> None:
    server.put(*"abcde")
    dead = Worker(server.url, lease_s=0.2)
    dead.take(3)
    dead.die()
    with working(server.url) as worker:
        eventually_kept(worker, 3)
        rows = worker.take(5)
        assert bodies(rows) == list("abcde")
        assert [row[2] for row in rows] == [1, 1, 1, 0, 0]


def test_nothing_of_a_dead_life_stays_behind(server: Server) -> None:
    server.put("a")
    dead = Worker(server.url, lease_s=0.2)
    dead.take(1)
    dead.die()
    with working(server.url) as worker:
        eventually_kept(worker, 1)
        worker.turn(ack=runs(worker.take(1)))
        worker.until(lambda: not server.held())
    left = {key.decode() for key in server.client.keys("*")}
    inboxes = {key for key in left if key.startswith("fastq.inbox.")}
    assert left - inboxes == {"fastq.queues", "_kombu.binding.q", "_kombu.binding_permanent.q"}
    assert all(server.client.pttl(key) > 0 for key in inboxes)


def test_two_that_reap_at_once_bring_back_each_message_once(server: Server) -> None:
    server.put(*(str(n) for n in range(900)))
    dead = Worker(server.url, lease_s=0.3)
    assert len(dead.take(900)) == 900
    dead.die()
    workers = [Worker(server.url) for _ in range(3)]
    found = [0, 0, 0]

    def reap(at: int) -> None:
        deadline = time.monotonic() + 10
        while sum(found) < 900 and time.monotonic() < deadline:
            found[at] += workers[at].transport.keep()

    threads = [threading.Thread(target=reap, args=(at,)) for at in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(found) == 900
    assert server.bodies() == [str(n) for n in range(900)]
    for worker in workers:
        worker.transport.close()


def test_one_that_stops_in_the_middle_of_reaping_leaves_the_rest_to_others(server: Server) -> None:
    server.put(*(str(n) for n in range(900)))
    dead = Worker(server.url, lease_s=0.2)
    dead.take(900)
    dead.die()
    first = Worker(server.url)
    wait_until(lambda: (first.transport.keep(), server.client.zcard("fastq.graves"))[1], what="a grave")
    first.die()
    with working(server.url) as worker:
        wait_until(lambda: (worker.transport.keep(), not server.client.zcard("fastq.graves"))[1])
        assert server.bodies() == [str(n) for n in range(900)]


def test_a_wait_that_a_dead_worker_left_behind_takes_no_message(server: Server) -> None:
    zombie = Worker(server.url, lease_s=0.6)
    zombie.idle()
    with working(server.url) as worker:
        life, = {life for life in server.lives() if life.startswith(zombie.name)}
        wait_until(lambda: (worker.transport.keep(), len(server.lives()) == 1)[1])
        server.put("a")
        with pytest.raises(client.ResponseError, match="WRONGTYPE"):
            server.client.blmove("q", f"fastq.inbox.{life}.0", 1)
        assert bodies(worker.take(1)) == ["a"]
    with pytest.raises(LeaseLost):
        zombie.take(1)
    zombie.die()


def test_what_a_wait_got_and_no_turn_recorded_comes_back_too(server: Server) -> None:
    dead = Worker(server.url, lease_s=0.4)
    dead.idle()
    server.put("a")
    life, = server.lives()
    wait_until(lambda: server.client.llen(f"fastq.inbox.{life}.0") == 1)
    dead.die()
    with working(server.url) as worker:
        eventually_kept(worker, 1)
        (_, _, deaths, _), = rows = worker.take(1)
        assert (deaths, bodies(rows)) == (1, ["a"])


def test_at_the_limit_a_message_is_tried_alone(server: Server) -> None:
    server.put("a", "b", "c")
    for _ in range(2):
        dead = Worker(server.url, lease_s=0.2)
        dead.take(2)
        dead.die()
        with working(server.url) as worker:
            eventually_kept(worker, 2)
    assert server.client.llen("fastq.trial.q") == 2
    with working(server.url) as worker:
        rows = worker.take(2, 10)
        assert sorted((row[2], body) for row, body in zip(rows, bodies(rows), strict=True)) == [(0, "c"), (2, "a")]
        assert worker.turn(10) == []
        assert bodies(worker.take(1, 10, ack=runs(rows))) == ["b"]


def test_after_a_restart_of_the_server_nobody_is_judged_for_the_time_it_was_away(server: Server, redis: Redis) -> None:
    server.put("a")
    with working(server.url, lease_s=1.5) as one:
        one.take(1)
        redis.stop()
        time.sleep(2.0)  # the outage itself: longer than the lease
        redis.start()
        with working(server.url) as other_one:
            assert other_one.transport.keep() == 0
            one.until(lambda: one.desk.line is not None)
            one.transport.keep()
            assert other_one.transport.keep() == 0
            assert server.held() == ["a"]


def test_a_worker_that_cannot_renew_while_its_task_runs_keeps_its_lease(server: Server) -> None:
    server.put("a")
    with working(server.url, lease_s=86_400, kept_lease_s=0.6) as solo, working(server.url) as worker:
        rows = solo.take(1)
        end = time.monotonic() + 1.5
        while time.monotonic() < end:
            assert worker.transport.keep() == 0
            worker.sleep(0.05)
        solo.turn(ack=runs(rows))
        solo.until(lambda: not server.held())


@pytest.mark.parametrize("lease", [{"lease_s": 600.0}, {"lease_s": 86_400.0, "kept_lease_s": 600.0}])
def test_who_works_already_looks_when_the_lease_of_another_is_over(server: Server, lease: dict[str, float]) -> None:
    # By itself it would look 200 s later; and a worker that cannot renew itself is told by nobody to look.
    server.put("a", "b")
    dead = Worker(server.url, lease_s=1.0)
    dead.take(2)
    with working(server.url, **lease) as survivor:
        survivor.idle()
        dead.die()
        rows = survivor.take(2)
        assert (bodies(rows), [row[2] for row in rows]) == (["a", "b"], [1, 1])


def test_after_one_life_it_waits_for_the_end_of_the_next(server: Server) -> None:
    server.put("a", "b")
    first, second = Worker(server.url, lease_s=0.5), Worker(server.url, lease_s=1.5)
    first.take(1)
    second.take(1)
    with working(server.url, lease_s=600.0) as survivor:
        survivor.idle()
        first.die()
        second.die()
        assert sorted(bodies(survivor.take(2))) == ["a", "b"]


def test_a_worker_that_nobody_tells_to_renew_its_lease_does_so(server: Server) -> None:
    server.put("a")
    with working(server.url, lease_s=0.6) as worker, working(server.url) as other_one:
        rows = worker.take(1)
        ends = time.time() + 1.0
        worker.until(lambda: server.client.zscore("fastq.lives", worker.desk.lanes.life) > 1000 * (ends + 0.6))
        assert other_one.transport.keep() == 0
        worker.turn(ack=runs(rows))


# -- what Celery leaves ------------------------------------------------------------------------------------------------


@pytest.fixture
def abandon(server: Server) -> Callable[..., None]:
    """Have Celery's transport deliver messages to a consumer that vanishes."""
    def vanish(count: int, **options: Any) -> None:
        app = celery.Celery(broker=server.url)
        for n in range(count):
            app.send_task("t", args=[n], **options)
        with other.Connection(server.url) as connection:
            queue = other.Queue(options.get("queue", "celery"))
            with connection.channel() as channel:
                for _ in range(count):
                    assert queue(channel).get() is not None
                channel.qos.restore_at_shutdown = False
                server.client.zadd("unacked_index", {tag: 1.0 + n for n, tag in enumerate(
                    server.client.zrange("unacked_index", 0, -1))})
                channel.qos._delivered.clear()

    return vanish


def test_what_a_celery_worker_held_for_too_long_comes_back_in_order(server: Server,
                                                                   abandon: Callable[..., None]) -> None:
    abandon(3)
    assert server.client.hlen("unacked") == 3
    with working(server.url, "celery") as worker:
        rows = worker.take(3)
        assert [row[2] for row in rows] == [0, 0, 0]
        assert [body[2:4] for body in bodies(rows)] == ["0]", "1]", "2]"]
        assert server.client.hlen("unacked") == server.client.zcard("unacked_index") == 0


def test_what_celery_holds_not_long_enough_or_unreadably_stays(server: Server) -> None:
    server.client.hset("unacked", mapping={"new": b'[{"body": ""}, "", "q"]', "bad": b"junk"})
    server.client.zadd("unacked_index", {"new": time.time(), "bad": 1.0})
    with working(server.url) as worker:
        worker.transport.keep()
        worker.until(lambda: not worker.desk.line.is_busy)
        assert server.client.hlen("unacked") == 2
