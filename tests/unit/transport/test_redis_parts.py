"""How a turn over several queues is split."""

from __future__ import annotations

import pytest

from fastq.exceptions import NotHeld
from fastq.transport.redis_parts import Parts, bits_of, shares
from fastq.types import Endings, Message

ONE, TWO = bits_of(1), bits_of(2)


def _endings() -> Endings:
    return Endings(ack=[(ONE | 1, ONE | 3), (TWO | 1, TWO | 1)], back=[(TWO | 5, TWO | 6)], lost=[ONE | 4],
                   dead=[(TWO | 2, "bad")], publish=[Message("q", b"")],
                   rows={ONE | 4: ("a", 0, b"x"), TWO | 2: ("b", 1, b"y")})


def test_each_queue_gets_its_endings_by_its_own_tags() -> None:
    endings = _endings()
    parts = Parts(endings, {1: "a", 2: "b"})
    assert parts.of("a") == Endings(ack=[(1, 3)], lost=[4], rows={4: ("a", 0, b"x")})
    assert parts.of("b") == Endings(ack=[(1, 1)], back=[(5, 6)], dead=[(2, "bad")], rows={2: ("b", 1, b"y")})
    assert endings == Endings(publish=[Message("q", b"")])
    assert parts.alone == ""


def test_what_nobody_took_over_is_there_again() -> None:
    endings = _endings()
    Parts(endings, {1: "a", 2: "b"}).give_back(endings)
    assert endings == _endings()


def test_what_no_member_holds_is_refused_before_anything_is_taken() -> None:
    endings = _endings()
    with pytest.raises(NotHeld):
        Parts(endings, {1: "a"})
    assert endings == _endings()


def test_the_queue_of_all_that_ends_is_known() -> None:
    assert Parts(Endings(ack=[(ONE, ONE)]), {1: "a", 2: "b"}).alone == "a"
    assert Parts(Endings(), {1: "a"}).alone == ""


@pytest.mark.parametrize(("credit", "quiet", "found"), [
    (9, [False, False, False], [3, 3, 3]), (10, [True, False, False], [1, 5, 5]), (3, [True, True], [1, 1]),
    (1, [False, False], [1, 1]), (0, [False, True], [0, 0]),
])
def test_credit_goes_to_who_has_work(credit: int, quiet: list[bool], found: list[int]) -> None:
    assert shares(credit, quiet) == found
