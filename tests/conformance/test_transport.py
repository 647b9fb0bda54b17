"""What every transport promises, run against every implementation."""

from __future__ import annotations

import math
import select
import threading
import time
from collections.abc import Callable, Iterable

import pytest

from fastq.exceptions import LeaseLost, TransportError
from fastq.transport.base import Transport
from fastq.types import Deliveries, Endings, Message, QueueStat

Open = Callable[..., Transport]


def take(transport: Transport, credit: int = 100, **endings: list[object]) -> list[tuple[str, int, int, bytes]]:
    """One turn: (queue, tag, deaths, content) of what came."""
    return flat(transport.turn(Endings(**endings), credit))  # type: ignore[arg-type]


def flat(deliveries: Deliveries) -> list[tuple[str, int, int, bytes]]:
    return [(queue, *row) for queue, rows in deliveries for row in rows]


def contents(deliveries: Iterable[tuple[str, int, int, bytes]]) -> list[bytes]:
    return [content for _, _, _, content in deliveries]


def publish(transport: Transport, *names: str, queue: str = "q", priority: int = 0) -> None:
    for name in names:
        transport.publish_one(queue, name.encode(), priority)


# -- publish and order -----------------------------------------------------------------------------------------


def test_messages_are_delivered_in_the_order_in_which_they_were_published(broker: Transport) -> None:
    broker.attach("w", ["q"])
    publish(broker, "a", "b")
    broker.publish([Message("q", b"c"), Message("q", b"d")])
    publish(broker, "e")
    assert contents(take(broker)) == [b"a", b"b", b"c", b"d", b"e"]


def test_a_message_is_delivered_once_and_with_no_deaths(broker: Transport) -> None:
    broker.attach("w", ["q"])
    publish(broker, "a")
    (queue, _, deaths, content), = take(broker)
    assert (queue, deaths, content) == ("q", 0, b"a")
    assert take(broker) == []


def test_publish_tells_how_many_messages_it_stored(broker: Transport) -> None:
    assert broker.publish(Message("q", b"%d" % n) for n in range(5001)) == 5001
    assert broker.queues()["q"].ready == 5001
    assert broker.publish([]) == 0


def test_publish_stores_nothing_of_a_step_that_fails(broker: Transport) -> None:
    with pytest.raises(ValueError, match="priority"):
        broker.publish([Message("q", b"a"), Message("q", b"b", priority=10)])
    assert broker.queues().get("q", QueueStat()) == QueueStat()
    publish(broker, "c")
    broker.attach("w", ["q"])
    assert contents(take(broker)) == [b"c"]


def test_messages_that_user_code_produces_while_it_publishes_do_not_disturb(broker: Transport) -> None:
    def messages() -> Iterable[Message]:
        for n in range(10):
            broker.publish_one("inner", b"%d" % n)
            yield Message("outer", b"%d" % n)

    assert broker.publish(messages()) == 10
    assert {name: stat.ready for name, stat in broker.queues().items()} == {"inner": 10, "outer": 10}


@pytest.mark.parametrize("priority", [-1, 10])
def test_a_priority_outside_0_to_9_is_refused(broker: Transport, priority: int) -> None:
    with pytest.raises(ValueError, match="priority"):
        broker.publish_one("q", b"a", priority)


def test_empty_and_large_contents_arrive_unchanged(broker: Transport) -> None:
    large = bytes(range(256)) * 20_000
    broker.publish([Message("q", b""), Message("q", large)])
    broker.attach("w", ["q"])
    assert contents(take(broker)) == [b"", large]


