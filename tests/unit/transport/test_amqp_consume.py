"""Taking deliveries from RabbitMQ: windows, gates, and what breaks."""

from __future__ import annotations

import re
import select
import sys
import time
from collections.abc import Callable

import pytest

from fastq._ext import amqp as wire
from fastq._ext import envelope
from fastq.amqp.target import parse_many
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import ConnectionLost, NotHeld
from fastq.transport import amqp_consume, amqp_side, amqp_watch
from fastq.transport.amqp import AmqpTransport
from fastq.types import UNCOUNTED, Deliveries, Endings, Message, Result
from fastq.wire.entity import Queue
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import (
    QUORUM,
    Desk,
    Open,
    Row,
    content,
    flat,
    known,
    name_of,
    names,
    once,
    publish,
    rows_of,
    settle,
    tags,
    take,
)


@pytest.fixture
def ask(rabbitmq: RabbitMQ, amqp_url: str) -> Callable[[str, str], list[int]]:
    """What the broker says about a queue, the variable Q: numbers."""
    vhost = amqp_url.rpartition("/")[2]

    def ask(queue: str, what: str) -> list[int]:
        lookup = f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{queue}">>))'
        return list(map(int, re.findall(r"\d+", rabbitmq.eval(f"{lookup}, list_to_tuple({what})"))))

    return ask


@pytest.fixture
def windows(ask: Callable[[str, str], list[int]]) -> Callable[[str], list[int]]:
    """The windows of the consumers of a queue."""
    return lambda queue: sorted(ask(queue, "[element(4, Each) || Each <- rabbit_amqqueue:consumers(Q)]"))


@pytest.fixture
def unacked(ask: Callable[[str, str], list[int]]) -> Callable[[str], int]:
    """How many messages of a queue are delivered and not acknowledged."""
    return lambda queue: ask(queue, "[N || {_, N} <- rabbit_amqqueue:info(Q, [messages_unacknowledged])]")[0]


@pytest.fixture
def split(open_amqp: Open, amqp_url: str, proxy: Proxy) -> Callable[..., AmqpTransport]:
    """Open a transport that consumes straight from the broker, and publishes through the proxy."""
    def attach(*queues: str, **options: object) -> AmqpTransport:
        transport = open_amqp(**options)
        transport.attach("w", queues)
        transport._brokers = transport._brokers._replace(targets=parse_many(proxy.url(amqp_url)))
        return transport

    return attach


# -- windows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("queue", ["q", "quorum"])
def test_few_are_exact(open_amqp: Open, desk: Desk, queue: str) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    publish(transport, names(20), queue)
    transport.publish(())
    transport.attach("w", [queue])
    rows = take(transport, 5)
    assert desk.ready(queue) == 15
    assert transport.turn(Endings(ack=tags(rows[:2])), 0) == []
    take(transport, 2)
    wait_until(lambda: desk.ready(queue) == 13)
    assert transport.turn(Endings(), 0) == []


def test_a_window_grows_by_another_consumer(open_amqp: Open, windows: Callable[[str], list[int]]) -> None:
    transport = open_amqp()
    transport.attach("w", ["q"])
    for credit, found in ((5, [5]), (20, [5, 15]), (100, [5, 15, 80])):
        transport.turn(Endings(), credit)
        wait_until(lambda found=found: turned(transport) and windows("q") == found)


def turned(transport: AmqpTransport) -> bool:
    """Take in what the broker said, and answer."""
    transport._attached().read()
    transport._attached().send()
    return True


def test_a_window_shrinks_after_a_while_and_no_message_is_marked(open_amqp: Open, desk: Desk,
                                                                windows: Callable[[str], list[int]],
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_consume, "SHRINK_S", 0.2)
    transport = open_amqp()
    transport.attach("w", ["q"])
    publish(transport, names(300))
    first = take(transport, 200)
    transport.turn(Endings(ack=tags(first)), 0)
    rest: list[Row] = []

    def has_shrunk() -> bool:
        rest.extend(rows := flat(transport.turn(Endings(), 4)))
        transport.turn(Endings(ack=tags(rows)), 0)
        return len(rest) == 100 and windows("q") == [4]

    wait_until(has_shrunk)
    assert {deaths for _, _, deaths, _ in first + rest} == {0}
    assert sorted((name_of(packed) for *_, packed in first + rest), key=int) == names(300)


