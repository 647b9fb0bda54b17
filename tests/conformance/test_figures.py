"""What every transport promises about its figures, and about purging."""

from __future__ import annotations

import time

from fastq.types import Message, QueueStat
from tests.conformance.broker import Broker, bodies
from tests.conformance.engine import atomic


def test_queues_tells_how_many_messages_are_ready(broker: Broker) -> None:
    broker.publish([Message("a", b"")] * 3 + [Message("b", b"")])
    assert broker.figures() == {"a": QueueStat(ready=3), "b": QueueStat(ready=1)}


@atomic
def test_queues_tells_where_the_messages_are(broker: Broker) -> None:
    broker.publish([Message("a", b"", priority) for priority in (0, 0, 5)])
    broker.publish_one("b", b"", run_at=time.time() + 60)
    broker.attach("a")
    rows = broker.take(2, 2)
    broker.end(dead=[(rows[0].tag, "x")])
    assert broker.figures() == {"a": QueueStat(ready=1, held=1, dead=1), "b": QueueStat(future=1)}


def test_purge_drops_what_is_ready_but_not_what_is_held(broker: Broker) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(20)])
    broker.send("kept", queue="other")
    broker.attach("q")
    held = broker.take(5, 5)
    assert broker.purge("q") == 15
    assert broker.purge("q") == 0
    assert broker.purge("no such queue") == 0
    broker.check("other", ready=1)
    broker.send("new")
    row, = broker.take(1)
    assert row.body == b"new"
    assert row.tag not in {each.tag for each in held}
    broker.end(ack=[(held[0].tag, held[-1].tag), (row.tag, row.tag)])
    broker.check()


@atomic
def test_purge_drops_what_is_ready_and_future_but_not_what_is_held_or_dead(broker: Broker) -> None:
    later = time.time() + 60
    broker.publish([Message("q", b"%d" % n, n % 3, later if n % 2 else None) for n in range(12_000)])
    broker.send("kept", queue="other")
    broker.attach("q")
    rows = broker.take(10, 10)
    broker.end(dead=[(rows[0].tag, "x")], back=[(rows[1].tag, rows[1].tag)], lost=[rows[2].tag])
    assert broker.purge("q") == 12_000 - 8
    assert broker.figures() == {"other": QueueStat(ready=1), "q": QueueStat(held=7, dead=1)}
    broker.send("new")
    assert bodies(broker.take(1)) == [b"new"]


def test_a_purged_queue_never_reuses_the_tags_of_what_is_held(broker: Broker) -> None:
    broker.send("a", "b", "c")
    broker.attach("q")
    held = {row.tag for row in broker.take(2, 2)}
    broker.purge("q")
    broker.send("d", "e")
    assert held.isdisjoint(row.tag for row in broker.take(2))
