"""When a rate-limited task may start."""

from __future__ import annotations

import pytest

from fastq.exceptions import ConfigError
from fastq.worker.rate import HORIZON_S, Rate, seconds_between


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
    assert [rate.moment(name, 100.0) for name in "abcd"] == [100.0, 140.0, 100.0 + HORIZON_S, 100.0 + HORIZON_S]
    assert rate.moment("c", 160.0) == 180.0


def test_moments_that_others_used_are_forgotten():
    rate = Rate(1.0)
    for number in range(50):
        rate.moment(str(number), 100.0)
    rate.moment("new", 300.0)
    assert len(rate._given) == 0
