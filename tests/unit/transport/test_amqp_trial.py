"""Messages one death short of their limit: they wait at the broker, and a worker holds one at a time."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastq._ext import envelope
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import ConnectionLost
from fastq.transport import amqp, amqp_trial
from fastq.transport.amqp import AmqpTransport
from fastq.types import UNCOUNTED, Endings, Message
from tests.deadline import wait_until
from tests.servers.proxy import Proxy
from tests.unit.transport.amqpkit import (
    Desk,
    Open,
    Row,
    content,
    flat,
    name_of,
    publish,
    rows_of,
    settle,
    tags,
    take,
)

TRIAL = "fastq.trial.q"
Attach = Callable[..., AmqpTransport]
PutAside = Callable[..., None]
LeaveOne = Callable[[], None]


@pytest.fixture
def fill(open_amqp: Open) -> Callable[..., None]:
    """Publish messages that have died so often, named by their numbers."""
    def fill(*deaths: int, queue: str = "q", first: int = 0) -> None:
        transport = open_amqp()
        for number, count in enumerate(deaths, first):
            headers = {"x-fastq-deaths": count} if count else {}
            transport.publish_one(queue, content(str(number), **headers))
        transport.publish(())

    return fill


@pytest.fixture
def attach(open_amqp: Open, fill: Callable[..., None]) -> Attach:
    """A worker of queue q, where messages have died so often."""
    def attach(*deaths: int, limit: int = 3, queue: str = "q", **options: object) -> AmqpTransport:
        fill(*deaths, queue=queue)
        transport = open_amqp(death_limit=limit, **options)
        transport.attach("w", [queue])
        return transport

    return attach


@pytest.fixture
def put_aside(desk: Desk) -> PutAside:
    """Have a worker find so many suspects, and take none."""
    def put_aside(transport: AmqpTransport, count: int = 1) -> None:
        transport._trials._most = 0
        wait_until(lambda: transport.turn(Endings(), 1) == [] and desk.ready(TRIAL) == count)
        settle(transport)
        transport._trials._most = 4

    return put_aside


def found(rows: list[Row]) -> list[tuple[str, int]]:
    return [(name_of(packed), deaths) for _, _, deaths, packed in rows]


def comes(transport: AmqpTransport, **endings: object) -> list[Row]:
    """The next that comes to a worker with room for ten."""
    rows = flat(transport.turn(Endings(**endings), 10))  # type: ignore[arg-type]
    return rows or take(transport, 1, 10)


def nothing_comes(transport: AmqpTransport, desk: Desk, count: int, queue: str = TRIAL) -> bool:
    """Whether nothing comes though *count* messages wait in *queue*, and there is nothing to do either."""
    def is_still() -> bool:
        assert transport.turn(Endings(), 10) == []
        return desk.ready(queue) == count and transport._trials._ready != {} and transport.arm() != 0.0

    return wait_until(is_still)


# -- one at a time ----------------------------------------------------------------------------------------------


def test_of_several_on_their_last_death_one_is_in_hand_and_the_others_wait_at_the_broker(attach: Attach, desk: Desk,
                                                                                        ) -> None:
    transport = attach(2, 2, 0, 2)
    rows = take(transport, 2, 10)
    assert sorted(found(rows)) == [("0", 2), ("2", 0)]
    trial = next(row for row in rows if row[2])
    for name, left in (("1", 2), ("3", 1)):
        assert nothing_comes(transport, desk, left)
        trial, = comes(transport, ack=tags([trial]))
        assert (trial[0], found([trial])) == ("q", [(name, 2)])
    settle(transport, ack=tags([trial, *(row for row in rows if not row[2])]))
    assert transport.turn(Endings(), 10) == []
    wait_until(lambda: (desk.ready("q"), desk.ready(TRIAL)) == (0, 0))


def test_a_death_counted_here_puts_the_message_on_trial(attach: Attach) -> None:
    transport = attach(0, 1)
    rows = take(transport, 2)
    settle(transport, lost=[tag for _, tag, _, _ in rows], rows=rows_of(rows))
    rows = take(transport, 2)
    assert sorted(found(rows)) == [("0", 1), ("1", 2)]


def test_a_worker_that_asks_for_nothing_gets_no_trial(attach: Attach, desk: Desk, put_aside: PutAside) -> None:
    transport = attach(2)
    put_aside(transport)
    settle(transport)
    assert desk.ready(TRIAL) == 1
    assert found(take(transport, 1)) == [("0", 2)]


def test_suspects_with_deaths_left_run_beside_each_other_one_for_each_child(attach: Attach, desk: Desk) -> None:
    transport = attach(1, 1, 1, 1, 1, limit=3, children=3)
    rows = take(transport, 3, 10)
    assert found(rows) == [("0", 1), ("1", 1), ("2", 1)]
    assert nothing_comes(transport, desk, 2)
    assert found(comes(transport, ack=tags(rows[:1]))) == [("3", 1)]
    assert nothing_comes(transport, desk, 1)


def test_nobody_is_taken_beside_one_on_trial(attach: Attach, desk: Desk) -> None:
    transport = attach(1, 2, 1, limit=3, children=3)
    rows = take(transport, 2, 10)
    assert found(rows) == [("0", 1), ("1", 2)]
    assert nothing_comes(transport, desk, 1)
    settle(transport, ack=tags(rows[:1]))
    assert nothing_comes(transport, desk, 1)
    assert found(comes(transport, ack=tags(rows[1:]))) == [("2", 1)]


def test_the_queues_of_a_worker_share_its_one_trial(open_amqp: Open, fill: Callable[..., None], desk: Desk) -> None:
    for queue in "ab":
        fill(2, 2, queue=queue)
    transport = open_amqp()
    transport.attach("w", ["a", "b"])
    trial, = take(transport, 1, 10)
    seen = [trial[0]]
    for left in (3, 2, 1):
        wait_until(lambda left=left: transport.turn(Endings(), 10) == []  # type: ignore[misc]
                   and sum(desk.ready(f"fastq.trial.{queue}") or 0 for queue in "ab") == left)
        trial, = comes(transport, ack=tags([trial]))
        seen.append(trial[0])
    assert sorted(seen) == ["a", "a", "b", "b"]


def test_trials_and_others_take_turns_in_the_only_room(attach: Attach, fill: Callable[..., None],
                                                       put_aside: PutAside) -> None:
    transport = attach(2, 2, 2)
    put_aside(transport, 3)
    rows = take(transport, 1, 1)
    fill(0, 0, 0, first=3)
    wait_until(lambda: transport.turn(Endings(), 0) == [] and transport._attached().gathered)
    deaths = [rows[0][2]]
    while len(deaths) < 6:
        rows = flat(transport.turn(Endings(ack=tags(rows)), 1)) or take(transport, 1, 1)
        deaths += [row[2] for row in rows]
    assert deaths == [2, 0, 2, 0, 2, 0]


def test_with_a_limit_of_one_nothing_is_tried(attach: Attach, desk: Desk) -> None:
    transport = attach(0, 0, limit=1)
    assert found(take(transport, 2, 10)) == [("0", 0), ("1", 0)]
    assert desk.ready(TRIAL) is None


def test_with_a_limit_of_two_the_first_death_leads_there(attach: Attach, desk: Desk) -> None:
    transport = attach(0, 0, limit=2)
    rows = take(transport, 2)
    settle(transport, lost=[tag for _, tag, _, _ in rows], rows=rows_of(rows))
    trial = take(transport, 1, 10)
    assert trial[0][2] == 1
    assert nothing_comes(transport, desk, 1)


# -- who is counted ---------------------------------------------------------------------------------------------


def test_a_kill_counts_against_the_one_on_trial_and_no_other(attach: Attach, open_amqp: Open, desk: Desk) -> None:
    transport = attach(2, 2, 2)
    trial = take(transport, 1, 10)
    assert nothing_comes(transport, desk, 2)
    transport._lose()
    other = open_amqp()
    other.attach("w2", ["q"])
    seen = []
    for _ in range(3):
        rows = take(other, 1, 10)
        seen += found(rows)
        settle(other, ack=tags(rows))
    assert sorted(seen) == sorted([(name_of(trial[0][3]), 2 | UNCOUNTED), ("1", 2), ("2", 2)])


def test_one_that_was_held_on_its_way_to_trial_has_no_death_more(attach: Attach, desk: Desk) -> None:
    """It was delivered, but not run: to condemn it takes a death on trial."""
    transport = attach(2)
    consumer = transport._attached()
    consumer.resize(1)
    consumer.send()
    wait_until(lambda: consumer.read() or consumer.gathered)
    transport._lose()
    transport.attach("w", ["q"])
    assert found(take(transport, 1, 10)) == [("0", 2)]
    assert desk.ready("q") == 0


def test_one_that_dies_on_trial_is_a_dead_letter_of_its_own_queue(attach: Attach) -> None:
    transport = attach(1, 1, limit=2)
    trial = take(transport, 1, 10)
    settle(transport, dead=[(trial[0][1], "it killed its worker")], rows=rows_of(trial))
    assert found(take(transport, 1)) == [("1", 1)]
    letter, = transport.dead_letters()
    assert (letter.queue, name_of(letter.content), letter.reason) == ("q", "0", "it killed its worker")
    assert transport.resolve_dead([letter.id], replay=True) == 1
    assert found(take(transport, 1, 10)) == [("0", 0)]


def test_what_is_handed_back_waits_for_its_trial_again(attach: Attach, desk: Desk) -> None:
    transport = attach(2)
    rows = take(transport, 1)
    settle(transport, back=tags(rows), rows=rows_of(rows))
    wait_until(lambda: (desk.ready("q"), desk.ready(TRIAL)) == (0, 1))
    assert found(take(transport, 1)) == [("0", 2)]


def test_what_came_and_was_not_taken_goes_back_uncounted_at_the_close(attach: Attach, desk: Desk) -> None:
    transport = attach(2, 2)
    rows = take(transport, 1, 10)
    assert nothing_comes(transport, desk, 1)
    transport.turn(Endings(ack=tags(rows)), 10)
    transport.close()
    wait_until(lambda: desk.ready(TRIAL) == 1)
    packed = desk.receive(TRIAL)
    assert packed[1]["x-fastq-deaths"] == 2


def test_one_that_came_and_found_no_room_goes_back_uncounted(attach: Attach, desk: Desk, put_aside: PutAside) -> None:
    transport = attach(2)
    put_aside(transport)
    consumer = transport._attached()
    transport._ask(consumer, 1)
    consumer.send()
    wait_until(lambda: transport._trials.has_come or consumer.read())
    assert transport.arm() == 0.0
    wait_until(lambda: transport.keep() == 0 and transport.turn(Endings(), 0) == [] and desk.ready(TRIAL) == 1)
    assert found(take(transport, 1)) == [("0", 2)]


def test_one_whose_holder_vanished_stays_flagged_when_it_is_handed_back(attach: Attach, open_amqp: Open) -> None:
    transport = attach(0)
    take(transport, 1)
    transport._lose()
    transport.attach("w", ["q"])
    taken = transport.turn(Endings(), 1)    # or it has only come when the worker leaves: it goes back in either case
    wait_until(lambda: taken or transport._attached().read() or transport._attached().gathered)
    transport.close()
    other = open_amqp()
    other.attach("w2", ["q"])
    assert found(take(other, 1)) == [("0", UNCOUNTED)]


def block(transport: AmqpTransport, rabbitmq: RabbitMQ) -> None:
    """Raise the alarm, and have the worker know of it."""
    publish(transport, ["x"], "other")
    transport.publish(())
    rabbitmq.alarm(True)
    publish(transport, ["y"], "other")
    wait_until(lambda: transport._publisher.poll() or transport.is_choked)


def unblock(transport: AmqpTransport, rabbitmq: RabbitMQ) -> None:
    rabbitmq.alarm(False)
    wait_until(lambda: transport._publisher.poll() or not transport.is_choked)


def test_nobody_is_tried_while_nothing_could_be_handed_back(attach: Attach, put_aside: PutAside, rabbitmq: RabbitMQ,
                                                            desk: Desk) -> None:
    transport = attach(2)
    put_aside(transport)
    block(transport, rabbitmq)
    assert nothing_comes(transport, desk, 1)
    unblock(transport, rabbitmq)
    assert found(take(transport, 1)) == [("0", 2)]


def test_what_found_no_room_is_kept_while_it_cannot_be_handed_back(attach: Attach, rabbitmq: RabbitMQ, desk: Desk,
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp, "STUCK_S", 0.0)
    transport = attach(0, 0)
    consumer = transport._attached()
    consumer.resize(2)
    consumer.send()
    wait_until(lambda: consumer.read() or consumer.gathered == 2)
    block(transport, rabbitmq)
    transport.keep()
    assert consumer.gathered == 2
    unblock(transport, rabbitmq)
    wait_until(lambda: transport.keep() == 0 and transport.turn(Endings(), 0) == [] and desk.ready("q") == 2)
    assert found(take(transport, 2)) == [("0", 0), ("1", 0)]


# -- who finds them ---------------------------------------------------------------------------------------------


@pytest.fixture
def leave_one(attach: Attach, put_aside: PutAside) -> Callable[[], None]:
    """Have a worker put one aside, and end."""
    def leave_one() -> None:
        transport = attach(2)
        put_aside(transport)
        transport.close()

    return leave_one


def test_a_worker_that_comes_later_finds_them(leave_one: LeaveOne, open_amqp: Open, desk: Desk) -> None:
    leave_one()
    other = open_amqp()
    other.attach("w2", ["q"])
    assert found(take(other, 1)) == [("0", 2)]


def test_a_worker_that_was_there_before_finds_them(leave_one: LeaveOne, open_amqp: Open, desk: Desk,
                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(amqp_trial, "LOOK_S", 0.0)
    monkeypatch.setattr(amqp_trial, "SEARCH_S", 0.0)
    other = open_amqp()
    other.attach("w2", ["q"])
    leave_one()
    assert other.keep() == 0
    assert found(take(other, 1)) == [("0", 2)]


def test_one_who_knows_the_queue_looks_again_at_no_cost(leave_one: LeaveOne, open_amqp: Open, desk: Desk,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    leave_one()
    other = open_amqp()
    other.attach("w2", ["q"])
    settle(other, ack=tags(take(other, 1)))
    desk.publish("", TRIAL, content("1", **{"x-fastq-deaths": 2}))
    assert other.turn(Endings(), 1) == []
    assert other.arm() is None or other.arm() != 0.0
    monkeypatch.setattr(amqp_trial, "LOOK_S", 0.0)
    other.keep()
    assert found(take(other, 1)) == [("1", 2)]


def test_a_worker_that_saw_a_death_searches_soon(leave_one: LeaveOne, open_amqp: Open, desk: Desk,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    other = open_amqp()
    other.attach("w2", ["q"])
    leave_one()
    monkeypatch.setattr(amqp_trial, "LOOK_S", 0.0)
    other.keep()
    assert other._trials._known == set()
    publish(other, ["1"])
    rows = take(other, 1)
    settle(other, lost=[rows[0][1]], rows=rows_of(rows))
    other.keep()
    rows = take(other, 1)
    assert sorted(found(rows + comes(other, ack=tags(rows)))) == [("0", 2), ("1", 1)]


def test_an_idle_worker_has_nothing_to_do(attach: Attach, desk: Desk) -> None:
    transport = attach(2)
    settle(transport, ack=tags(take(transport, 1)))
    wait_until(lambda: transport.turn(Endings(), 10) == [] and transport.arm() != 0.0)
    for _ in range(20):
        transport.keep()
        assert transport.arm() != 0.0


def test_they_outlive_a_restart_of_the_broker(leave_one: LeaveOne, rabbitmq: RabbitMQ, open_amqp: Open) -> None:
    leave_one()
    rabbitmq.stop()
    rabbitmq.start()
    other = open_amqp()
    other.attach("w2", ["q"])
    assert found(take(other, 1)) == [("0", 2)]


def test_a_trial_queue_that_is_deleted_is_made_again(attach: Attach, desk: Desk) -> None:
    transport = attach(2)
    settle(transport, ack=tags(take(transport, 1)))
    desk.delete(TRIAL)
    transport.publish([Message("q", content("1", **{"x-fastq-deaths": 2}))])
    assert found(take(transport, 1)) == [("1", 2)]


def test_a_trial_queue_that_is_gone_when_it_is_asked_for_costs_one_attachment(attach: Attach, desk: Desk,
                                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    transport = attach(2)
    settle(transport, ack=tags(take(transport, 1)))
    desk.delete(TRIAL)
    monkeypatch.setattr(amqp_trial, "LOOK_S", 0.0)
    transport.keep()
    with pytest.raises(ConnectionLost):
        wait_until(lambda: transport.turn(Endings(), 1))
    transport.attach("w", ["q"])
    publish(transport, ["1"])
    assert found(take(transport, 1)) == [("1", 0)]


def test_a_content_that_makes_no_sense_comes_all_the_same(leave_one: LeaveOne, open_amqp: Open, desk: Desk) -> None:
    leave_one()
    desk.get(TRIAL)
    desk.publish("", TRIAL, envelope.pack({}, {"x-fastq-deaths": "many"}, b"x"))
    other = open_amqp()
    other.attach("w2", ["q"])
    assert [deaths for _, _, deaths, _ in take(other, 1)] == [0]


def test_a_new_attachment_starts_with_no_trial(attach: Attach) -> None:
    transport = attach(2, 2)
    rows = take(transport, 1, 10)
    transport.attach("w", ["q"])
    again = take(transport, 1, 10)
    assert found(again) == [(name_of(rows[0][3]), 2 | UNCOUNTED)]
    assert found(comes(transport, ack=tags(again))) == [("1", 2)]


def test_a_suspect_in_hand_takes_nothing_from_what_may_have_been_on_its_way(attach: Attach, amqp_url: str,
                                                                            proxy: Proxy) -> None:
    transport = attach(0, 0, 1, url=proxy.url(amqp_url))
    assert len(take(transport, 3, 20)) == 3
    assert transport._consumer is not None
    window = sum(lane.window for lane in transport._consumer._lanes)
    proxy.cut()
    with pytest.raises(ConnectionLost) as caught:
        wait_until(lambda: transport.turn(Endings(), 17))
    assert caught.value.unread == window - 2
