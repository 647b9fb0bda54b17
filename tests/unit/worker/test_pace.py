"""How long a busy worker pauses between two turns."""

from __future__ import annotations

import pytest

from fastq.worker.pace import AT, FULL, MOST_S, RATE, Pace


def pauses(*moved: int, window: int = 1024) -> list[float | None]:
    """The pauses after turns that moved so many messages."""
    pace = Pace()
    return [pace.after(count, window) for count in moved]


def test_who_moves_little_is_not_made_to_wait() -> None:
    assert pauses(*[0, 1, AT - 1] * 5) == [None] * 15


def test_a_slow_stream_is_gathered_for_longer_and_longer_up_to_a_limit() -> None:
    found = [pause_s or 0.0 for pause_s in pauses(*[40] * 10)]
    assert found == sorted(found)
    assert 0.0 < found[0] < found[-1] == MOST_S


def test_full_turns_follow_each_other_without_a_pause_until_they_are_full_no_more() -> None:
    pace = Pace()
    assert [pace.after(4 * FULL, 1024) for _ in range(10)][-1] == 0.0
    assert pace.after(FULL // 4, 1024)


def test_the_pause_settles_where_a_turn_is_just_full() -> None:
    pace, pause_s, rate = Pace(), 0.0, 150_000.0
    for _ in range(50):
        pause_s = pace.after(int((pause_s + 0.0003) * rate), 1024) or 0.0
    assert int((pause_s + 0.0003) * rate) == pytest.approx(FULL, abs=2)


@pytest.mark.parametrize("window", [AT, 16, 32])
def test_where_the_window_bounds_a_turn_there_is_nothing_to_wait_for(window: int) -> None:
    assert pauses(*[window] * 10, window=window)[-1] == 0.0


def test_a_stream_that_thins_out_is_answered_at_once() -> None:
    pace = Pace()
    while pace.after(40, 1024) != MOST_S:
        pass
    assert pace.after(int(MOST_S * RATE) - 1, 1024) is None