def test_many_threads_can_publish_through_one_transport(broker: Transport) -> None:
    def work(name: int) -> None:
        for n in range(100):
            broker.publish_one("q", b"%d %d" % (name, n))

    threads = [threading.Thread(target=work, args=(name,)) for name in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    broker.attach("w", ["q"])
    got = contents(take(broker, 1000))
    assert len(got) == len(set(got)) == 800
    for name in range(8):
        mine = [content for content in got if content.startswith(b"%d " % name)]
        assert mine == [b"%d %d" % (name, n) for n in range(100)]


# -- priorities, fairness, credit ------------------------------------------------------------------------------


def test_higher_priorities_are_served_first(broker: Transport) -> None:
    for priority in (0, 9, 5, 3):
        publish(broker, f"first of {priority}", f"second of {priority}", priority=priority)
    broker.attach("w", ["q"])
    assert contents(take(broker, 5)) == [b"first of 9", b"second of 9", b"first of 5", b"second of 5", b"first of 3"]
    publish(broker, "late", priority=9)
    assert contents(take(broker, 2)) == [b"late", b"second of 3"]


def test_priority_counts_across_queues(broker: Transport) -> None:
    publish(broker, "low", queue="a")
    publish(broker, "high", queue="b", priority=1)
    broker.attach("w", ["a", "b"])
    assert contents(take(broker, 1)) == [b"high"]


def test_queues_of_one_priority_share_the_credit(broker: Transport) -> None:
    for queue in "abc":
        broker.publish([Message(queue, b"%d" % n) for n in range(100)])
    broker.attach("w", ["a", "b", "c"])
    counts = {queue: len(rows) for queue, rows in broker.turn(Endings(), 90)}
    assert counts == {"a": 30, "b": 30, "c": 30}


def test_a_short_queue_leaves_its_share_to_the_long_ones(broker: Transport) -> None:
    broker.publish([Message("short", b"s")] * 3 + [Message("long", b"l")] * 100)
    broker.attach("w", ["short", "long"])
    got = take(broker, 40)
    assert sorted(contents(got)) == [b"l"] * 37 + [b"s"] * 3


def test_no_queue_starves_when_credit_comes_one_by_one(broker: Transport) -> None:
    broker.publish([Message("a", b"")] * 50 + [Message("b", b"")] * 50)
    broker.attach("w", ["a", "b"])
    queues = [queue for _ in range(20) for queue, _, _, _ in take(broker, 1)]
    assert queues.count("a") == queues.count("b") == 10


def test_never_more_than_the_credit_is_delivered(broker: Transport) -> None:
    broker.publish([Message(queue, b"", priority) for queue in "abc" for priority in (0, 4) for _ in range(20)])
    broker.attach("w", list("abc"))
    for credit in (0, 1, 2, 7, 50):
        assert len(take(broker, credit)) == credit
    assert take(broker, -1) == []
    assert len(take(broker, 1000)) == 60


def test_only_the_queues_attached_to_are_delivered(broker: Transport) -> None:
    publish(broker, "mine", queue="a")
    publish(broker, "other", queue="b")
    broker.attach("w", ["a"])
    assert contents(take(broker)) == [b"mine"]


def test_two_workers_never_get_the_same_message(open_transport: Open) -> None:
    one, two = open_transport(), open_transport()
    one.publish([Message("q", b"%d" % n) for n in range(100)])
    one.attach("one", ["q"])
    two.attach("two", ["q"])
    got = [content for _ in range(6) for worker in (one, two) for content in contents(take(worker, 10))]
    assert sorted(got, key=int) == [b"%d" % n for n in range(100)]


# -- endings ---------------------------------------------------------------------------------------------------


def test_an_acknowledged_message_is_gone(open_transport: Open) -> None:
    broker = open_transport()
    publish(broker, "a", "b", "c")
    broker.attach("w", ["q"])
    tags = [tag for _, tag, _, _ in take(broker)]
    take(broker, 0, ack=[(tags[0], tags[0]), (tags[1], tags[2])])
    assert broker.queues()["q"] == QueueStat()
    broker.close()
    other = open_transport()
    other.attach("x", ["q"])
    assert take(other) == []


def test_consecutive_messages_have_consecutive_tags_so_that_they_end_in_runs(broker: Transport) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(50)])
    broker.attach("w", ["q"])
    tags = [tag for _, tag, _, _ in take(broker)]
    assert tags == list(range(tags[0], tags[0] + 50))


