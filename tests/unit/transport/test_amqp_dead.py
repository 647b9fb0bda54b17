"""Dead messages: what they keep, how they are read, played again and dropped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from fastq._ext import amqp, envelope
from fastq.exceptions import BrokerRefused
from fastq.transport import amqp_look, amqp_side
from fastq.transport.amqp_dead import DEAD, DeadLetters, dead_message, has_own_dlx, letter_of
from fastq.transport.amqp_side import Step
from fastq.transport.amqp_topology import Topology
from fastq.types import DeadLetter
from fastq.wire.entity import Exchange, Queue
from tests.deadline import wait_until
from tests.unit.transport.amqpkit import Desk, content

TYPES = ("classic", "quorum")


@pytest.fixture(params=TYPES)
def dead(request: pytest.FixtureRequest) -> DeadLetters:
    return letters_of("q", "other", kind=request.param)


def letters_of(*names: str, kind: str = "classic") -> DeadLetters:
    return DeadLetters(Topology({name: Queue(name, Exchange("e"), name) for name in names}.get), kind)


def bury(desk: Desk, dead: DeadLetters, *names: str, queue: str = "q", deaths: int = 0, **headers: Any) -> None:
    dead.declare(desk.side)
    for name in names:
        desk.publish(*dead_message(content(name, **headers), queue, f"because of {name}", deaths))


def names_of(letters: list[DeadLetter]) -> list[str]:
    return [str(envelope.unpack(letter.content)[1]["id"]) for letter in letters]


def told(letter: DeadLetter) -> tuple[Any, ...]:
    """All of a letter; the broker may have put its headers in another order."""
    return (*letter[:-1], envelope.unpack(letter.content))


# -- messages ---------------------------------------------------------------------------------------------------------


def test_a_dead_message_keeps_its_headers_and_body() -> None:
    packed = content("a", custom=[1, {"b": None}])
    exchange, key, buried = dead_message(packed, "video", "it kills", 3, died_at=12.5)
    assert (exchange, key) == (DEAD, "video")
    _, headers, _ = envelope.unpack(buried)
    ident = headers["x-fastq-dead-id"]
    assert 0 < ident < 1 << 53
    assert {name: value for name, value in headers.items() if name.startswith("x-")} == {
        "x-fastq-dead-id": ident, "x-fastq-queue": "video", "x-fastq-reason": "it kills", "x-fastq-died-at": 12.5,
        "x-fastq-deaths": 3}
    assert letter_of(buried) == (ident, "video", "it kills", 12.5, 3, packed)


def test_who_dies_again_has_only_its_last_death() -> None:
    once = dead_message(content("a", **{"x-fastq-deaths": 2}), "q", "first", 1)[2]
    again = letter_of(dead_message(once, "r", "second", 2)[2])
    assert again[1:3] == ("r", "second")
    assert again.content == content("a")


def test_a_dead_message_does_not_expire() -> None:
    packed = envelope.pack({"expiration": "10", "priority": 3}, {"id": "a"}, b"")
    assert envelope.unpack(dead_message(packed, "q", "x", 0)[2])[0] == {"priority": 3}


@pytest.mark.parametrize("headers", [
    {}, {"x-death": []}, {"x-death": "x"}, {"x-death": [1]}, {"x-death": [{}]}, {"x-death": [{"routing-keys": [None]}]},
    {"x-death": [{"queue": 1, "reason": None, "time": "now", "routing-keys": 3}]},
    {"x-fastq-dead-id": "1", "x-fastq-died-at": 1.0}, {"x-fastq-dead-id": 1, "x-fastq-died-at": "x"},
    {"x-fastq-deaths": "many"}, {"x-fastq-queue": 3, "x-fastq-dead-id": 1, "x-fastq-died-at": 2.0},
])
def test_a_message_of_others_is_read_whatever_its_headers_are(headers: dict[str, Any]) -> None:
    letter = letter_of(content("a", **headers))
    assert told(letter) == told(letter_of(content("a", **{**headers, "x-delivery-count": 3})))
    assert 0 <= letter.id < 1 << 53
    assert letter.deaths == 0


def test_a_message_that_makes_no_sense_is_told_as_such() -> None:
    letter = letter_of(b"\0\0\0\x02\0\1 broken")
    assert letter.reason.startswith("unreadable: ")
    assert letter.content == b"\0\0\0\x02\0\1 broken"


def test_a_queue_with_a_dead_letter_exchange_of_its_own_is_known() -> None:
    assert has_own_dlx(Queue("q", queue_arguments={"x-dead-letter-exchange": ""}))
    assert not has_own_dlx(Queue("q"))


# -- reading ----------------------------------------------------------------------------------------------------------


def test_the_newest_come_first_and_as_many_as_asked_for(desk: Desk, dead: DeadLetters) -> None:
    before = time.time()
    bury(desk, dead, "a", "b", "c", deaths=2)
    letters = dead.read(desk.side, None, 2)
    assert names_of(letters) == ["c", "b"]
    assert [letter[1:3] + letter[4:] for letter in letters] == [
        ("q", "because of c", 2, content("c")), ("q", "because of b", 2, content("b"))]
    assert all(before - 1 <= letter.died_at <= time.time() + 1 for letter in letters)
    assert dead.read(desk.side, None, 0) == []


def test_the_letters_of_one_queue_can_be_asked_for(desk: Desk, dead: DeadLetters) -> None:
    bury(desk, dead, "a", "b")
    bury(desk, dead, "c", queue="other")
    assert names_of(dead.read(desk.side, "q", 10)) == ["b", "a"]
    assert names_of(dead.read(desk.side, "other", 10)) == ["c"]
    assert dead.read(desk.side, "unknown", 10) == []


def test_where_nothing_ever_died_there_is_nothing_to_read(desk: Desk, dead: DeadLetters) -> None:
    assert dead.read(desk.side, None, 10) == []
    assert dead.resolve(desk.side, [1], replay=True) == 0
    assert desk.ready(DEAD) is None


def test_reading_changes_nothing_however_often(desk: Desk, dead: DeadLetters) -> None:
    names = [f"{n}" for n in range(30)]
    bury(desk, dead, *names)
    first = [told(letter) for letter in dead.read(desk.side, None, 100)]
    # More often than the twenty deliveries that RabbitMQ 4 grants a message of a quorum queue by default.
    for _ in range(25):
        assert [told(letter) for letter in dead.read(desk.side, None, 100)] == first
    assert [letter[-1][1]["id"] for letter in first] == names[::-1]
    wait_until(lambda: desk.ready(DEAD) == 30)


def test_a_letter_that_comes_while_another_reads_is_not_lost(open_desk: Callable[[], Desk], dead: DeadLetters) -> None:
    desk, other = open_desk(), open_desk()
    bury(desk, dead, "a")
    with amqp_look.looking(desk.side, DEAD) as look:
        bury(other, dead, "b")
        assert [str(envelope.unpack(packed)[1]["id"]) for window in look for _, packed in window] == ["a"]
    assert names_of(dead.read(desk.side, None, 10)) == ["b", "a"]


def test_readers_wait_for_each_other_and_miss_nothing(open_desk: Callable[[], Desk], dead: DeadLetters) -> None:
    names = [f"{n}" for n in range(200)]
    bury(open_desk(), dead, *names)
    desks = [open_desk() for _ in range(3)]
    found: list[list[str]] = []

    def read(desk: Desk) -> None:
        found.extend(names_of(dead.read(desk.side, None, 1000)) for _ in range(5))

    threads = [threading.Thread(target=read, args=(desk,)) for desk in desks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [names[::-1]] * 15


def test_a_reader_that_never_ends_is_told_of(
    open_desk: Callable[[], Desk], dead: DeadLetters, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_look, "WAIT_S", 0.2)
    desk, other = open_desk(), open_desk()
    bury(desk, dead, "a")
    with amqp_look.looking(desk.side, DEAD), pytest.raises(BrokerRefused, match=r"fastq\.dead\.reader"):
        dead.read(other.side, None, 1)
    assert names_of(dead.read(other.side, None, 1)) == ["a"]


def test_a_program_that_consumes_the_dead_letters_is_told_of(
    open_desk: Callable[[], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_look, "WAIT_S", 0.2)
    dead, desk, other = letters_of("q"), open_desk(), open_desk()
    bury(desk, dead, "a", "b")
    other.link.call(other.channel, amqp.METHODS["basic.qos"], 0, 1, False)
    other.link.call(other.channel, amqp.METHODS["basic.consume"], DEAD, "tag", False, False, True, False, {})
    with pytest.raises(BrokerRefused, match="1 other consumers"):
        dead.read(desk.side, None, 1)


def test_a_long_queue_is_read_in_little_memory(desk: Desk) -> None:
    dead = letters_of("q")
    dead.declare(desk.side)
    prefix = amqp.publisher(desk.channel, DEAD, "q")
    count = 5_000
    for n in range(count):
        desk.link.send(amqp.publish(prefix, dead_message(content(f"{n}", bytes(4000)), "q", "x", 0)[2], 131072))
    wait_until(lambda: desk.ready(DEAD) == count, 30)
    dead.read(desk.side, None, 10)
    before = psutil.Process().memory_info().rss
    assert names_of(dead.read(desk.side, None, 2)) == [f"{count - 1}", f"{count - 2}"]
    assert psutil.Process().memory_info().rss - before < 4 << 20
    wait_until(lambda: desk.ready(DEAD) == count, 30)


# -- resolving --------------------------------------------------------------------------------------------------------


def ids(dead: DeadLetters, desk: Desk, *names: str) -> list[int]:
    return [letter.id for letter in dead.read(desk.side, None, 1000)
            if envelope.unpack(letter.content)[1]["id"] in names]


def test_replayed_letters_go_to_their_queues_and_the_rest_stays_in_order(desk: Desk, dead: DeadLetters) -> None:
    bury(desk, dead, "a", "b", "c", "d", deaths=3)
    bury(desk, dead, "e", queue="other")
    chosen = ids(dead, desk, "b", "d", "e")
    assert dead.resolve(desk.side, [*chosen, 1], replay=True) == 3
    assert names_of(dead.read(desk.side, None, 10)) == ["c", "a"]
    assert [desk.receive("q"), desk.receive("q")] == [envelope.unpack(content(name)) for name in "bd"]
    assert desk.ids("q") == []
    assert desk.ids("other") == ["e"]
    assert dead.resolve(desk.side, chosen, replay=True) == 0


def test_dropped_letters_are_gone(desk: Desk, dead: DeadLetters) -> None:
    bury(desk, dead, "a", "b", "c")
    chosen = ids(dead, desk, "a", "c")
    assert dead.resolve(desk.side, chosen, replay=False) == 2
    assert dead.resolve(desk.side, chosen, replay=False) == 0
    assert names_of(dead.read(desk.side, None, 10)) == ["b"]
    assert desk.ready("q") is None


def test_a_letter_whose_queue_is_not_known_and_gone_stays(desk: Desk, dead: DeadLetters) -> None:
    bury(desk, dead, "a", queue="gone")
    bury(desk, dead, "b")
    assert dead.resolve(desk.side, ids(dead, desk, "a", "b"), replay=True) == 1
    assert names_of(dead.read(desk.side, None, 10)) == ["a"]
    assert desk.ids("q") == ["b"]


def test_a_full_queue_keeps_the_letter_dead(desk: Desk, dead: DeadLetters) -> None:
    desk.do(amqp_side.queue("full", arguments={"x-max-length": 0, "x-overflow": "reject-publish"}))
    bury(desk, dead, "a", queue="full")
    assert dead.resolve(desk.side, ids(dead, desk, "a"), replay=True) == 0
    assert names_of(dead.read(desk.side, None, 10)) == ["a"]


def test_letters_are_found_in_every_window(desk: Desk, dead: DeadLetters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_look, "WINDOW", 7)
    names = [f"{n}" for n in range(100)]
    bury(desk, dead, *names)
    chosen = ids(dead, desk, *names[::2])
    assert dead.resolve(desk.side, chosen, replay=True) == 50
    assert desk.ids("q") == names[::2]
    assert names_of(dead.read(desk.side, None, 100)) == names[1::2][::-1]


def test_letters_apart_from_each_other_are_resolved_for_good(desk: Desk, dead: DeadLetters) -> None:
    names = [f"{n}" for n in range(200)]
    bury(desk, dead, *names)
    assert dead.resolve(desk.side, ids(dead, desk, *names[::2]), replay=True) == 100
    assert names_of(dead.read(desk.side, None, 1000)) == names[1::2][::-1]
    assert desk.ids("q") == names[::2]


def test_acks_that_the_broker_forgets_make_no_duplicates(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    # More at a time than a quorum queue takes: it drops some when the channel closes, and the messages come back.
    monkeypatch.setattr(amqp_look, "ACKS", 1000)
    dead, names = letters_of("q", kind="quorum"), [f"{n}" for n in range(120)]
    bury(desk, dead, *names)
    chosen = ids(dead, desk, *names[::2])
    assert dead.resolve(desk.side, chosen, replay=True) == 60
    assert desk.ids("q") == names[::2]
    assert names_of(dead.read(desk.side, None, 1000)) == names[1::2][::-1]


def test_the_priority_comes_back_with_the_letter(desk: Desk) -> None:
    dead = letters_of("q")
    dead.declare(desk.side)
    packed = envelope.pack({"priority": 4, "delivery_mode": 2}, {"id": "a"}, b"")
    desk.publish(*dead_message(packed, "q", "x", 0))
    assert dead.resolve(desk.side, ids(dead, desk, "a"), replay=True) == 1
    assert desk.get("q") == packed


def test_what_a_broken_connection_held_comes_back(open_desk: Callable[[], Desk], dead: DeadLetters) -> None:
    desk, other = open_desk(), open_desk()
    bury(desk, dead, "a", "b", "c")
    with amqp_look.looking(desk.side, DEAD) as look:
        next(iter(next(iter(look))))
        desk.link.abandon()
    assert names_of(dead.read(other.side, None, 10)) == ["c", "b", "a"]


# -- what others put there --------------------------------------------------------------------------------------------


def test_what_the_broker_rejects_into_the_dead_letters_is_read_and_replayed(desk: Desk, dead: DeadLetters) -> None:
    dead.declare(desk.side)
    desk.do(amqp_side.queue("own", arguments={"x-dead-letter-exchange": DEAD}))
    desk.publish("", "own", content("a"))
    tag = desk.link.call(desk.channel, amqp.METHODS["basic.get"], "own", False)[2][0]
    desk.link.send(amqp.method(desk.channel, amqp.METHODS["basic.reject"], tag, False))
    wait_until(lambda: desk.ready(DEAD) == 1)
    letter, = dead.read(desk.side, "own", 10)
    assert (letter.reason, letter.deaths) == ("rejected", 0)
    assert abs(letter.died_at - time.time()) < 30
    assert [told(each) for each in dead.read(desk.side, None, 10)] == [told(letter)]
    assert dead.resolve(desk.side, [letter.id], replay=True) == 1
    assert desk.ids("own") == ["a"]


def test_a_queue_of_another_type_is_used_as_it_is(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "fastq")
    desk.do(amqp_side.queue(DEAD))
    dead = letters_of("q", kind="quorum")
    bury(desk, dead, "a")
    assert names_of(dead.read(desk.side, None, 10)) == ["a"]
    assert len(caplog.records) == 1


def test_messages_that_vanish_during_a_look_end_it(
    open_desk: Callable[[], Desk], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amqp_look, "QUIET_S", 0.1)
    dead, desk = letters_of("q"), open_desk()
    bury(desk, dead, "a", "b")
    with amqp_look.looking(desk.side, DEAD) as look:
        look._ready += 5
        assert [len(list(window)) for window in look] == [2]
    desk.do(Step("queue.purge", (DEAD, False)))
