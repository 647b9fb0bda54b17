"""Figures and purge."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastq.exceptions import BrokerRefused
from fastq.transport import amqp_side, amqp_stat
from fastq.types import QueueStat
from tests.unit.transport.amqpkit import Desk, content


def test_queues_that_exist_are_told_with_what_is_ready(desk: Desk) -> None:
    desk.do(amqp_side.queue("a"), amqp_side.queue("b"))
    for name in "123":
        desk.publish("", "a", content(name))
    assert amqp_stat.queues(desk.side, ["b", "a", "missing", "a"]) == {"a": QueueStat(ready=3), "b": QueueStat()}
    assert amqp_stat.queues(desk.side, []) == {}


def test_purge_drops_what_is_ready(desk: Desk) -> None:
    desk.do(amqp_side.queue("a"))
    for name in "123":
        desk.publish("", "a", content(name))
    assert amqp_stat.purge(desk.side, "a") == 3
    assert amqp_stat.purge(desk.side, "a") == 0
    assert amqp_stat.purge(desk.side, "missing") == 0


def test_a_queue_of_somebody_else_is_refused(open_desk: Callable[[], Desk]) -> None:
    desk, other = open_desk(), open_desk()
    other.do(amqp_side.queue("mine", exclusive=True))
    for ask in (lambda: amqp_stat.queues(desk.side, ["mine"]), lambda: amqp_stat.purge(desk.side, "mine")):
        with pytest.raises(BrokerRefused) as caught:
            ask()
        assert caught.value.code == 405