def test_messages_handed_back_return_to_their_old_places(broker: Transport) -> None:
    publish(broker, *"abcdef")
    broker.attach("w", ["q"])
    tags = {content: tag for _, tag, _, content in take(broker, 5)}
    take(broker, 0, back=[(tags[b"b"], tags[b"c"]), (tags[b"e"], tags[b"e"])], ack=[(tags[b"d"], tags[b"d"])])
    got = take(broker)
    assert contents(got) == [b"b", b"c", b"e", b"f"]
    assert [deaths for _, _, deaths, _ in got] == [0, 0, 0, 0]


def test_a_run_may_span_several_claims(broker: Transport) -> None:
    publish(broker, *"abcdef")
    broker.attach("w", ["q"])
    tags = [tag for credit in (2, 2, 2) for _, tag, _, _ in take(broker, credit)]
    take(broker, 0, back=[(tags[1], tags[4])])
    assert broker.queues()["q"] == QueueStat(ready=4, held=2)
    assert contents(take(broker)) == [b"b", b"c", b"d", b"e"]
    take(broker, 0, ack=[(tags[0], tags[5])])
    assert broker.queues()["q"] == QueueStat()


def test_what_was_handed_back_and_taken_again_can_end_in_one_run_with_its_neighbours(broker: Transport) -> None:
    publish(broker, *"abc")
    broker.attach("w", ["q"])
    tags = [tag for _, tag, _, _ in take(broker)]
    assert contents(take(broker, back=[(tags[1], tags[1])])) == [b"b"]
    take(broker, 0, ack=[(tags[2], tags[2])])
    take(broker, 0, ack=[(tags[0], tags[1])])
    assert broker.queues()["q"] == QueueStat()


def test_handing_back_what_is_not_held_changes_nothing(broker: Transport) -> None:
    publish(broker, "a", "b")
    broker.attach("w", ["q"])
    tag = take(broker, 1)[0][1]
    with pytest.raises(TransportError, match="not held"):
        take(broker, 0, back=[(tag + 1, tag + 1)], ack=[(tag, tag)])
    assert broker.queues()["q"] == QueueStat(ready=1, held=1)


def test_what_a_worker_held_before_it_attached_anew_it_cannot_end(open_transport: Open) -> None:
    stale, other = open_transport(), open_transport()
    publish(stale, "a", "b")
    stale.attach("stale", ["q"])
    tags = [tag for _, tag, _, _ in take(stale)]
    stale.attach("stale", ["q"])
    other.attach("other", ["q"])
    assert len(take(other)) == 2
    run = tags[0], tags[1]
    for endings in ({"ack": [run]}, {"back": [run]}, {"lost": tags}, {"dead": [(tags[0], "x")]}):
        with pytest.raises(TransportError, match="not held"):
            take(stale, 5, **endings)  # type: ignore[arg-type]
    assert other.queues()["q"] == QueueStat(held=2)


def test_new_messages_come_after_those_handed_back_and_never_take_their_tags(broker: Transport) -> None:
    publish(broker, "a", "b", "c")
    broker.attach("w", ["q"])
    seen = {tag for _, tag, _, _ in take(broker)}
    first = min(seen)
    take(broker, 0, back=[(first, first)], ack=[(first + 1, first + 2)])
    publish(broker, "d")
    got = take(broker)
    assert contents(got) == [b"a", b"d"]
    assert got[0][1] == first
    assert got[1][1] not in seen


def test_a_lost_message_comes_again_with_one_more_death(broker: Transport) -> None:
    publish(broker, "a", "b")
    broker.attach("w", ["q"])
    for deaths in range(5):
        got = take(broker, 1)
        assert [(row[2], row[3]) for row in got] == [(deaths, b"a")]
        take(broker, 0, lost=[got[0][1]])


