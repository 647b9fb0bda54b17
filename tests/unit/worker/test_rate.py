"""When a rate-limited task may start."""

from __future__ import annotations

import heapq
from itertools import pairwise

import pytest

from fastq.exceptions import ConfigError
from fastq.worker.rate import FAR_S, Rate, seconds_between


@pytest.mark.parametrize(("rate", "seconds"), [
    (None, None), (0, None), ("0/s", None), (4, 0.25), (0.5, 2.0), ("10", 0.1), ("10/s", 0.1), ("120/m", 0.5),
    ("7200/h", 0.5), (" 1 / m ", 60.0), ("0.5/s", 2.0),
])
def test_rates_are_read_as_celery_reads_them(rate: object, seconds: float | None):
    assert seconds_between(rate) == (seconds if seconds is None else pytest.approx(seconds))  # type: ignore[arg-type]


@pytest.mark.parametrize("rate", ["often", "10/d", "-1", "10/s/s", "1e3"])
def test_a_rate_that_is_none_is_named(rate: str):
    with pytest.raises(ConfigError, match="is no rate: write"):
        seconds_between(rate)


def test_each_gets_a_moment_of_its_own_and_keeps_it():
    rate = Rate(2.0)
    assert [rate.moment(name, 100.0) for name in "abc"] == [100.0, 102.0, 104.0]
    assert rate.moment("c", 101.0) == 104.0     # asked too early: the same moment again
    assert rate.moment("b", 102.5) == 102.0     # its time has come
    assert rate.moment("d", 102.5) == 106.0


def test_time_that_passed_unused_is_not_saved_up():
    rate = Rate(2.0)
    assert rate.moment("a", 100.0) == 100.0
    assert [rate.moment(name, 150.0) for name in "bc"] == [150.0, 152.0]


def test_who_comes_too_late_for_the_horizon_asks_again_then():
    rate = Rate(40.0)
    assert [rate.moment(name, 100.0) for name in "abcd"] == [100.0, 140.0, 180.0, 220.0]
    assert rate.moment("c", 180.0) == 180.0
    assert rate.moment("d", 219.9) == 220.0     # a little early: the same moment, and kept
    assert rate.moment("d", 220.0) == 220.0


def test_who_comes_anew_while_others_wait_behind_the_horizon_is_not_before_them():
    rate = Rate(1.0)
    asked = [rate.moment(str(number), 100.0) for number in range(100)]
    assert asked == [100.0 + number for number in range(100)]
    assert rate.moment("new", 105.0) == 200.0
    assert rate.moment("61", 161.0) == 161.0


def test_a_new_rate_is_obeyed_after_ten_minutes_however_many_wait():
    rate = Rate(1.0)
    asked = [rate.moment(str(number), 100.0) for number in range(5000)]
    assert asked == sorted(asked)
    assert asked[600] == 700.0 < asked[601]
    assert asked[-1] < 100.0 + FAR_S + 1.0


def test_a_long_queue_is_published_again_three_times_a_message_at_most_and_keeps_its_order():
    rate, every_s, many = Rate(0.1), 0.1, 20_000
    waiting = [(0.0, number) for number in range(many)]     # sorted, and so a heap
    published, started = 0, []
    while waiting:
        now, number = heapq.heappop(waiting)
        at = rate.moment(str(number), now)
        if at <= now:
            started.append((now, number))
        else:
            published += 1
            heapq.heappush(waiting, (at, number))
    assert [number for _, number in started] == list(range(many))
    assert all(later - now > every_s * 0.999 for (now, _), (later, _) in pairwise(started))
    assert started[-1][0] == pytest.approx(many * every_s, rel=0.01)
    assert published < 3 * many


def test_moments_that_others_used_are_forgotten():
    rate = Rate(1.0)
    for number in range(50):
        rate.moment(str(number), 100.0)
    rate.moment("new", 300.0)
    assert len(rate._given) == 0
