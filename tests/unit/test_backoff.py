from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq.backoff import chance, get_exponential_backoff_interval, retry_delay_s


@pytest.mark.parametrize("retries, delay_s", [(0, 1), (1, 2), (4, 16), (9, 512), (10, 600), (10**9, 600), (-1, 1)])
def test_the_delay_doubles_up_to_the_cap(retries: int, delay_s: int) -> None:
    assert retry_delay_s(True, retries, jitter=False) == delay_s


@pytest.mark.parametrize("backoff, delay_s", [(3, 24), (2.9, 16), (0.1, 8), (True, 8)])
def test_the_factor_is_a_whole_number_of_seconds_of_at_least_one(backoff: float, delay_s: int) -> None:
    assert retry_delay_s(backoff, 3, jitter=False) == delay_s


@pytest.mark.parametrize("backoff", [False, 0, None])
def test_without_backoff_there_is_no_delay_to_tell(backoff: bool) -> None:
    assert retry_delay_s(backoff, 3) is None


def test_full_jitter_reaches_from_nothing_to_the_whole_delay() -> None:
    assert retry_delay_s(1, 3, chance=lambda: 0.0) == 0
    assert retry_delay_s(1, 3, chance=lambda: 0.5) == 4
    assert retry_delay_s(1, 3, chance=lambda: 1 - 2**-53) == 8


@given(st.integers(0, 1000), st.integers(0, 100), st.integers(-5, 1000))
def test_a_jittered_delay_is_a_whole_number_within_the_cap(factor: int, retries: int, maximum: int) -> None:
    delay_s = get_exponential_backoff_interval(factor, retries, maximum, full_jitter=True)
    assert isinstance(delay_s, int)
    assert 0 <= delay_s <= max(0, maximum)


def test_an_interval_may_be_a_fraction_without_jitter() -> None:
    assert get_exponential_backoff_interval(0.5, 2, 600) == 2.0
    assert get_exponential_backoff_interval(0.5, 20, 1.5) == 1.5


def test_chance_stays_below_one_and_varies() -> None:
    drawn = {chance() for _ in range(1000)}
    assert len(drawn) > 990
    assert all(0 <= each < 1 for each in drawn)
