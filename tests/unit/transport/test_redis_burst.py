"""A worker that slept, and to which many messages are sent at once."""

from __future__ import annotations

import pytest

from tests.unit.transport.redisdesk import Server, bodies, runs, working

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
