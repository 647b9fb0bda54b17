"""What every transport promises to a worker that chooses anew which queues it consumes."""

from __future__ import annotations

from collections.abc import Callable

from tests.conformance.broker import Broker, bodies, runs
from tests.deadline import wait_until

Open = Callable[..., Broker]


def test_a_queue_is_consumed_from_the_moment_it_is_chosen(broker: Broker) -> None:
    broker.attach("q")
    broker.send("other", queue="r")
    broker.send("own")
    assert bodies(broker.take(1)) == [b"own"]
    broker.consume("q", "r")
    row, = broker.take(1)
    assert (row.queue, row.body) == ("r", b"other")
    broker.end(ack=runs([row]))
    broker.check("r")


def test_a_sleeper_wakes_for_a_queue_that_was_chosen_later(broker: Broker, open_broker: Open) -> None:
    broker.attach("q")
    assert broker.take(0) == []
    broker.consume("q", "r")
    assert broker.take(0) == []
    open_broker().send("a", queue="r")
    open_broker().send("b")
    assert sorted(bodies(broker.wait_for(2))) == [b"a", b"b"]


def test_a_queue_that_is_left_gives_no_more(broker: Broker, open_broker: Open) -> None:
    broker.attach("q", "r")
    broker.send("before", queue="r")
    row, = broker.take(1)
    broker.consume("q")
    broker.take(0)
    broker.send("after", queue="r")
    broker.send("own")
    assert bodies(broker.take(1)) == [b"own"]
    assert broker.take(0) == []
    other = open_broker()
    other.attach("r", name="other")
    assert bodies(other.take(1)) == [b"after"]
    broker.end(ack=runs([row]))
    broker.check("q", held=1)


def test_what_is_held_of_a_queue_that_was_left_ends_as_ever(broker: Broker, open_broker: Open) -> None:
    broker.attach("q", "r")
    broker.send("acked", "back", "dead", "lost", queue="r")
    broker.may_see_deaths = True
    acked, back, dead, lost = broker.take(4)
    broker.consume("q")
    broker.take(0)
    broker.end(ack=runs([acked]), back=runs([back]), dead=[(dead.tag, "why")], lost=[lost.tag])
    broker.check("r", ready=2, dead=1)
    wait_until(broker.dead_letters)
    assert [(letter.queue, letter.content) for letter in broker.dead_letters()] == [("r", b"dead")]
    other = open_broker()
    other.may_see_deaths = True
    other.attach("r", name="other")
    assert {(row.body, row.deaths) for row in other.take(2)} == {(b"back", 0), (b"lost", 1)}


def test_a_queue_is_left_and_chosen_again(broker: Broker) -> None:
    broker.attach("q", "r")
    for name in ("a", "b"):
        broker.consume("q")
        broker.take(0)
        broker.send(name, queue="r")
        assert broker.take(0) == []
        broker.consume("r", "q")
        row, = broker.take(1)
        assert (row.queue, row.body) == ("r", name.encode())
        broker.end(ack=runs([row]))


def test_a_worker_may_have_no_queue_at_all(broker: Broker) -> None:
    broker.attach("q")
    broker.consume()
    broker.take(0)
    broker.send("a")
    assert broker.take(0) == []
    broker.consume("q")
    assert bodies(broker.take(1)) == [b"a"]


def test_what_a_dead_worker_held_of_a_queue_that_it_chose_later_comes_back(open_broker: Open) -> None:
    dead, other = open_broker(), open_broker()
    other.attach("q", "r", name="other")
    other.consume("q")
    other.take(0)
    dead.attach("q", name="dead")
    dead.consume("q", "r")
    dead.send("a", "b", queue="r")
    assert bodies(dead.take(2, 2)) == [b"a", b"b"]
    other.may_see_deaths = True
    dead.close()    # without a word about what it held
    assert other.take(0) == []
    other.consume("r")
    assert sorted(bodies(other.take(2))) == [b"a", b"b"]