def test_several_queues_take_turns_and_one_may_have_it_all(open_amqp: Open) -> None:
    transport = open_amqp()
    for queue in "abc":
        publish(transport, names(30), queue)
    transport.publish(())
    transport.attach("w", list("abc"))
    consumer = transport._attached()
    consumer.resize(60)
    consumer.send()
    wait_until(lambda: turned(transport) and consumer.gathered == 90)
    rows = flat(transport.turn(Endings(), 60))
    assert {queue: sum(row[0] == queue for row in rows) for queue in "abc"} == {"a": 20, "b": 20, "c": 20}
    rows += take(transport, 30)
    settle(transport, ack=tags(rows))
    publish(transport, names(60), "b")
    assert len(take(transport, 60)) == 60


def test_deliveries_are_packed(open_amqp: Open) -> None:
    transport = open_amqp()
    publish(transport, names(50))
    transport.attach("w", ["q"])
    found: Deliveries = []
    wait_until(lambda: found.extend(transport.turn(Endings(), 50)) or sum(len(rows) for _, rows in found) == 50)
    for queue, rows in found:
        assert queue == "q"
        assert isinstance(rows, wire.Rows)
        assert len(memoryview(rows)) > 50
    assert [name_of(packed) for _, _, _, packed in flat(found)] == names(50)


# -- gates -----------------------------------------------------------------------------------------------------


def test_an_ack_waits_for_the_confirm_of_what_leaves_with_it(split: Open, proxy: Proxy, desk: Desk,
                                                             unacked: Callable[[str], int]) -> None:
    transport = split("q")
    publish(transport, names(3))
    publish(transport, names(1), "other")
    transport.publish(())
    rows = take(transport, 3)
    proxy.half_open(up=False)
    transport.turn(Endings(ack=tags(rows[:1]), publish=[Message("other", content("next"))]), 0)
    transport.turn(Endings(ack=tags(rows[1:2])), 0)
    wait_until(lambda: desk.ready("other") == 2)
    transport.turn(Endings(), 0)
    # The second ack has nothing to wait for.
    wait_until(lambda: unacked("q") == 2)
    with pytest.raises(NotHeld):
        transport.turn(Endings(ack=[(rows[1][1], rows[1][1])]), 0)
    proxy.cut()
    proxy.behave()
    wait_until(lambda: transport.turn(Endings(), 0) == [] and unacked("q") == 1)
    settle(transport, ack=tags(rows[2:]))
    wait_until(lambda: unacked("q") == 0)
    assert once(desk.ids("other")) == ["0", "next"]


