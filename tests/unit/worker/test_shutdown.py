"""What each signal does: the table of the module, row by row."""

from __future__ import annotations

import signal

import pytest

from fastq.worker.shutdown import Stop, StopWish

TERM, INT, QUIT = signal.SIGTERM, signal.SIGINT, signal.SIGQUIT


@pytest.mark.parametrize(("numbers", "how"), [
    ([TERM], Stop.WARM), ([TERM, TERM], Stop.WARM), ([TERM, INT], Stop.COLD), ([TERM, QUIT], Stop.COLD),
    ([INT], Stop.WARM), ([INT, INT], Stop.COLD), ([INT, TERM], Stop.WARM),
    ([QUIT], Stop.COLD), ([QUIT, TERM], Stop.COLD), ([QUIT, INT], Stop.COLD),
])
def test_signals_ask_for_what_the_table_says(numbers: list[signal.Signals], how: Stop,
                                             capfd: pytest.CaptureFixture[str]) -> None:
    wish, before = StopWish(), [signal.getsignal(number) for number in (TERM, INT, QUIT)]
    with wish.signals():
        for number in numbers:
            signal.raise_signal(number)
    assert wish.now is how
    assert [signal.getsignal(number) for number in (TERM, INT, QUIT)] == before
    said = capfd.readouterr().err
    assert [f"worker: {number.name}: " in said for number in numbers] == [True] * len(numbers)


@pytest.mark.parametrize(("numbers", "how"), [
    ([TERM], Stop.WARM), ([INT], Stop.WARM), ([INT, INT], Stop.SOFT), ([INT, INT, INT], Stop.COLD),
    ([QUIT], Stop.SOFT), ([QUIT, QUIT], Stop.COLD), ([QUIT, TERM], Stop.SOFT), ([QUIT, INT], Stop.COLD),
])
def test_with_grace_the_first_cold_stop_is_a_soft_one(numbers: list[signal.Signals], how: Stop) -> None:
    wish = StopWish(has_grace=True)
    with wish.signals():
        for number in numbers:
            signal.raise_signal(number)
    assert wish.now is how


@pytest.mark.parametrize(("told", "how"), [("SIGQUIT", Stop.COLD), ("quit", Stop.COLD), ("", Stop.WARM)])
def test_sigterm_may_be_remapped(told: str, how: Stop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REMAP_SIGTERM", told)
    wish = StopWish()
    with wish.signals():
        signal.raise_signal(TERM)
    assert wish.now is how


def test_a_first_interrupt_tells_how_to_insist(capfd: pytest.CaptureFixture[str]) -> None:
    wish = StopWish()
    with wish.signals():
        signal.raise_signal(INT)
        assert "again for a cold one" in capfd.readouterr().err
        signal.raise_signal(INT)
        assert "again" not in capfd.readouterr().err


def test_a_wish_only_gets_stronger_and_wakes_who_sleeps() -> None:
    wish, woken = StopWish(), []
    wish.on_wish(lambda: woken.append(wish.now))
    for how in (Stop.COLD, Stop.WARM, Stop.FAILED, Stop.NOT):
        wish.ask(how)
    assert woken == [Stop.COLD, Stop.COLD, Stop.FAILED, Stop.FAILED]


def test_only_what_was_not_cut_off_is_a_success() -> None:
    assert [stop.exit_code for stop in (Stop.WARM, Stop.SOFT, Stop.COLD, Stop.FAILED)] == [0, 0, 1, 1]
