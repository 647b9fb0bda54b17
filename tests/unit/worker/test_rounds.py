"""How often children are looked after: by need and on a beat, and never left alone for a long sleep."""

from __future__ import annotations

import math
import time

import pytest

from fastq.worker.rounds import BEAT_S, Rounds
from fastq.worker.timer import Timer


class Counted:
    """A staff of which only the calls are of interest; *due_s* and *limit_s* are what it asks for."""

    def __init__(self, due_s: float | None = None, limit_s: float | None = None) -> None:
        self.due_s, self.limit_s = due_s, limit_s
        self.tended = self.enforced = 0

    def tend(self) -> float | None:
        self.tended += 1
        return self.due_s

    def enforce(self) -> float | None:
        self.enforced += 1
        return self.limit_s


def rounds_of(staff: Counted) -> Rounds:
    rounds = Rounds(Timer())
    rounds.staff = staff  # type: ignore[assignment]
    return rounds


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    return clock


def test_a_busy_worker_looks_on_a_beat_and_at_limits_every_time(now: list[float]):
    staff = Counted(limit_s=3.0)
    rounds = rounds_of(staff)
    for _ in range(100):
        assert rounds.pass_by(now[0]) == 3.0
        rounds.moved()
        now[0] += BEAT_S / 10
    assert staff.tended == 10 and staff.enforced == 100


def test_a_call_is_answered_at_once(now: list[float]):
    staff = Counted()
    rounds = rounds_of(staff)
    rounds.pass_by(now[0])
    rounds.pass_by(now[0])
    rounds.call()
    rounds.pass_by(now[0])
    assert staff.tended == 2


def test_nobody_sleeps_long_before_the_children_were_looked_after(now: list[float]):
    staff = Counted()
    rounds = rounds_of(staff)
    rounds.pass_by(now[0])
    assert rounds.rest_s() == math.inf
    rounds.moved()
    assert rounds.rest_s() == pytest.approx(BEAT_S)
    now[0] += BEAT_S
    rounds.pass_by(now[0])
    assert rounds.rest_s() == math.inf and staff.tended == 2


@pytest.mark.parametrize(("due_s", "limit_s", "least"), [(2.0, None, 2.0), (None, 1.0, 1.0), (2.0, 1.0, 1.0),
                                                         (1.0, 2.0, 1.0), (-1.0, None, 0.0)])
def test_the_sooner_of_children_and_limits_ends_a_rest(now: list[float], due_s: float | None, limit_s: float | None,
                                                        least: float):
    rounds = rounds_of(Counted(due_s, limit_s))
    assert rounds.go() == least
    assert rounds.rest_s() == least


def test_a_solo_worker_has_nobody_to_look_after(now: list[float]):
    rounds = Rounds(Timer())
    assert rounds.go() is None and rounds.pass_by(now[0]) is None
    assert rounds.rest_s() == math.inf


def test_a_call_that_is_asked_for_ends_a_rest_and_is_made_in_time(now: list[float]):
    made: list[str] = []
    timer = Timer()
    rounds = Rounds(timer)
    rounds.staff = Counted(due_s=9.0)  # type: ignore[assignment]
    timer.call_after(3.0, made.append, ("once",))
    again = timer.call_repeatedly(2.0, made.append, ("again",))
    assert rounds.go() == 2.0 == rounds.rest_s()
    now[0] += 2.0
    rounds.pass_by(now[0])
    assert made == ["again"] and rounds.rest_s() == pytest.approx(1.0)
    now[0] += 30.0      # however late: once each
    rounds.pass_by(now[0])
    assert made == ["again", "once", "again"]
    timer.cancel(again)
    now[0] += 30.0
    rounds.pass_by(now[0])
    assert made == ["again", "once", "again"] and timer.due_in is None
