"""What a caller asks for beside the arguments reaches the request, and is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from tests.compat.sides import Pair


def test_the_request_tells_who_was_called_and_how(pair: Pair, key: str):
    sent = pair.tasks.facts.apply_async(
        task_id=f"an id of one's own: {key}", time_limit=30, soft_time_limit=20, headers={"x-trace": "abc"})
    facts = sent.get(timeout=10)
    assert facts["id"] == facts["correlation_id"] == facts["root_id"] == f"an id of one's own: {key}"
    assert facts["task"] == "compat.facts" and facts["parent_id"] is None and facts["retries"] == 0
    assert facts["timelimit"] == [30, 20]
    assert facts["headers"] == {"x-trace": "abc"}
    assert facts["routing_key"] == pair.worker.settings["task_default_queue"]


@pytest.mark.parametrize("by", ["countdown", "eta"])
def test_a_task_waits_for_its_time(pair: Pair, by: str):
    eta = datetime.now(timezone.utc) + timedelta(seconds=1)
    when = {"countdown": 1} if by == "countdown" else {"eta": eta}
    late_s = pair.tasks.due.apply_async((eta.isoformat(),), **when).get(timeout=10)
    assert 0 <= late_s < 1.5


def test_a_time_in_the_past_is_now(pair: Pair):
    eta = datetime.now(timezone.utc) - timedelta(hours=1)
    assert pair.tasks.due.apply_async((eta.isoformat(),), eta=eta).get(timeout=10) >= 3600


def test_tasks_with_a_time_do_not_hold_up_those_without(pair: Pair):
    # More than a second: what comes out of RabbitMQ within the last one waits in a window, and Celery's are small.
    eta = datetime.now(timezone.utc) + timedelta(seconds=2)
    later = [pair.tasks.due.apply_async((eta.isoformat(),), eta=eta) for _ in range(10)]
    now = [pair.tasks.due.delay(eta.isoformat()) for _ in range(5)]
    assert all(sent.get(timeout=10) < 0 for sent in now)
    assert all(sent.get(timeout=10) >= 0 for sent in later)


def test_a_task_that_has_expired_is_revoked(pair: Pair, errors: Any):
    sent = pair.tasks.add.apply_async((1, 2), expires=datetime.now(timezone.utc) - timedelta(seconds=5))
    with pytest.raises(errors.TaskRevokedError, match="expired"):
        sent.get(timeout=10)
    assert sent.state == "REVOKED"


def test_a_task_that_has_not_expired_runs_and_knows_when_it_will(pair: Pair):
    before = time.time()
    facts = pair.tasks.facts.apply_async(expires=60).get(timeout=10)
    assert 59 < datetime.fromisoformat(facts["expires"]).timestamp() - before < 62


def test_the_priority_of_a_message_reaches_the_request(pair: Pair):
    assert pair.tasks.facts.apply_async(priority=7).get(timeout=10)["priority"] == 7


@pytest.fixture(scope="package")
def ranked(make_pair: Callable[..., Pair]) -> Pair:
    """A worker that has one message in hand at a time, of a queue with priorities."""
    return make_pair(task_default_queue_type="classic", task_queue_max_priority=9, worker_prefetch_multiplier=1,
                     worker_concurrency=1, task_acks_late=True)


FIRST = {"amqp": ["9", "5", "3", "1"], "redis": ["1", "5", "3", "9"]}
"""On Redis 0 goes first, and 3 to 5 are one step."""


def test_a_task_of_higher_priority_goes_first(ranked: Pair, key: str):
    pair = ranked
    pair.tasks.hold.delay(key)
    pair.wait_for_notes(key)
    for priority in (1, 5, 9, 3):
        pair.tasks.keep.apply_async((priority, f"{key}-order"), priority=priority)
    pair.wait_for_ready(4)
    pair.worker.allow(key)
    assert pair.wait_for_notes(f"{key}-order", 4) == FIRST[pair.client.url.partition(":")[0]]
