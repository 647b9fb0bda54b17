"""Numbers of messages against the broker's delivery tags, over any number of connections."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq.transport.amqp_confirm import Unconfirmed


def test_confirms_in_order_move_the_mark() -> None:
    sent = Unconfirmed()
    sent.add([b"a", b"b", b"c"])
    sent.confirm(1, is_multiple=False)
    assert (sent.confirmed, sent.sent, len(sent)) == (1, 3, 2)
    sent.confirm(3, is_multiple=True)
    assert (sent.confirmed, len(sent)) == (3, 0)


def test_a_confirm_out_of_turn_waits_for_those_before_it() -> None:
    sent = Unconfirmed()
    sent.add([b"a", b"b", b"c"])
    sent.confirm(2, is_multiple=False)
    assert sent.confirmed == 0
    sent.confirm(1, is_multiple=False)
    assert (sent.confirmed, len(sent)) == (2, 1)


def test_only_what_is_not_confirmed_is_sent_again() -> None:
    sent = Unconfirmed()
    sent.add([b"a", b"b", b"c", b"d"])
    sent.confirm(1, is_multiple=False)
    sent.confirm(3, is_multiple=False)
    assert sent.again() == [b"b", b"d"]
    sent.add([b"e"])
    sent.confirm(1, is_multiple=False)
    assert sent.confirmed == 3
    sent.confirm(3, is_multiple=True)
    assert (sent.confirmed, len(sent)) == (5, 0)


@pytest.mark.parametrize("tag", [0, 2, 10**9])
def test_a_confirm_of_what_was_not_sent_is_an_error(tag: int) -> None:
    sent = Unconfirmed()
    sent.add([b"a"])
    with pytest.raises(ValueError, match=f"message {tag}"):
        sent.confirm(tag, is_multiple=True)


def test_what_was_dropped_was_never_sent() -> None:
    sent = Unconfirmed()
    sent.add([b"a", b"b", b"c"])
    sent.drop(1)
    assert (sent.sent, sent.again()) == (1, [b"a"])
    sent.confirm(1, is_multiple=False)
    sent.drop(0)
    assert (sent.sent, sent.again()) == (1, [])


def test_what_a_confirm_is_about_can_be_looked_at_before() -> None:
    sent = Unconfirmed()
    sent.add([b"a", b"b", b"c", b"d"])
    sent.confirm(1, is_multiple=False)
    sent.confirm(3, is_multiple=False)
    assert sent.up_to(4, is_multiple=False) == [b"d"]
    assert sent.up_to(4, is_multiple=True) == [b"b", b"d"]
    assert sent.up_to(1, is_multiple=True) == sent.up_to(1, is_multiple=False) == []
    with pytest.raises(ValueError, match="message 5"):
        sent.up_to(5, is_multiple=True)


@given(st.data())
def test_any_history_keeps_numbers_and_tags_together(data: st.DataObject) -> None:
    sent = Unconfirmed()
    connection: list[int] = []      # what was sent on this connection: tag n is the n-th
    confirmed: set[int] = set()
    made = 0
    for _ in range(data.draw(st.integers(1, 30))):
        step = data.draw(st.sampled_from(["add", "confirm", "multiple", "again"]))
        if step == "add":
            count = data.draw(st.integers(1, 4))
            numbers = list(range(made + 1, made + count + 1))
            made += count
            sent.add([b"%d" % number for number in numbers])
            connection += numbers
        elif step == "again":
            connection = [number for number in range(1, made + 1) if number not in confirmed]
            assert sent.again() == [b"%d" % number for number in connection]
        else:
            open_tags = [tag for tag, number in enumerate(connection, 1) if number not in confirmed]
            if not open_tags:
                continue
            tag = data.draw(st.sampled_from(open_tags))
            sent.confirm(tag, is_multiple=step == "multiple")
            confirmed |= set(connection[:tag]) if step == "multiple" else {connection[tag - 1]}
        settled = next((number - 1 for number in range(1, made + 1) if number not in confirmed), made)
        assert (sent.confirmed, sent.sent) == (settled, made)
