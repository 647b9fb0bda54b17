"""A worker that slept, and to which many messages are sent at once."""

from __future__ import annotations

import pytest

from tests.unit.transport.redisdesk import Row, Server, bodies, runs, working

pytestmark = pytest.mark.redis
MANY = 400


def fetches(server: Server) -> int:
    """How often the server gave one message to somebody who waited."""
    found = server.client.info("commandstats").get("cmdstat_blmove", {"calls": 0})
    return int(found["calls"])


def test_a_burst_to_an_idle_worker_is_fetched_in_bulk(server: Server) -> None:
    with working(server.url) as worker:
        worker.idle(MANY)
        before = fetches(server)
        server.put(*map(str, range(MANY)))
        rows = worker.take(MANY)
        assert bodies(rows) == list(map(str, range(MANY)))
        worker.turn(ack=runs(rows))
        assert fetches(server) - before < MANY / 4


@pytest.mark.parametrize("acks_early", [True, False])
def test_a_stream_is_not_fetched_one_by_one(server: Server, acks_early: bool) -> None:
    rounds, size, credit = 40, 10, 64
    with working(server.url) as worker:
        worker.idle(credit)
        server.client.config_resetstat()
        for _ in range(rounds):
            server.put(*map(str, range(size)))
            rows: list[Row] = []
            while len(rows) < size:
                worker.sleep()
                came = worker.turn(credit - len(rows))
                if acks_early and came:
                    assert worker.turn(0, ack=runs(came)) == []
                rows += came
            assert bodies(rows) == list(map(str, range(size)))
            if not acks_early:
                assert worker.turn(credit - size, ack=runs(rows)) == []
        scripts = int(server.client.info("commandstats")["cmdstat_evalsha"]["calls"])
        assert scripts + fetches(server) <= 5 * rounds