def test_a_window_grows_by_what_waits_at_gates_and_what_came_too_much_goes_back(
    split: Open, proxy: Proxy, desk: Desk, windows: Callable[[str], list[int]], unacked: Callable[[str], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(amqp_consume, "GATE_S", 0.0)
    transport = split("q")
    publish(transport, names(10))
    publish(transport, names(1), "other")
    transport.publish(())
    rows = take(transport, 2)
    proxy.half_open()
    found = flat(transport.turn(Endings(ack=tags(rows), publish=[Message("other", content("next"))]), 2))
    take(transport, 2 - len(found))
    consumer = transport._attached()
    assert (sum(windows("q")), unacked("q"), consumer.in_hand, consumer.gathered) == (4, 4, 2, 0)
    proxy.behave()
    proxy.cut()
    # The acks leave, and the broker fills the window: in hand is what was, and the rest is not kept from others.
    wait_until(lambda: transport.turn(Endings(), 0) == [] and consumer.gathered == 2)
    assert consumer.in_hand == 2
    wait_until(lambda: transport.keep() == 0 and transport.turn(Endings(), 0) == []
               and (unacked("q"), desk.ready("q")) == (2, 6))


def test_what_waits_for_a_confirm_comes_again_when_its_worker_dies(split: Open, proxy: Proxy, open_amqp: Open) -> None:
    transport = split("q")
    publish(transport, names(1))
    publish(transport, names(1), "other")
    transport.publish(())
    rows = take(transport, 1)
    proxy.half_open(down=False)
    transport.turn(Endings(ack=tags(rows), publish=[Message("other", content("next"))]), 0)
    transport._lose()
    proxy.cut(refuse=True)
    other = open_amqp()
    other.attach("w2", ["q"])
    assert [(deaths, name_of(packed)) for _, _, deaths, packed in take(other, 1)] == [(UNCOUNTED, "0")]
    proxy.behave()
    transport.publish(())


def test_a_result_goes_to_whoever_waits_for_it(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp()
    transport.attach("w", ["q"])
    publish(transport, names(1))
    rows = take(transport, 1)
    publish(transport, [], "replies")
    transport._publisher._routes.declare(transport._publisher._side, "replies", "")  # type: ignore[arg-type]
    settle(transport, ack=tags(rows), results=[Result("task", "SUCCESS", b"{}", reply_to="replies"),
                                               Result("task", "SUCCESS", b"{}")])
    properties, _, body = desk.receive("replies")
    assert (properties["correlation_id"], properties["content_type"], body) == ("task", "application/json", b"{}")
    assert desk.ready("replies") == 0


# -- endings ---------------------------------------------------------------------------------------------------


def test_what_is_handed_back_is_a_copy_without_a_death(open_amqp: Open, desk: Desk,
                                                       unacked: Callable[[str], int]) -> None:
    transport = open_amqp()
    publish(transport, names(3))
    transport.attach("w", ["q"])
    rows = take(transport, 3)
    settle(transport, back=tags(rows), rows=rows_of(rows))
    wait_until(lambda: (desk.ready("q"), unacked("q")) == (3, 0))
    again = take(transport, 3)
    assert sorted((deaths, name_of(packed)) for _, _, deaths, packed in again) == [(0, "0"), (0, "1"), (0, "2")]
    assert {packed for *_, packed in again} == {packed for *_, packed in rows}


def test_what_is_handed_back_without_its_content_is_requeued(open_amqp: Open) -> None:
    transport = open_amqp()
    publish(transport, names(1))
    transport.attach("w", ["q"])
    settle(transport, back=tags(take(transport, 1)))
    assert [deaths for _, _, deaths, _ in take(transport, 1)] == [UNCOUNTED]


def test_a_lost_one_comes_again_with_one_more_death(open_amqp: Open) -> None:
    transport = open_amqp(death_limit=10)
    publish(transport, names(1))
    transport.attach("w", ["q"])
    for deaths in range(3):
        rows = take(transport, 1)
        assert [row[2] for row in rows] == [deaths]
        settle(transport, lost=[rows[0][1]], rows=rows_of(rows))


def test_one_whose_holder_vanished_is_flagged_and_keeps_its_deaths(open_amqp: Open) -> None:
    transport = open_amqp(death_limit=10)
    publish(transport, names(1))
    transport.attach("w", ["q"])
    rows = take(transport, 1)
    settle(transport, lost=[rows[0][1]], rows=rows_of(rows))
    take(transport, 1)
    transport._lose()
    transport.attach("w", ["q"])
    rows = take(transport, 1)
    assert [row[2] for row in rows] == [1 | UNCOUNTED]
    assert [tag >> 48 for _, tag, _, _ in rows] == [2]


def test_dead_letters_carry_queue_reason_and_deaths(open_amqp: Open) -> None:
    transport = open_amqp()
    publish(transport, names(1))
    transport.attach("w", ["q"])
    rows = [(queue, tag, 2, packed) for queue, tag, _, packed in take(transport, 1)]
    settle(transport, dead=[(rows[0][1], "it crashed")], rows=rows_of(rows))
    letter, = transport.dead_letters()
    assert (letter.queue, letter.reason, letter.deaths, name_of(letter.content)) == ("q", "it crashed", 2, "0")
    assert abs(letter.died_at - time.time()) < 60


def test_a_queue_with_a_dead_letter_exchange_of_its_own_is_left_to_the_broker(open_amqp: Open, desk: Desk) -> None:
    own = Queue("own", queue_arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "grave"})
    transport = open_amqp(queue_of=known(own))
    publish(transport, names(1), "grave")
    transport.publish(())
    desk.get("grave")
    publish(transport, names(1), "own")
    transport.attach("w", ["own"])
    rows = take(transport, 1)
    settle(transport, dead=[(rows[0][1], "it crashed")], rows=rows_of(rows))
    _, headers, _ = desk.receive("grave")
    assert headers["x-first-death-queue"] == "own"
    assert transport.dead_letters() == []


def test_what_came_and_found_no_room_goes_back_to_others(open_amqp: Open, desk: Desk) -> None:
    transport, other = open_amqp(), open_amqp()
    publish(transport, names(40))
    transport.publish(())
    transport.attach("w", ["q"])
    rows = take(transport, 1, credit=40)
    wait_until(lambda: transport.keep() == 0 and turned(transport) and desk.ready("q") == 40 - len(rows))
    other.attach("w2", ["q"])
    again = take(other, 40 - len(rows))
    assert {deaths for _, _, deaths, _ in again} <= {0}


# -- what a turn costs -----------------------------------------------------------------------------------------


CALLS = 36
"""Of functions of Python, in a turn that takes deliveries and acknowledges others."""


def test_a_turn_under_load_is_few_python_calls(open_amqp: Open, unacked: Callable[[str], int]) -> None:
    transport = open_amqp()
    publish(transport, names(50))
    transport.attach("w", ["q"])
    ended = take(transport, 50, credit=200)
    publish(transport, names(50, first=50))
    transport.publish(())
    wait_until(lambda: unacked("q") == 100)
    assert select.select([transport._attached().link], [], [], 10)[0]
    transport._look_at = time.monotonic() + 60.0
    called: list[str] = []
    endings = Endings(ack=[(ended[0][1], ended[-1][1])])
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_name) if event == "call" else None)
    try:
        found = transport.turn(endings, 200)
    finally:
        sys.setprofile(None)
    assert len(flat(found)) > 4
    assert len(called) <= CALLS, called


