"""How many turns are under way, and what a worker does until they are answered."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from fastq._ext.resp import command
from tests.deadline import wait_until
from tests.unit.transport.redisdesk import Server, bodies, runs, working

pytestmark = pytest.mark.redis


@contextmanager
def paused(server: Server) -> Iterator[None]:
    """The server answers no turn."""
    server.client.execute_command("CLIENT", "PAUSE", 60_000, "WRITE")
    try:
        yield
    finally:
        server.client.execute_command("CLIENT", "UNPAUSE")


def test_a_worker_that_waits_for_an_answer_sleeps_until_it_is_overdue(server: Server) -> None:
    server.put("a")
    with working(server.url) as worker:
        with paused(server):
            assert worker.turn(1) == []
            wait_s = worker.transport.arm()
            assert wait_s is not None
            assert 0 < wait_s <= worker.desk.line.link.reply_timeout_s
        assert bodies(worker.take(1)) == ["a"]


def test_two_turns_are_under_way_at_most_and_the_rest_is_said_with_the_next(server: Server) -> None:
    server.put(*map(str, range(300)))
    with working(server.url) as worker:
        rows = worker.take(300)
        with paused(server):
            for at in range(0, 300, 50):
                worker.turn(50, ack=runs(rows[at:at + 50]))
                assert len(worker.desk._turns) <= 2
        worker.until(lambda: not worker.desk._turns and not worker.desk._outbox.is_urgent)
        assert server.held() == []
    assert server.bodies() == []


def test_all_of_a_long_list_comes_once_and_in_its_order(server: Server) -> None:
    wanted = [str(n) for n in range(1500)]
    server.put(*wanted)
    found: list[str] = []
    with working(server.url) as worker:
        while len(found) < len(wanted):
            rows = worker.take(1, credit=400)
            found += bodies(rows)
            worker.turn(0, ack=runs(rows))
        worker.until(lambda: not worker.desk._turns)
    assert found == wanted


def test_an_answer_that_nobody_asked_for_breaks_the_connection_and_nothing_else(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    with working(server.url) as worker, caplog.at_level(logging.ERROR):
        worker.idle()
        worker.until(lambda: not worker.desk.line.is_busy)
        worker.desk.line.link.send(command("PING"))
        wait_until(lambda: worker.turn(5) == [] and "what was not asked" in caplog.text)
        server.put("a")
        assert bodies(worker.take(1)) == ["a"]


def calls(server: Server) -> dict[str, int]:
    """How often the server was asked what, within scripts too."""
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in server.client.info("commandstats").items()}


def test_short_tasks_one_by_one_cost_a_wait_and_a_script_each(server: Server) -> None:
    count = 20
    with working(server.url) as worker:
        worker.idle()
        server.client.config_resetstat()
        for at in range(count):
            server.put(str(at))
            rows = worker.take(1)
            assert bodies(rows) == [str(at)]
            worker.turn(1, ack=runs(rows))
            worker.idle(1)
        worker.until(lambda: not worker.desk._turns)
        asked = calls(server)
        assert server.held() == [] and server.bodies() == []
        assert server.client.exists(*worker.desk.lanes.inboxes) == 0
    assert asked["evalsha"] <= count + 2 and asked["blmove"] <= count + 1
    # What ended before the server was told of it is never put among what is held, nor looked at.
    assert asked.get("lrange", 0) == 0
    assert asked["hset"] <= asked["evalsha"]


def test_turns_that_fetch_nothing_leave_the_queues_their_order(server: Server) -> None:
    for queue in "ab":
        server.put(*map(str, range(12)), queue=queue)
    found: list[str] = []
    with working(server.url, "a", "b") as worker:
        for _ in range(12):
            rows = worker.take(1)
            found += [queue for queue, *_ in rows]
            worker.turn(0, ack=runs(rows))
            worker.until(lambda: not worker.desk._turns)
    assert found[:2] in (["a", "b"], ["b", "a"])
    assert found == found[:2] * 6


@pytest.mark.parametrize(("strategy", "order"), [("priority", "bbbaa"), ("sorted", "aaabb")])
def test_a_queue_is_emptied_before_those_behind_it_if_that_is_wanted(
    server: Server, strategy: str, order: str
) -> None:
    for queue in "ab":
        server.put("1", "2", "3", queue=queue)
    with working(server.url, "b", "a", queue_order_strategy=strategy) as worker:
        assert "".join(queue for queue, *_ in worker.take(5)) == order


def test_queues_share_what_is_wanted_if_nothing_else_is(server: Server) -> None:
    for queue in "ab":
        server.put("1", "2", "3", queue=queue)
    with working(server.url, "b", "a") as worker:
        assert sorted(queue for queue, *_ in worker.take(4)) == ["a", "a", "b", "b"]
