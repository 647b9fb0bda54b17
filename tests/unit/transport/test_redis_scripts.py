"""The scripts, run as a server runs them: whatever goes wrong in the middle, no message is lost or doubled."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Any

import pytest
import redis as client

from fastq.bench.servers.redis import Redis
from fastq.transport import redis_lease
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_lanes import LANE_BITS, Lanes
from fastq.transport.redis_link import Link, connect
from fastq.transport.redis_target import parse
from fastq.transport.redis_turn import SCRIPT, Outbox

pytestmark = pytest.mark.redis


class Life:
    """One life, whose turns are made by hand."""

    def __init__(self, url: str, *queues: str, name: str = "life", lease_s: float = 30.0) -> None:
        self.client = client.Redis.from_url(url)
        self.link: Link = connect(parse(url), 5)
        self.lanes = Lanes(Keys(), queues or ("q",), name)
        self.number = self.next = 0
        redis_lease.begin(self.link, self.lanes, lease_s)

    def close(self) -> None:
        """Let go of the connections."""
        self.link.close()
        self.client.close()

    def turn(self, credit: int = 0, *, number: int | None = None, base: int | None = None, suspects: int = 1,
             **said: Any) -> list[Any]:
        """One turn; returns the reply."""
        if number is None:
            number = self.number = self.number + 1
        base = self.next if base is None else base
        self.next = max(self.next, base + credit)
        head = (number, base, credit, number % len(self.lanes.served), suspects)
        words = Outbox(**said).words(self.lanes, head)
        return SCRIPT.call(self.link, words[3:3 + int(words[2])], words[3 + int(words[2]):])  # type: ignore[no-any-return, arg-type]

    def give(self, credit: int, **options: Any) -> dict[int, bytes]:
        """One turn; returns tag -> envelope of what it gave."""
        reply = self.turn(credit, **options)
        return {(lane << LANE_BITS) + first + at: envelope
                for lane, first, envelopes in zip(*(iter(reply[4:]),) * 3, strict=True)
                for at, envelope in enumerate(envelopes)}

    def put(self, *said: str, key: str | bytes = "q") -> None:
        """Put texts in a list, the first to be served first."""
        for each in said:
            self.client.lpush(key, each)

    def ready(self, key: str | bytes = "q") -> list[str]:
        """What is in a list, the next one first."""
        return [each.decode() for each in reversed(self.client.lrange(key, 0, -1))]

    def held(self) -> dict[int, bytes]:
        """What is in hand."""
        return {int(tag): envelope for tag, envelope in self.client.hgetall(self.lanes.held_key).items()}


@pytest.fixture
def live(redis_url: str) -> Iterator[Callable[..., Life]]:
    made: list[Life] = []

    def make(*queues: str) -> Life:
        made.append(Life(redis_url, *queues))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def life(live: Callable[..., Life]) -> Life:
    return live()


def test_a_turn_gives_in_order_and_records_what_it_gave(life: Life) -> None:
    life.put(*(f"{n}" for n in range(1000)))
    given = life.give(700)
    assert [each.decode() for each in given.values()] == [f"{n}" for n in range(700)]
    assert life.held() == given
    assert life.ready() == [f"{n}" for n in range(700, 1000)]


def test_a_turn_that_is_sent_again_gives_the_same_and_does_nothing(life: Life) -> None:
    life.put("a", "b", "c")
    given = life.give(2)
    said: dict[str, Any] = {"acked": [(0, 0)], "published": [(b"out", "", b"x")]}
    life.turn(0, **said)
    life.turn(0, number=2, **said)
    assert life.ready("out") == ["x"]
    assert life.give(2, number=1, base=0) == {0: None, 1: given[1]}
    assert life.ready() == ["c"]


def test_a_turn_before_its_time_and_one_of_nobody_are_refused(life: Life) -> None:
    life.put("a")
    with pytest.raises(Exception, match="GAP"):
        life.turn(5, number=3)
    life.client.zrem("fastq.lives", "life")
    with pytest.raises(Exception, match="LEASELOST"):
        life.turn(5)
    assert life.ready() == ["a"]


def test_low_numbers_are_served_first_and_queues_in_turn(live: Callable[..., Life]) -> None:
    life = live("q", "r")
    keys = Keys()
    for queue, step in (("q", 9), ("q", 3), ("q", 0), ("r", 3), ("r", 0)):
        life.put(*(f"{queue}{step}-{n}" for n in range(3)), key=keys.list_of(queue, step))
    given = [each.decode() for each in life.give(13).values()]
    steps = [int(each[1]) for each in given]
    assert steps == sorted(steps)
    assert sum(each.startswith("q0") for each in given) == sum(each.startswith("r0") for each in given) == 3
    life.put(*"abcdef", key="q")
    life.put(*"uvwxyz", key="r")
    firsts = [next(iter(life.give(1).values())).decode() in "abcdef" for _ in range(6)]
    assert firsts.count(True) == 3


def test_what_is_too_large_to_come_along_comes_with_the_next_turn(life: Life) -> None:
    life.put(*("x" * 200_000 for _ in range(300)))
    reply = life.turn(300)
    assert reply[2] == 1
    assert 0 < len(reply[6]) < 300
    assert len(life.ready()) + len(life.held()) == 300


def test_a_full_server_is_drained_and_what_tasks_send_is_taken(life: Life, redis: Redis) -> None:
    life.put(*"abc")
    redis.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        assert list(life.give(2).values()) == [b"a", b"b"]
        life.turn(1, acked=[(0, 0)], back=[(1, 1)], published=[(b"out", "", b"x"), (b"fastq.future.q", 9e15, b"q\ny")],
                  results=[(b"result", 60_000, b"{}")])
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", 0)
    assert list(life.held().values()) == [b"b"]
    assert (life.ready(), life.ready("out"), life.client.get("result")) == (["c"], ["x"], b"{}")


def test_a_full_server_lets_a_worker_renew_and_leave(life: Life, redis: Redis) -> None:
    life.put(*"abc")
    life.give(3)
    redis.ask("CONFIG", "SET", "maxmemory", 1)
    try:
        redis_lease.KEEP.call(life.link, [life.lanes.lives, life.lanes.graves], ["life", 30_000, 1])
        assert redis_lease.leave(life.link, life.lanes) == 3
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", 0)
    assert life.ready() == ["a", "b", "c"]


def test_a_list_that_is_none_is_complained_of_and_stops_nobody(live: Callable[..., Life]) -> None:
    life = live("q", "r")
    life.client.set("q", "text")
    life.put("a", key="r")
    reply = life.turn(5)
    assert b"WRONGTYPE" in reply[3][0]
    assert reply[6] == [b"a"]


def test_what_cannot_be_put_anywhere_becomes_a_dead_letter(life: Life) -> None:
    life.client.set("text", "x")
    life.put("a", "b")
    life.give(2)
    life.client.delete("q")
    life.client.set("q", "text")
    reply = life.turn(0, published=[(b"text", "", b"p"), (b"text", 5, b"text\nf")], back=[(0, 0)],
                      lost=[(1, b"text", b"b")], results=[(b"q2", 5000, b"{}")])
    assert len(reply[3]) == 4
    letters = [letter.split(b"\n", 3)[3] for letter in life.client.zrange("fastq.dead.q", 0, -1)]
    assert sorted(letters) == [b"a", b"b", b"p", b"text\nf"]
    assert life.held() == {}
    assert life.client.get("q2") == b"{}"


def test_a_result_that_cannot_be_stored_does_not_stop_the_turn(life: Life) -> None:
    life.client.lpush("result", "no text")
    life.put("a")
    reply = life.turn(1, results=[(b"result", 5000, b"{}"), (b"other", 5000, b"{}")])
    assert b"WRONGTYPE" in reply[3][0]
    assert reply[6] == [b"a"]
    assert life.client.get("other") == b"{}"


def test_a_user_who_may_not_publish_messages_keeps_what_is_held(redis: Redis, redis_url: str, life: Life) -> None:
    life.put("a")
    redis.ask("ACL", "SETUSER", "few", "on", ">secret", "~*", "resetchannels", "+@all", "-lpush")
    life.link.close()
    try:
        life.link = connect(parse(redis_url)._replace(username="few", password="secret"), 5)
        reply = life.turn(1, published=[(b"out", "", b"x")], results=[(b"result", 5000, b"{}")])
    finally:
        redis.ask("ACL", "DELUSER", "few")
    assert len(reply[3]) == 2
    assert reply[6] == [b"a"]
    assert [letter.split(b"\n", 3)[3] for letter in life.client.zrange("fastq.dead.q", 0, -1)] == [b"x"]


def test_future_messages_that_are_due_go_to_their_lists_in_order(life: Life) -> None:
    past = time.time() * 1000 - 1000
    life.client.zadd("fastq.future.q", {"q\nsecond": past + 2, "q\nfirst": past + 1, "q\nlater": past + 1e9})
    reply = life.turn(5)
    assert reply[6] == [b"first", b"second"]
    assert abs(reply[1] - (past + 1e9)) < 2
    assert life.client.zcard("fastq.future.q") == 1


def test_what_a_wait_got_is_recorded_and_what_nobody_was_told_of_is_given(life: Life) -> None:
    life.client.rpush("fastq.inbox.life.0", "told", "untold")
    reply = life.turn(0, base=10, adopted=[(0, 5)], unknown={0: b""})
    assert reply[4:] == [0, 10, [b"untold"]]
    assert life.held() == {5: b"told", 10: b"untold"}
    assert life.client.exists("fastq.inbox.life.0") == 0


def test_what_has_ended_is_not_given_though_nobody_took_it_out(life: Life) -> None:
    life.client.rpush("fastq.inbox.life.0", "over", "untold", "over")
    reply = life.turn(0, base=10, unknown={0: b"over"})
    assert reply[4:] == [0, 10, [b"untold", b"over"]]
    assert life.client.exists("fastq.inbox.life.0") == 0
    life.client.rpush("fastq.inbox.life.0", "over")
    assert life.turn(0, base=20, unknown={0: b"over"})[4:] == []
    assert life.held() == {10: b"untold", 11: b"over"}
    assert life.client.exists("fastq.inbox.life.0") == 0


def test_an_empty_message_is_given_like_any_other(life: Life) -> None:
    life.client.rpush("fastq.inbox.life.0", "", "a")
    assert life.turn(0, base=10, unknown={0: b""})[4:] == [0, 10, [b"", b"a"]]


def test_what_has_ended_by_now_is_only_taken_out_of_its_inbox(life: Life) -> None:
    life.client.rpush("fastq.inbox.life.0", "over", "runs", "untold")
    reply = life.turn(0, base=10, adopted=[(0, 5), (0, 6)], acked=[(5, 5)])
    assert reply[3:] == [[]]
    assert life.held() == {6: b"runs"}
    assert life.client.lrange("fastq.inbox.life.0", 0, -1) == [b"untold"]


def test_of_suspects_one_at_most_is_given(life: Life) -> None:
    life.put("s", "t", key="fastq.trial.q")
    life.put("a")
    assert sorted(life.give(5).values()) == [b"a", b"s"]
    assert life.give(5, suspects=0) == {}
    assert list(life.give(5).values()) == [b"t"]


def test_thousands_of_endings_fit_into_one_turn(life: Life) -> None:
    life.put(*(f"{n}" for n in range(9000)))
    tags = list(chain.from_iterable(life.give(3000) for _ in range(3)))
    life.turn(0, acked=[(tags[0], tags[2999])], back=[(tag, tag) for tag in tags[3000:6000]])
    assert len(life.held()) == 3000
    assert life.ready() == [f"{n}" for n in range(3000, 6000)]


def test_a_life_that_renewed_in_time_is_not_ended(life: Life) -> None:
    keys = [life.lanes.lives, life.lanes.graves, life.lanes.life_key, life.lanes.held_key, *life.lanes.inboxes]
    assert redis_lease.END.call(life.link, keys, ["life", 1000, 0, life.lanes.width]) == 0
    life.client.zadd("fastq.lives", {"life": 1.0})
    assert redis_lease.END.call(life.link, keys, ["life", 1000, 0, life.lanes.width]) == 1
    assert redis_lease.END.call(life.link, keys, ["life", 1000, 0, life.lanes.width]) == 0
