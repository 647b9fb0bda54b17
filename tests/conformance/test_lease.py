"""What transports promise about workers that die or fall silent: what they hold comes back, a killer dies alone."""

from __future__ import annotations

import select
import time
from collections.abc import Callable

import pytest

from fastq.exceptions import LeaseLost
from tests.conformance.broker import Broker, bodies
from tests.conformance.engine import leased, pushing
from tests.deadline import wait_until

Open = Callable[..., Broker]


def eventually_kept(broker: Broker) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        count = broker.transport.keep()
        if count:
            return count
        select.select([broker.transport.fileno()], [], [], 0.01)
    raise AssertionError("nothing came back")


@leased
def test_a_silent_worker_loses_its_deliveries_and_is_told_so(open_broker: Open) -> None:
    silent, lively = open_broker(), open_broker()
    silent.send("a", "b", "c")
    silent.attach("q", name="silent", lease_s=0.05)
    lively.attach("q", name="lively", lease_s=30)
    tags = [row.tag for row in silent.take(2, 2)]
    assert eventually_kept(lively) == 2
    assert [(row.deaths, row.body) for row in lively.take(3)] == [(1, b"a"), (1, b"b"), (0, b"c")]
    with pytest.raises(LeaseLost, match="attach again"):
        silent.turn(100, ack=[(tags[0], tags[1])])
        silent.wait_for(1)
    lively.check(held=3)
    silent.attach("q", name="silent")
    lively.send("d")
    assert bodies(silent.take(1)) == [b"d"]


@leased
def test_keeping_tells_a_worker_that_it_lost_its_lease(open_broker: Open) -> None:
    silent, lively = open_broker(), open_broker()
    silent.attach("q", name="silent", lease_s=0.02)
    silent.send("a")
    silent.take(1)
    lively.attach("q", name="lively")
    eventually_kept(lively)
    with pytest.raises(LeaseLost):
        silent.transport.keep()


@leased
def test_a_lease_that_may_be_over_is_in_doubt_until_it_is_renewed(open_broker: Open) -> None:
    silent = open_broker()
    silent.attach("q", lease_s=0.5)
    wait_until(lambda: silent.transport.is_doubtful)
    # Nobody has noticed: it goes on.
    wait_until(lambda: (silent.transport.keep(), not silent.transport.is_doubtful)[1])


@leased
def test_a_worker_that_keeps_its_lease_keeps_its_deliveries(open_broker: Open) -> None:
    busy, other = open_broker(), open_broker()
    busy.send("a")
    busy.attach("q", name="busy", lease_s=0.3)
    other.attach("q", name="other")
    tag = busy.take(1)[0].tag
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        busy.transport.keep()
        assert other.transport.keep() == 0
        select.select([other.transport.fileno()], [], [], 0.02)
    busy.end(ack=[(tag, tag)])
    busy.check()


@leased
def test_a_message_one_death_short_of_the_limit_is_tried_alone(open_broker: Open) -> None:
    broker = open_broker(death_limit=2)
    broker.send(*"abcd")
    broker.attach("q")
    broker.end(lost=[row.tag for row in broker.take(2, 2)])
    first = sorted(broker.take(3), key=lambda row: -row.deaths)
    assert [(row.deaths, row.body) for row in first] == [(1, b"a"), (0, b"c"), (0, b"d")]
    assert broker.take(0) == []
    assert broker.transport.arm() != 0.0
    second = broker.take(1, ack=[(first[0].tag, first[0].tag)])
    assert [(row.deaths, row.body) for row in second] == [(1, b"b")]


@pushing
def test_of_two_messages_on_trial_one_waits_and_others_run_beside(open_broker: Open) -> None:
    broker = open_broker(death_limit=2)
    broker.send(*"abc")
    broker.attach("q")
    broker.end(lost=[row.tag for row in broker.take(2, 2)])
    first = sorted(broker.take(2), key=lambda row: row.deaths)
    assert [(row.deaths, row.body) for row in first] == [(0, b"c"), (1, b"a")]
    assert broker.take(0) == []
    second, = broker.take(1, ack=[(first[1].tag, first[1].tag)])
    assert (second.deaths, second.body) == (1, b"b")


@leased
def test_a_message_on_trial_can_end_in_every_way(open_broker: Open) -> None:
    broker = open_broker(death_limit=1)
    broker.send(*"abc")
    broker.attach("q")
    broker.end(lost=[row.tag for row in broker.take(3)])
    broker.check(ready=3)
    a, = broker.take(1)
    broker.end(back=[(a.tag, a.tag)])
    a, = broker.take(1)
    assert (a.deaths, a.body) == (1, b"a")
    broker.end(lost=[a.tag])
    again, = broker.take(1)
    assert (again.deaths, again.body) == (2, b"a")
    b, = broker.take(1, dead=[(again.tag, "it kills")])
    assert b.body == b"b"
    assert broker.dead_letters()[0].deaths == 2
    c, = broker.take(1, ack=[(b.tag, b.tag)])
    assert c.body == b"c"
    broker.attach("q", name="again")
    assert [(row.deaths, row.body) for row in broker.take(1)] == [(1, b"c")]


@leased
def test_a_killer_never_condemns_its_neighbours(open_broker: Open) -> None:
    survivor = open_broker()
    survivor.attach("q", name="survivor")
    survivor.send("innocent 1", "killer", "innocent 2")
    killed = 0
    while True:
        victim = open_broker()
        victim.attach("q", name="victim", lease_s=0.01)
        got = victim.wait_for(1)
        if any(row.deaths >= 3 for row in got):
            break
        if any(row.body == b"killer" for row in got):
            eventually_kept(survivor)  # the victim falls silent
            killed += 1
        else:
            victim.end(ack=[(row.tag, row.tag) for row in got])
            victim.close()
    assert killed == 3
    assert [row.body for row in got if row.deaths >= 3] == [b"killer"]
    assert all(row.deaths <= 2 for row in got if row.body != b"killer")
