"""What is held on a channel, beside a broker in plain Python that reads the frames as RabbitMQ does."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fastq._ext import amqp
from tests.ext.amqpkit import drain, fed
from tests.reference import frames

EMPTY = b"\0\0\0\2\0\0"
HEADER = amqp.content(1, EMPTY, 4096)


class Broker:
    """Delivers on channel 9 to the consumers a, b and c, of which c is not watched; knows what is unsettled."""

    def __init__(self, base: int = 0) -> None:
        self.base, self.last = base, 0
        self.unsettled: list[int] = []
        self.ended: dict[int, str] = {}
        self.decoder = amqp.Decoder()
        self.consumers = {name: self.decoder.watch(9, name, base) for name in "ab"}

    def deliver(self, names: Iterable[str]) -> None:
        for name in names:
            self.last += 1
            self.unsettled.append(self.last)
            self.decoder.feed(
                frames.method(9, "basic.deliver", name, self.last, False, "", "k") + frames.content(9, EMPTY, 9))

    def take(self, name: str, most: int) -> amqp.Rows:
        return self.decoder.take(self.consumers[name], most)

    def settle(self, raw: bytes) -> int:
        """Apply frames; how many there were. A tag that is not outstanding ends the channel, also with multiple."""
        sent = list(drain(fed(raw)))
        for channel, name, (tag, *bits), _ in sent:
            assert channel == 9 and tag in self.unsettled, (name, tag)
            multiple = name != "basic.reject" and bits[0]
            how = "acked" if name == "basic.ack" else "requeued" if bits[-1] else "rejected"
            for one in [one for one in self.unsettled if one <= tag] if multiple else [tag]:
                self.unsettled.remove(one)
                self.ended[self.base + one] = how
        return len(sent)


def held_with(n: int, base: int = 0) -> tuple[Broker, amqp.Held]:
    broker, held = Broker(base), amqp.Held(9, base)
    broker.deliver("a" * n)
    held.add_rows(broker.take("a", n))
    return broker, held


def runs_of(tags: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for tag in sorted(tags):
        if runs and runs[-1][1] == tag - 1:
            runs[-1] = (runs[-1][0], tag)
        else:
            runs.append((tag, tag))
    return runs


class Machine(RuleBasedStateMachine):
    """Deliveries of several consumers, taken in any order and settled in any order."""

    @initialize(base=st.sampled_from([0, 1, 10**12]))
    def begin(self, base: int) -> None:
        self.broker, self.held = Broker(base), amqp.Held(9, base)
        self.mine: list[int] = []
        self.wanted: dict[int, str] = {}

    @rule(names=st.text("aaabbc", max_size=40) | st.integers(1, 300).map(lambda n: "a" * n))
    def deliver(self, names: str) -> None:
        self.broker.deliver(names)

    @rule(name=st.sampled_from("ab"), most=st.sampled_from([1, 3, 1000]))
    def take(self, name: str, most: int) -> None:
        rows = self.broker.take(name, most)
        self.held.add_rows(rows)
        self.mine += [row[0] for row in rows]

    @rule()
    def get(self) -> None:
        self.broker.last += 1
        self.broker.unsettled.append(self.broker.last)
        self.held.add(self.broker.base + self.broker.last)
        self.mine.append(self.broker.base + self.broker.last)

    @precondition(lambda self: self.mine)
    @rule(data=st.data(), how=st.sampled_from(["acked", "rejected", "requeued"]))
    def settle(self, data: st.DataObject, how: str) -> None:
        tags = sorted(self.mine)
        chosen = data.draw(st.one_of(
            st.integers(1, len(tags)).map(lambda n: tags[:n]),
            st.integers(1, len(tags)).map(lambda n: tags[-n:]),
            st.lists(st.sampled_from(tags), unique=True, max_size=20),
            st.just(tags[1:]),
        ))
        runs = data.draw(st.permutations(runs_of(chosen)))
        raw = self.held.ack(runs) if how == "acked" else self.held.reject(runs, how == "requeued")
        assert self.broker.settle(raw) <= len(chosen)
        self.wanted |= dict.fromkeys(chosen, how)
        self.mine = [tag for tag in tags if tag not in chosen]

    @invariant()
    def agrees(self) -> None:
        assert self.held.tags() == sorted(self.mine) and len(self.held) == len(self.mine)
        assert self.broker.ended == self.wanted


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestMachine = Machine.TestCase


def test_what_is_oldest_goes_in_one_frame_and_the_rest_one_by_one() -> None:
    _, held = held_with(10)
    raw = held.ack([(1, 4), (6, 7), (10, 10)])
    assert raw == (frames.method(9, "basic.ack", 4, True) + frames.method(9, "basic.ack", 6, False)
                   + frames.method(9, "basic.ack", 7, False) + frames.method(9, "basic.ack", 10, False))
    assert held.tags() == [5, 8, 9]
    assert held.ack([(5, 5), (8, 8)]) == frames.method(9, "basic.ack", 8, True)
    assert held.ack([(9, 9)]) == frames.method(9, "basic.ack", 9, False)
    assert held.ack([]) == b"" and len(held) == 0


@pytest.mark.parametrize("requeue", [False, True])
def test_rejections_are_single_but_for_what_is_oldest(requeue: bool) -> None:
    _, held = held_with(6, base=100)
    assert held.reject([(102, 102)], requeue) == frames.method(9, "basic.reject", 2, requeue)
    assert held.reject([(101, 101), (103, 104), (106, 106)], requeue) == (
        frames.method(9, "basic.nack", 4, True, requeue) + frames.method(9, "basic.reject", 6, requeue))
    assert held.tags() == [105]


def test_no_multiple_ack_reaches_over_a_delivery_that_was_not_taken() -> None:
    broker, held = Broker(), amqp.Held(9)
    broker.deliver("abaab")
    held.add_rows(broker.take("a", 9))
    assert held.tags() == [1, 3, 4]
    assert held.ack([(3, 4), (1, 1)]) == b"".join(frames.method(9, "basic.ack", tag, False) for tag in (3, 4, 1))
    broker.deliver("a")
    held.add_rows(broker.take("b", 9))
    held.add_rows(broker.take("a", 9))
    assert held.tags() == [2, 5, 6]
    assert held.ack([(2, 2), (5, 6)]) == frames.method(9, "basic.ack", 6, True)


def test_a_single_tag_is_added_once_and_only_above_the_base() -> None:
    held = amqp.Held(9, 100)
    held.add(103)
    for tag in (103, 100, -1, 1 << 63):
        with pytest.raises(ValueError, match=f"tag {tag} was added before, or is not above 100"):
            held.add(tag)
    held.add(102)
    assert held.tags() == [102, 103]


@pytest.mark.parametrize("runs", [
    [(0, 0)], [(4, 4)], [(2, 4)], [(1, 1), (1, 1)], [(1, 2), (2, 3)], [(3, 2)], [(-1, 1)], [(2**63, 2**63)],
    [(2**64, 2**65)], [(1, 2**63 - 1)], [(1, 3), (5, 5)], [(1, 3), (7, 7)],
])
def test_tags_that_are_not_held_are_refused_and_nothing_is_changed(runs: list[tuple[int, int]]) -> None:
    _, held = held_with(6)
    held.ack([(4, 5)])
    for settle in (held.ack, lambda runs: held.reject(runs, True)):
        with pytest.raises(ValueError, match=r"not all tags from -?[0-9]+ to [0-9]+ are held"):
            settle(runs)
        assert held.tags() == [1, 2, 3, 6]
    assert held.ack([(1, 3)]) == frames.method(9, "basic.ack", 3, True)


@pytest.mark.parametrize("runs", [[(1,)], [(1, 2, 3)], [1], [("1", "1")], [(1, 1), None], 5, None])
def test_runs_that_are_none_are_refused_and_nothing_is_changed(runs: Any) -> None:
    _, held = held_with(3)
    with pytest.raises((TypeError, ValueError)):
        held.ack(runs)
    assert held.tags() == [1, 2, 3]


def test_holds_tells_of_whole_runs() -> None:
    _, held = held_with(9, base=50)
    held.ack([(55, 55)])
    assert held.holds(51, 54) and held.holds(51, 51) and held.holds(56, 59)
    for first, last in (54, 56), (55, 55), (50, 51), (59, 60), (52, 51), (-1, 1), (51, 2**70):
        assert not held.holds(first, last)


def test_rows_are_added_once_and_only_above_the_base() -> None:
    _, held = held_with(3)
    rows = fed_rows(3)
    with pytest.raises(ValueError, match="a tag from 1 on was added before"):
        held.add_rows(rows)
    held.ack([(1, 3)])
    with pytest.raises(ValueError, match="was added before"):
        held.add_rows(rows)
    assert held.tags() == []
    above = amqp.Held(9, 10)
    with pytest.raises(ValueError, match="or is not above 10"):
        above.add_rows(rows)


def fed_rows(n: int) -> amqp.Rows:
    broker = Broker()
    broker.deliver("a" * n)
    return broker.take("a", n)


def test_a_task_that_stays_for_ever_costs_nothing_growing() -> None:
    """The first delivery is never settled, a million others pass."""
    decoder, held = amqp.Decoder(), amqp.Held(1)
    consumer = decoder.watch(1, "c")
    size = 500

    def turn(first: int) -> None:
        decoder.feed(b"".join(amqp.method(1, amqp.METHODS["basic.deliver"], "c", tag, False, "", "k") + HEADER
                              for tag in range(first, first + size)))
        held.add_rows(decoder.take(consumer, size))
        held.ack([(max(first, 2), first + size - 1)])

    for first in range(1, 10**6, size):
        turn(first)
        assert sys.getsizeof(held) < 3 * 8 * size + 1000
    assert held.tags() == [1]


def test_ever_more_tags_that_nobody_told_of_cost_nothing_growing_and_stay_safe() -> None:
    """Every second delivery of the channel goes to a consumer without acks."""
    decoder, held = amqp.Decoder(), amqp.Held(1)
    consumer = decoder.watch(1, "c")
    size, last = 1000, 0

    def turn(times: int) -> None:
        nonlocal last
        for _ in range(times):
            decoder.feed(b"".join(amqp.method(1, amqp.METHODS["basic.deliver"], "c", tag, False, "", "k") + HEADER
                                  for tag in range(last + 2, last + 2 * size + 2, 2)))
            last += 2 * size
            held.add_rows(decoder.take(consumer, size))
            tags = held.tags()
            assert len(held.ack([(tag, tag) for tag in tags])) == 21 * size

    turn(140)
    before = sys.getsizeof(held)
    turn(140)
    assert sys.getsizeof(held) == before


@given(st.integers(-2, 70000), st.integers(-1, 2**63))
def test_a_channel_and_a_base_have_their_limits(channel: int, base: int) -> None:
    if 0 <= channel <= 65535 and 0 <= base < 2**62:
        assert len(amqp.Held(channel, base)) == 0
    else:
        with pytest.raises(ValueError):
            amqp.Held(channel, base)