def test_a_dead_letter_is_kept_with_its_reason_and_deaths(broker: Transport) -> None:
    publish(broker, "a", "b")
    broker.attach("w", ["q"])
    first, second = take(broker)
    take(broker, 0, lost=[first[1]])
    again, = take(broker)
    before = time.time()
    take(broker, 0, dead=[(again[1], "it kills"), (second[1], "rejected")])
    newest, oldest = broker.dead_letters()
    assert (newest.queue, newest.reason, newest.deaths, newest.content) == ("q", "rejected", 0, b"b")
    assert (oldest.queue, oldest.reason, oldest.deaths, oldest.content) == ("q", "it kills", 1, b"a")
    assert before - 1 <= newest.died_at <= time.time() + 1
    assert broker.queues()["q"] == QueueStat(dead=2)
    assert take(broker) == []


def test_dead_letters_can_be_listed_by_queue_and_limited(broker: Transport) -> None:
    for queue in "ab":
        publish(broker, "1", "2", queue=queue)
    broker.attach("w", ["a", "b"])
    for _, tag, _, _ in take(broker):
        take(broker, 0, dead=[(tag, "x")])
    assert [letter.queue for letter in broker.dead_letters("a")] == ["a", "a"]
    assert len(broker.dead_letters(limit=3)) == 3
    assert broker.dead_letters("no such queue") == []


def test_a_replayed_message_starts_anew_in_its_queue_and_priority(broker: Transport) -> None:
    publish(broker, "a", priority=4)
    broker.attach("w", ["q"])
    for _ in range(3):
        take(broker, 0, lost=[take(broker)[0][1]])
    take(broker, 0, dead=[(take(broker)[0][1], "x")])
    publish(broker, "low")
    letter, = broker.dead_letters()
    assert letter.deaths == 3
    assert broker.resolve_dead([letter.id, letter.id + 1], replay=True) == 1
    assert broker.dead_letters() == []
    assert [(row[2], row[3]) for row in take(broker)] == [(0, b"a"), (0, b"low")]


def test_a_dropped_dead_message_is_gone(broker: Transport) -> None:
    publish(broker, "a")
    broker.attach("w", ["q"])
    take(broker, 0, dead=[(take(broker)[0][1], "x")])
    ids = [letter.id for letter in broker.dead_letters()]
    assert broker.resolve_dead(ids, replay=False) == 1
    assert broker.resolve_dead(ids, replay=False) == 0
    assert broker.queues()["q"] == QueueStat()


def test_messages_published_with_the_endings_leave_in_the_same_step(broker: Transport) -> None:
    publish(broker, "a")
    broker.attach("w", ["q"])
    tag = take(broker)[0][1]
    got = take(broker, ack=[(tag, tag)], publish=[Message("q", b"next"), Message("other", b"x")])
    assert contents(got) == [b"next"]
    assert broker.queues()["other"].ready == 1


def test_nothing_is_settled_when_one_part_of_the_endings_fails(broker: Transport) -> None:
    publish(broker, "a")
    broker.attach("w", ["q"])
    tag = take(broker)[0][1]
    with pytest.raises(ValueError, match="priority"):
        take(broker, ack=[(tag, tag)], publish=[Message("q", b"x", priority=99)])
    assert broker.queues()["q"] == QueueStat(held=1)
    take(broker, ack=[(tag, tag)])
    assert broker.queues()["q"] == QueueStat()


def test_closing_hands_back_what_was_held_without_a_death(open_transport: Open) -> None:
    one, two = open_transport(), open_transport()
    publish(one, "a", "b", "c")
    one.attach("one", ["q"])
    tags = [tag for _, tag, _, _ in take(one)]
    take(one, 0, ack=[(tags[1], tags[1])])
    one.close()
    one.close()
    two.attach("two", ["q"])
    assert [(row[2], row[3]) for row in take(two)] == [(0, b"a"), (0, b"c")]


def test_attaching_anew_hands_back_what_was_held(broker: Transport) -> None:
    publish(broker, "a")
    broker.attach("w", ["q"])
    take(broker)
    broker.attach("w", ["q"])
    assert contents(take(broker)) == [b"a"]


def test_a_transport_that_is_not_attached_cannot_take_turns(broker: Transport) -> None:
    for call in (lambda: take(broker), broker.arm, broker.keep, broker.fileno):
        with pytest.raises(TransportError, match="attach"):
            call()


