"""What the harness makes of its readings, and what it does when a trial goes wrong."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time

import pytest
from rich.console import Console

from fastq.bench import process, run
from fastq.bench.plot import Axis
from fastq.bench.question import NotOffered, Plan, Question, Reading, Trial, TrialFailed
from fastq.bench.record import Ledger, Summary
from fastq.bench.system import APART, BARE, FASTQ, Pace, System
from fastq.bench.table import compare, show
from tests.deadline import wait_until

OURS, PEER = System(FASTQ, "x", Pace(1, 1, 1)), System("peer", "x", Pace(1, 1, 1))


def reading(value: float, case: str = "one") -> Reading:
    return Reading(case, value, None, {})


def summary(value: float) -> Summary:
    return Summary("one", "peer", value, value, value, None, 1)


def asked(*trials: Trial, rounds: int = 3, width: int = 160) -> tuple[Ledger, str]:
    question = Question("q", "A question: of a test", "tasks/s", lambda _plan: list(trials))
    console = Console(file=io.StringIO(), width=width)
    ledger = run.ask(question, Plan((OURS, PEER)), rounds, console, None)
    show(ledger, console)
    assert isinstance(console.file, io.StringIO)
    return ledger, console.file.getvalue()


def test_a_summary_is_the_median_and_the_range_of_the_rounds():
    ledger = Ledger(Question("q", "t", "ms", lambda _plan: []))
    for value in (3.0, 1.0, 9.0):
        ledger.add(PEER, reading(value), 0)
    assert list(ledger.summaries()) == [Summary("one", "peer", 3.0, 1.0, 9.0, None, 3)]


def test_the_ratio_is_above_one_where_fastq_is_better_whatever_the_unit():
    assert compare(100.0, summary(50.0), more_is_better=True) == "2.00 x"
    assert compare(2.0, summary(5.0), more_is_better=False) == "2.50 x"
    assert compare(None, summary(5.0), more_is_better=True) == ""


def test_all_systems_have_a_turn_in_every_round_and_each_round_begins_with_another():
    order: list[str] = []

    def turn(name: str) -> list[Reading]:
        order.append(name)
        return [reading(1.0)]

    asked(Trial(FASTQ, "one", lambda: turn("a")), Trial("peer", "one", lambda: turn("b")), rounds=3)
    assert order == ["a", "b", "b", "a", "a", "b"]


def test_a_narrow_window_cuts_off_no_name_and_no_figure():
    _, shown = asked(Trial(FASTQ, "one", lambda: [reading(123456.0)]),
                     Trial("peer", "one", lambda: [reading(98765.0, "a case with quite a long name")]), width=40)
    assert "a case with quite a long name" in shown and "123,456 .. 123,456" in shown and "…" not in shown


def test_a_trial_that_breaks_is_named_and_not_tried_again():
    tries: list[int] = []

    def broken() -> list[Reading]:
        tries.append(1)
        raise TrialFailed("it said [nothing]")

    ledger, shown = asked(Trial("peer", "one", broken), Trial(FASTQ, "one", lambda: [reading(1.0)]))
    assert len(tries) == 1 and ledger.failed == {"peer (one)": "it said [nothing]"}
    assert "FAILED: peer (one): it said [nothing]" in shown


def test_what_a_system_does_not_have_is_told_and_is_no_failure():
    def absent() -> list[Reading]:
        raise NotOffered("has no bulk call")

    ledger, shown = asked(Trial("peer", "one", absent))
    assert not ledger.failed and "peer (one): has no bulk call" in shown


def test_a_line_tells_all_that_is_needed_to_judge_it_alone():
    out = io.StringIO()
    Ledger(Question("q", "t", "ms", lambda _plan: []), out).add(PEER, Reading("one", 2.0, 3.5, {"tasks": 7}), 4)
    line = json.loads(out.getvalue())
    assert (line["case"], line["value"], line["cpu_us_per_task"], line["repetition"]) == ("one", 2.0, 3.5, 4)
    assert line["params"] == {"tasks": 7} and line["python"] and line["sqlite"] and line["machine"]


def test_a_peer_that_is_not_installed_is_named_with_the_cure(capsys: pytest.CaptureFixture[str],
                                                            monkeypatch: pytest.MonkeyPatch):
    ghost = System("ghost", "x", Pace(1, 1, 1), needs=("a_module_that_nobody_has",))
    hermit = System("hermit", "x", Pace(1, 1, 1), apart="hermit")
    bare = next(system for system in run.SYSTEMS if system.name == BARE)
    monkeypatch.setattr(run, "SYSTEMS", (bare, ghost, hermit))
    assert run.main(["core", "--quick", "--json", "lines.jsonl"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "ghost: not installed: pip install fastq[bench]" in said
    assert f"hermit: not installed: pip install --target {APART}/hermit hermit" in said


def test_an_unknown_system_is_one_line_and_status_two(capsys: pytest.CaptureFixture[str]):
    assert run.main(["drain", "--only", "nobody", "--json", "lines.jsonl"]) == 2
    assert "no such system" in capsys.readouterr().out


def test_a_worker_that_dies_is_reported_with_its_last_words():
    dying = System("peer", "x", Pace(1, 1, 1), lambda _n: [sys.executable, "-c", "raise SystemExit('no broker here')"])
    with process.stage(dying) as at, at.worker() as worker, pytest.raises(TrialFailed, match="no broker here"):
        worker.wait("first", 30)


def test_a_queue_that_is_not_worked_off_in_its_order_has_no_drain_rate():
    ringing = "import bell, time; bell.ring('last'); time.sleep(60)"
    hasty = System("peer", "x", Pace(1, 1, 1), lambda _n: [sys.executable, "-c", ringing])
    with process.stage(hasty) as at, at.worker() as worker, pytest.raises(TrialFailed, match="'last' rang before"):
        worker.wait("first", 30)


def test_the_cpu_of_a_server_is_shown_beside_that_of_the_workers():
    with_server = Reading("one", 1.0, 3.0, {}, broker_us=47.0)
    _, shown = asked(Trial(FASTQ, "one", lambda: [with_server]))
    assert "broker us" in shown and "47" in shown
    assert "broker us" not in asked(Trial(FASTQ, "one", lambda: [reading(1.0)]))[1]


def test_a_load_can_be_the_same_for_every_system():
    assert Plan((), load=60_000).tasks(1) == Plan((), load=60_000).tasks(1_000_000) == 60_000
    assert Plan(()).tasks(1_000) == 2_000


def test_what_a_system_lacks_is_told_in_its_own_words():
    mute = System("peer", "bare_peer", Pace(1, 1, 1), lacks={"ask": "keeps no results"})
    with process.stage(mute) as at, pytest.raises(NotOffered, match="keeps no results"):
        at.produce("latency", 1, 1)


def test_the_cpu_clock_of_another_process_runs_while_it_works():
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as spinning:
        try:
            wait_until(lambda: (process.cpu_clock_s(spinning.pid) or 0.0) > 0.2, 30)
        finally:
            spinning.kill()
    assert process.cpu_clock_s(os.getpid()) == pytest.approx(time.process_time(), abs=0.1)


@pytest.mark.parametrize(("values", "log"), [((10.0, 12.0), False), ((10.0, 10_000.0), True), ((0.0, 5.0), False)])
def test_an_axis_turns_logarithmic_when_short_bars_would_vanish(values: tuple[float, ...], log: bool):
    axis = Axis([summary(value) for value in values])
    assert axis.log is log
    places = [axis.x(tick) for tick in axis.ticks()]
    assert places == sorted(places) and len(places) >= 3
