"""Who may complete a chord on Redis, and for how long nobody else may: beside Celery's own script."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis as client
from celery.backends.redis import CHORD_PART_RETURN_LUA

from fastq.app.results import Expiry
from fastq.backends.redis import RedisStore
from fastq.backends.redis_chord import CLAIM_S
from fastq.exceptions import BackendError
from fastq.transport.redis_link import Link
from fastq.types import Claim, Endings, Opening, Part
from fastq.wire import chord
from fastq.worker.join import Joiner

pytestmark = pytest.mark.redis
KEPT_S = 3600


@pytest.fixture
def gid() -> str:
    return uuid4().hex


def part(gid: str, place: int) -> Part:
    plan = chord.plan(gid, {"task": "body"}, serializer="json", queue="celery", priority=0)
    return Part(gid, f"t{place}", place, "SUCCESS", f"value {place}".encode(), None, plan)


def counted_by_celery(link: Link, gid: str, task_id: str, place: int) -> bool:
    """Whether a worker of Celery's would send the body, now that the member has run there once more."""
    keys = [f"celery-taskset-meta-{gid}{end}" for end in (".j", ".t", ".s", ".d", "", ".c")]
    answer: Any = link.call("EVAL", CHORD_PART_RETURN_LUA, len(keys), *keys, task_id, "value", 1, place, KEPT_S, KEPT_S,
                            10, "celery's")
    return bool(answer[3])


@pytest.fixture
def complete(open_redis: Callable[..., RedisStore], gid: str) -> tuple[RedisStore, Joiner, Endings]:
    """A chord of two whose message is about to leave."""
    store = open_redis()
    store.chord_open(gid, 2, expires_at=time.time() + KEPT_S)
    joiner, endings = Joiner(lambda: store, Expiry(KEPT_S, KEPT_S)), Endings(parts=[part(gid, 0), part(gid, 1)])
    joiner.count(endings)
    assert endings.joined == [Claim(gid, "t1")] and len(endings.publish) == 1
    return store, joiner, endings


def expire(link: Link, gid: str, seconds: int) -> int:
    """Let *seconds* pass for the claim; returns those that are left to it then."""
    key = f"celery-taskset-meta-{gid}.c"
    left = max(0, link.call("TTL", key) - seconds)  # type: ignore[operator]
    link.call("EXPIRE", key, left)
    return left


def test_until_its_message_is_with_the_broker_a_chord_may_be_completed_by_others(
    complete: tuple[RedisStore, Joiner, Endings], link: Link, gid: str,
) -> None:
    store, _, _ = complete
    assert store.chord_count([part(gid, 0)]) == []
    assert len(store.chord_count([part(gid, 1)])) == 1      # the very member: its worker died
    assert expire(link, gid, CLAIM_S) == 0
    assert counted_by_celery(link, gid, "t0", 0)


def test_a_long_backlog_lets_nobody_complete_a_chord_anew(
    complete: tuple[RedisStore, Joiner, Endings], link: Link, gid: str,
) -> None:
    store, joiner, endings = complete
    joiner.close(endings.joined)
    assert expire(link, gid, 10 * CLAIM_S) > 0
    assert store.chord_count([part(gid, 0)]) == store.chord_count([part(gid, 1)]) == []
    assert not counted_by_celery(link, gid, "t0", 0)
    assert not store.chord_get(gid).is_done and len(store.chord_get(gid).members) == 2


def test_a_message_that_was_slow_to_leave_takes_the_claim_again(
    complete: tuple[RedisStore, Joiner, Endings], link: Link, gid: str,
) -> None:
    store, joiner, endings = complete
    expire(link, gid, CLAIM_S)
    joiner.close(endings.joined)
    assert store.chord_count([part(gid, 0)]) == []


@pytest.mark.parametrize("kept", [None, KEPT_S])
def test_a_claim_of_somebody_else_and_a_chord_that_is_done_stay_as_they_are(
    open_redis: Callable[..., RedisStore], link: Link, gid: str, kept: int | None,
) -> None:
    store, key = open_redis(), f"celery-taskset-meta-{gid}.c"
    expires_at = None if kept is None else time.time() + kept
    for claim in (b"done", b"t7"):
        link.call("SET", key, claim)
        store.chord_hold([Claim(gid, "t1")], expires_at)
        assert link.call("GET", key) == claim
    store.chord_hold([Claim(gid, "t7"), Claim(f"{gid}-other", "t1")], expires_at)
    assert link.call("GET", key) == link.call("GET", f"celery-taskset-meta-{gid}-other.c") == b"sent"
    assert (link.call("TTL", key) == -1) is (kept is None)
    store.chord_close([gid])
    assert store.chord_get(gid).is_done


def test_the_chords_of_a_workflow_are_opened_in_one_round_trip(
    open_redis: Callable[..., RedisStore], gid: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, sends, send = open_redis(), list[int](), Link.send
    store.chord_open(gid, 1)

    def counted(link: Link, data: bytes) -> None:
        sends.append(len(data))
        send(link, data)

    with monkeypatch.context() as patch:
        patch.setattr(Link, "send", counted)
        store.chord_open_all([Opening(f"{gid}-{n}", 10) for n in range(111)], expires_at=time.time() + KEPT_S)
    assert len(sends) == 1
    assert store.chord_count([part(f"{gid}-110", place) for place in range(10)], time.time() + KEPT_S)


def test_one_that_fails_is_told_and_the_connection_is_left_in_order(
    open_redis: Callable[..., RedisStore], redis_url: str, gid: str
) -> None:
    store, opens = open_redis(), [Opening(f"{gid}-{n}", 1) for n in range(3)]
    with client.Redis.from_url(redis_url) as other:
        other.lpush(f"celery-taskset-meta-{gid}-1.c", "no text")
        with pytest.raises(BackendError, match="WRONGTYPE"):
            store.chord_open_all(opens, expires_at=time.time() + KEPT_S)
        other.delete(f"celery-taskset-meta-{gid}-1.c")
    store.chord_open_all(opens, expires_at=time.time() + KEPT_S)
    assert [one.group_id for one in store.chord_count([part(each.group_id, 0) for each in opens])] == [
        each.group_id for each in opens]