def test_a_long_task_among_short_ones_leaves_no_trace_when_it_ends(broker: Transport) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(2000)])
    broker.attach("w", ["q"])
    slow, done = [], []
    while got := take(broker, 10, ack=done):
        slow.append(got[0][1])
        done = [(got[1][1], got[-1][1])]
    assert broker.queues()["q"] == QueueStat(held=200)
    take(broker, 0, ack=[(tag, tag) for tag in slow[:150]], back=[(tag, tag) for tag in slow[150:]])
    assert broker.queues()["q"] == QueueStat(ready=50)
    assert [tag for _, tag, _, _ in take(broker)] == slow[150:]


# -- the future ------------------------------------------------------------------------------------------------


def test_a_future_message_is_not_delivered_before_its_time(broker: Transport) -> None:
    broker.attach("w", ["q"])
    due = time.time() + 0.15
    broker.publish_one("q", b"later", run_at=due)
    assert broker.queues()["q"] == QueueStat(future=1)
    assert take(broker) == []
    while not (got := take(broker)):
        wait = broker.arm()
        assert wait is not None
        select.select([broker.fileno()], [], [], wait)
    assert time.time() >= due
    assert contents(got) == [b"later"]
    assert broker.queues()["q"] == QueueStat(held=1)


def test_future_messages_come_in_the_order_in_which_they_fall_due(broker: Transport) -> None:
    now = time.time()
    broker.publish([Message("q", b"%d" % n, run_at=now + 0.001 * n) for n in (30, 10, 20)])
    broker.attach("w", ["q"])
    got: list[bytes] = []
    while len(got) < 3:
        got += contents(take(broker))
    assert got == [b"10", b"20", b"30"]


def test_a_time_in_the_past_means_now(broker: Transport) -> None:
    broker.publish_one("q", b"a", run_at=time.time() - 60)
    broker.attach("w", ["q"])
    assert contents(take(broker)) == [b"a"]


def test_many_messages_due_at_one_moment_keep_their_order_and_priority(broker: Transport) -> None:
    due = time.time() + 0.05
    broker.publish([Message("q", b"%d" % n, n % 2, due) for n in range(3000)])
    broker.attach("w", ["q"])
    while broker.queues()["q"].future or broker.queues()["q"].ready:
        got = contents(take(broker, 5000))
        numbers = [int(content) for content in got]
        assert numbers == sorted(numbers, key=lambda n: (-(n % 2), n))
    assert broker.queues()["q"] == QueueStat(held=3000)


def test_an_absurd_time_is_refused(broker: Transport) -> None:
    for when in (1e15, math.inf, math.nan):
        with pytest.raises(ValueError, match="run_at"):
            broker.publish_one("q", b"a", run_at=when)


def test_arm_tells_when_the_next_message_falls_due(broker: Transport) -> None:
    broker.attach("w", ["q"])
    broker.publish_one("q", b"a", run_at=time.time() + 2)
    wait = broker.arm()
    assert wait is not None
    assert 1.5 < wait <= 2.01


# -- sleep and wake --------------------------------------------------------------------------------------------


def readable(transport: Transport, seconds: float) -> bool:
    return bool(select.select([transport.fileno()], [], [], seconds)[0])


def test_arm_says_zero_when_there_is_work(broker: Transport) -> None:
    broker.attach("w", ["q"])
    publish(broker, "a")
    assert broker.arm() == 0.0
    take(broker)
    assert broker.arm() != 0.0


def test_a_sleeper_is_woken_by_a_message(open_transport: Open) -> None:
    worker, producer = open_transport(), open_transport()
    worker.attach("w", ["q"])
    for _ in range(3):
        wait = worker.arm()
        assert wait is None or wait > 1
        assert not readable(worker, 0)
        publish(producer, "a")
        assert readable(worker, 5)
        assert contents(take(worker)) == [b"a"]


