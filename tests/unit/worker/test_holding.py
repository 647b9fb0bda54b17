"""How long deliveries are held before they have to come anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastq.types import UNCOUNTED, Endings
from fastq.worker.holding import Holding
from tests.unit.worker.parts import Parts, die_at_claim, message

HOLD_S = 900.0


class Clock:
    """Seconds that pass as the test says."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.kit.close()


@pytest.fixture
def pass_by(parts: Parts) -> Callable[[float], Endings]:
    """Let seconds pass, look as often as that takes, and return what leaves then."""
    clock = Clock()
    holding = Holding(parts.ring, parts.settler, HOLD_S, clock)

    def pass_by(seconds: float) -> Endings:
        until = clock.now + seconds
        while clock.now < until:
            clock.now += holding.look()
        return parts.settler.take()

    return pass_by


def test_what_runs_for_long_comes_anew_and_is_known_by_its_new_tag(parts: Parts, pass_by: Callable[[float], Endings],
                                                                   ) -> None:
    parts.release(message())
    die_at_claim(parts.kit)     # its slot stays claimed: a run that goes on
    assert pass_by(HOLD_S / 2) == Endings()
    endings = pass_by(HOLD_S)
    assert endings.anew == [1] and endings.rows == {1: ("q", 0, message())}
    assert parts.decide(message(), tag=9, deaths=UNCOUNTED) == Endings()
    assert [tag for tag, _ in parts.ring.unsettled()] == [9]
    assert pass_by(HOLD_S / 2) == Endings(), "its time begins anew"
    assert pass_by(HOLD_S).anew == [9]


def test_what_could_not_come_anew_goes_on_as_it_was(parts: Parts, pass_by: Callable[[float], Endings]) -> None:
    parts.release(message())
    die_at_claim(parts.kit)
    endings = pass_by(2 * HOLD_S)
    parts.settler.keep(endings.anew)
    assert not parts.settler.orphans
    assert pass_by(HOLD_S / 4).anew == [1], "asked again soon"
    parts.settler.give_again(Endings(anew=[1]))
    assert not parts.settler.orphans and not parts.settler.endings
    parts.settler.bury(0, "killed")
    assert parts.settler.take().lost == [1]


def test_what_ended_before_it_left_is_acked_once(parts: Parts, pass_by: Callable[[float], Endings]) -> None:
    parts.release(message())
    parts.settler.renew({1})
    parts.child.run_ready()
    parts.settler.collect()
    endings = parts.settler.take()
    assert (endings.anew, endings.ack) == ([], [(1, 1)])


def test_what_waits_for_a_child_for_so_long_goes_back(parts: Parts, pass_by: Callable[[float], Endings]) -> None:
    parts.release(message(), message())
    assert pass_by(HOLD_S / 2).back == []
    assert pass_by(HOLD_S).back == [(1, 2)]