# -- what breaks -----------------------------------------------------------------------------------------------


def test_a_deleted_queue_ends_the_attachment_and_the_next_one_makes_it_again(open_amqp: Open, desk: Desk) -> None:
    transport = open_amqp(queue_of=known(QUORUM))
    for queue in ("q", "quorum"):
        transport.attach("w", [queue])
        transport.turn(Endings(), 1)
        wait_until(lambda: transport.turn(Endings(), 1) == [] and not transport._attached()._lanes[0].asked)
        desk.delete(queue)
        with pytest.raises(ConnectionLost, match=f"queue '{queue}' was deleted"):
            wait_until(lambda: transport.turn(Endings(), 1))
        transport.attach("w", [queue])
        publish(transport, names(1), queue)
        transport.turn(Endings(ack=tags(take(transport, 1))), 0)


def test_a_queue_that_is_deleted_and_declared_anew_unseen_is_noticed(open_amqp: Open, desk: Desk,
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_watch, "QUIET_S", 0.3)
    transport = open_amqp(queue_of=known(QUORUM))
    publish(transport, names(1), "quorum")
    transport.publish(())
    transport.attach("w", ["quorum"])
    settle(transport, ack=tags(take(transport, 1, credit=4)))
    desk.do(amqp_side.Step("queue.delete", ("quorum", False, False, False)),
            amqp_side.queue("quorum", arguments={"x-queue-type": "quorum"}))
    for name in names(10, 1):
        desk.publish("", "quorum", content(name))
    found: list[str] = []

    def is_there() -> bool:
        try:
            rows = flat(transport.turn(Endings(), 4))
            transport.turn(Endings(ack=tags(rows)), 0)
            found.extend(name_of(row[3]) for row in rows)
            transport.keep()
        except ConnectionLost as error:
            assert re.search("has messages, and gave none|was deleted", str(error))
            transport.attach("w", ["quorum"])
        return set(found) == set(names(10, 1))

    wait_until(is_there, 30)