def test_a_sleeper_is_woken_by_what_another_worker_hands_back(open_transport: Open) -> None:
    one, two = open_transport(), open_transport()
    publish(one, "a")
    one.attach("one", ["q"])
    two.attach("two", ["q"])
    tag = take(one)[0][1]
    two.arm()
    take(one, 0, back=[(tag, tag)])
    assert readable(two, 5)


def test_a_sleeper_is_woken_to_set_its_alarm_for_an_earlier_message(open_transport: Open) -> None:
    worker, producer = open_transport(), open_transport()
    worker.attach("w", ["q"])
    producer.publish_one("q", b"a", run_at=time.time() + 3)
    worker.arm()
    producer.publish_one("q", b"b", run_at=time.time() + 2)
    assert readable(worker, 5)
    wait = worker.arm()
    assert wait is not None
    assert wait < 2.1


def test_a_worker_that_is_awake_is_not_rung(open_transport: Open) -> None:
    worker, producer = open_transport(), open_transport()
    worker.attach("w", ["q"])
    worker.arm()
    take(worker)
    publish(producer, "a")
    assert not readable(worker, 0)


def test_no_message_is_slept_through(open_transport: Open) -> None:
    worker, producer = open_transport(), open_transport()
    worker.attach("w", ["q"])
    thread = threading.Thread(target=lambda: [publish(producer, str(n)) for n in range(2000)])
    thread.start()
    got: list[bytes] = []
    done: list[object] = []
    try:
        while len(got) < 2000:
            rows = take(worker, 3, ack=done)
            done = [(tag, tag) for _, tag, _, _ in rows]
            got += contents(rows)
            if not rows and worker.arm() != 0.0:
                assert readable(worker, 4), f"slept through a message after {len(got)}"
    finally:
        thread.join()
    assert got == [b"%d" % n for n in range(2000)]


# -- leases ----------------------------------------------------------------------------------------------------


def eventually_kept(transport: Transport) -> int:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        count = transport.keep()
        if count:
            return count
        readable(transport, 0.01)
    raise AssertionError("nothing came back")


def test_a_silent_worker_loses_its_deliveries_and_is_told_so(open_transport: Open) -> None:
    silent, lively = open_transport(), open_transport()
    publish(silent, "a", "b", "c")
    silent.attach("silent", ["q"], lease_s=0.05)
    lively.attach("lively", ["q"], lease_s=30)
    tags = [tag for _, tag, _, _ in take(silent, 2)]
    assert eventually_kept(lively) == 2
    assert [(row[2], row[3]) for row in take(lively)] == [(1, b"a"), (1, b"b"), (0, b"c")]
    with pytest.raises(LeaseLost, match="attach again"):
        take(silent, ack=[(tags[0], tags[1])])
    assert lively.queues()["q"] == QueueStat(held=3)
    silent.attach("silent", ["q"])
    publish(lively, "d")
    assert contents(take(silent)) == [b"d"]


def test_keeping_tells_a_worker_that_it_lost_its_lease(open_transport: Open) -> None:
    silent, lively = open_transport(), open_transport()
    silent.attach("silent", ["q"], lease_s=0.02)
    publish(silent, "a")
    take(silent)
    lively.attach("lively", ["q"])
    eventually_kept(lively)
    with pytest.raises(LeaseLost):
        silent.keep()


def test_a_worker_that_keeps_its_lease_keeps_its_deliveries(open_transport: Open) -> None:
    busy, other = open_transport(), open_transport()
    publish(busy, "a")
    busy.attach("busy", ["q"], lease_s=0.3)
    other.attach("other", ["q"])
    tag = take(busy)[0][1]
    end = time.monotonic() + 0.7
    while time.monotonic() < end:
        busy.keep()
        assert other.keep() == 0
        readable(other, 0.02)
    take(busy, ack=[(tag, tag)])
    assert busy.queues()["q"] == QueueStat()


def test_a_message_one_death_short_of_the_limit_is_tried_alone(open_transport: Open) -> None:
    broker = open_transport(death_limit=2)
    publish(broker, *"abcd")
    broker.attach("w", ["q"])
    tags = [tag for _, tag, _, _ in take(broker, 2)]
    take(broker, 0, lost=tags)
    first = take(broker)
    assert [(row[2], row[3]) for row in first] == [(1, b"a"), (0, b"c"), (0, b"d")]
    assert take(broker) == []
    assert broker.arm() != 0.0
    second = take(broker, ack=[(first[0][1], first[0][1])])
    assert [(row[2], row[3]) for row in second] == [(1, b"b")]


def test_a_message_on_trial_can_end_in_every_way(open_transport: Open) -> None:
    broker = open_transport(death_limit=1)
    publish(broker, *"abc")
    broker.attach("w", ["q"])
    tags = [tag for _, tag, _, _ in take(broker)]
    take(broker, 0, lost=tags)
    assert broker.queues()["q"] == QueueStat(ready=3)
    a, = take(broker)
    take(broker, 0, back=[(a[1], a[1])])
    assert take(broker) == [a]
    take(broker, 0, lost=[a[1]])
    again, = take(broker)
    assert (again[2], again[3]) == (2, b"a")
    b, = take(broker, dead=[(a[1], "it kills")])
    assert b[3] == b"b"
    assert broker.dead_letters()[0].deaths == 2
    c, = take(broker, ack=[(b[1], b[1])])
    assert c[3] == b"c"
    broker.attach("again", ["q"])
    assert [(row[2], row[3]) for row in take(broker)] == [(1, b"c")]


def test_a_killer_never_condemns_its_neighbours(open_transport: Open) -> None:
    survivor = open_transport()
    survivor.attach("survivor", ["q"])
    publish(survivor, "innocent 1", "killer", "innocent 2")
    killed = 0
    while True:
        victim = open_transport()
        victim.attach("victim", ["q"], lease_s=0.01)
        got = take(victim)
        condemned = [(row[1], "condemned") for row in got if row[2] >= 3]
        if condemned:
            break
        if any(row[3] == b"killer" for row in got):
            eventually_kept(survivor)  # the victim falls silent
            killed += 1
        else:
            take(victim, 0, ack=[(row[1], row[1]) for row in got])
            victim.close()
    assert killed == 3
    assert [row[3] for row in got if row[2] >= 3] == [b"killer"]
    assert max(row[2] for row in got if row[3] != b"killer") <= 2 if len(got) > 1 else True


# -- figures and purge -----------------------------------------------------------------------------------------


def test_queues_tells_where_the_messages_are(broker: Transport) -> None:
    broker.publish([Message("a", b"", priority) for priority in (0, 0, 5)])
    broker.publish_one("b", b"", run_at=time.time() + 60)
    broker.attach("w", ["a"])
    rows = take(broker, 2)
    take(broker, 0, dead=[(rows[0][1], "x")])
    assert broker.queues() == {"a": QueueStat(ready=1, held=1, dead=1), "b": QueueStat(future=1)}


def test_purge_drops_what_is_ready_and_future_but_not_what_is_held_or_dead(broker: Transport) -> None:
    later = time.time() + 60
    broker.publish([Message("q", b"%d" % n, n % 3, later if n % 2 else None) for n in range(12_000)])
    publish(broker, "kept", queue="other")
    broker.attach("w", ["q"])
    rows = take(broker, 10)
    take(broker, 0, dead=[(rows[0][1], "x")], back=[(rows[1][1], rows[1][1])], lost=[rows[2][1]])
    assert broker.purge("q") == 12_000 - 8
    assert broker.queues() == {"other": QueueStat(ready=1), "q": QueueStat(held=7, dead=1)}
    assert broker.purge("q") == 0
    assert broker.purge("no such queue") == 0
    publish(broker, "new")
    assert contents(take(broker)) == [b"new"]


def test_a_purged_queue_never_reuses_the_tags_of_what_is_held(broker: Transport) -> None:
    publish(broker, "a", "b", "c")
    broker.attach("w", ["q"])
    held = {tag for _, tag, _, _ in take(broker, 2)}
    broker.purge("q")
    publish(broker, "d", "e")
    assert held.isdisjoint(tag for _, tag, _, _ in take(broker))