@pytest.mark.parametrize("is_held", [False, True])
def test_a_queue_that_gives_nothing_is_left_in_peace_where_that_may_be(is_held: bool, open_amqp: Open, desk: Desk,
                                                                       caplog: pytest.LogCaptureFixture,
                                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two consumers of a queue with a single active one, the other waits; and who holds something keeps it."""
    monkeypatch.setattr(amqp_watch, "QUIET_S", 0.05)
    single = Queue("single", queue_arguments={"x-single-active-consumer": True})
    first, second = (open_amqp(queue_of=known(single)) for _ in range(2))
    publish(first, names(4), "single")
    publish(first, names(1), "other")
    first.publish(())
    first.attach("w1", ["single"])
    take(first, 1)
    second.attach("w2", ["single", "other"])
    rows = take(second, 1, credit=5)
    if not is_held:
        settle(second, ack=tags(rows))
    told: list[str] = []

    def is_told() -> bool:
        try:
            second.turn(Endings(), 5)
            second.keep()
        except ConnectionLost as error:
            told.append(str(error))
        return bool(told) or "what this worker holds ends first" in caplog.text

    wait_until(is_told)
    assert bool(told) != is_held


def test_a_cut_is_told_and_the_tags_of_before_are_no_more(open_amqp: Open, amqp_url: str, proxy: Proxy) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, names(1))
    transport.attach("w", ["q"])
    rows = take(transport, 1)
    proxy.cut()
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{proxy.port}"):
        wait_until(lambda: transport.turn(Endings(), 1))
    transport.attach("w", ["q"])
    again = take(transport, 1)
    assert again[0][1] != rows[0][1]
    with pytest.raises(NotHeld, match="not held here"):
        transport.turn(Endings(ack=tags(rows)), 0)
    transport.turn(Endings(ack=tags(again)), 0)


def test_a_cut_tells_how_many_more_may_have_been_on_their_way(open_amqp: Open, amqp_url: str, proxy: Proxy) -> None:
    transport = open_amqp(proxy.url(amqp_url))
    publish(transport, names(5))
    transport.attach("w", ["q"])
    rows = take(transport, 5, 20)
    transport.turn(Endings(ack=tags(rows[:2])), 17)
    proxy.cut()
    with pytest.raises(ConnectionLost) as caught:
        wait_until(lambda: transport.turn(Endings(), 17))
    assert caught.value.unread == 17


def idle(transport: AmqpTransport, seconds: float) -> None:
    """Live as a worker with nothing to do: sleep, and look when it is time to."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        due = transport.arm()
        if due != 0.0:
            select.select([transport.fileno()], [], [], left if due is None else min(due, left))
        transport.keep()
        transport.turn(Endings(), 1)


def test_heartbeats_keep_idle_connections_and_tell_a_half_open_one(open_amqp: Open, amqp_url: str, proxy: Proxy,
                                                                   desk: Desk) -> None:
    transport = open_amqp(proxy.url(amqp_url), heartbeat_s=1.0)
    transport.attach("w", ["q"])
    publish(transport, names(1))
    transport.turn(Endings(ack=tags(take(transport, 1))), 0)
    idle(transport, 3.5)
    assert proxy.accepted == 2
    proxy.half_open()
    began = time.monotonic()
    with pytest.raises(ConnectionLost, match=f"127.0.0.1:{proxy.port}.*not even a heartbeat"):
        idle(transport, 10)
    assert time.monotonic() - began < 4
    proxy.cut(refuse=True)


def test_a_loop_that_cannot_beat_is_given_no_heartbeat(open_amqp: Open) -> None:
    transport = open_amqp(heartbeat_s=1.0)
    transport.attach("w", ["q"], lease_s=7200.0)
    assert transport._attached().link.heartbeat_s == 0
    assert transport.arm() is None
    transport.attach("w", ["q"], lease_s=30.0)
    assert transport._attached().link.heartbeat_s == 1


def test_contents_with_other_headers_pass_as_they_are(open_amqp: Open) -> None:
    transport = open_amqp()
    transport.attach("w", ["q"])
    packed = envelope.pack({"correlation_id": "x"}, {"x-fastq-deaths": "many", "id": "x"}, b"body")
    transport.publish_one("q", packed)
    assert [(deaths, found) for _, _, deaths, found in take(transport, 1)] == [(0, packed)]


def test_a_broker_that_waits_no_longer_for_an_ack_is_told_with_the_cure(impatient: None, open_amqp: Open) -> None:
    transport = open_amqp()
    publish(transport, names(1))
    transport.publish(())
    transport.attach("worker", ["q"])
    take(transport, 1)
    with pytest.raises(ConnectionLost, match=r"consumer_timeout: set that higher .* timed out"):
        wait_until(lambda: transport.turn(Endings(), 0))
    transport.attach("worker", ["q"])
    assert [row[2] for row in take(transport, 1)] == [UNCOUNTED]
