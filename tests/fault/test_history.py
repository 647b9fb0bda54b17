"""The judge is judged: each fault that it is there for, injected into an account that was in order."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from tests.fault.history import (
    ATTEMPT,
    COLD,
    CONFIRM,
    CONT,
    DIED,
    FINISH,
    GRACE_NS,
    KILL,
    LAPSE,
    LINKED,
    RECORD,
    RETRY,
    START,
    STOP,
    Journal,
    Letter,
    Reader,
    Record,
    Remains,
    Verdict,
    judge,
    parse,
)

BOSS, CHILD, OTHER_BOSS, OTHER_CHILD = 10, 11, 20, 21


def story(*lines: tuple[str, str] | tuple[str, str, int] | tuple[str, str, int, int]) -> list[Record]:
    """Records from (kind, job or "-", pid, supervisor); one millisecond passes between two of them."""
    records = []
    for n, (kind, job, *who) in enumerate(lines):
        pid, boss = (*who, *(CHILD, BOSS)[len(who):])
        records.append(Record(kind, job, pid, boss, n * 1_000_000))
    return records


def sent(*jobs: str) -> list[tuple[str, str]]:
    return [(kind, job) for job in jobs for kind in (ATTEMPT, CONFIRM)]


def run(job: str, *who: int) -> list[tuple[object, ...]]:
    return [(START, job, *who), (FINISH, job, *who)]


def early(job: str) -> bool:
    return job.startswith("9")


def verdict_of(*lines: tuple[str, ...], remains: Remains | None = None) -> Verdict:
    return judge(story(*lines), remains or Remains(), is_early=early,  # type: ignore[arg-type]
                 wants_result=lambda job: job.startswith("5"), bosses=[BOSS, OTHER_BOSS])


def test_an_account_in_order_has_no_faults():
    verdict = verdict_of(*sent("1.0", "2.0", "3.0"), *run("1.0"), remains=Remains(
        queued=Counter({"2.0": 1}), dead=[Letter("3.0", 0, "poison: it killed 0")]))
    assert verdict.faults == []
    assert (verdict.confirmed, verdict.finished, verdict.queued, verdict.dead) == (3, 1, 1, 1)


def test_a_confirmed_task_that_is_nowhere_is_lost():
    verdict = verdict_of(*sent("1.0", "2.0"), *run("1.0"))
    assert verdict.lost == ["2.0"]
    assert verdict.faults == ["1 lost: 2.0"]


def test_a_task_that_began_and_did_not_end_is_lost_even_if_its_child_died():
    assert verdict_of(*sent("1.0"), (START, "1.0"), (KILL, "-", CHILD, 0)).lost == ["1.0"]


def test_a_second_run_without_a_death_is_not_explained():
    verdict = verdict_of(*sent("1.0"), *run("1.0"), *run("1.0", OTHER_CHILD))
    assert (verdict.duplicates, verdict.explained, verdict.unexplained) == (1, 0, ["1.0"])


@pytest.mark.parametrize(("kind", "pid"), [
    (KILL, CHILD), (DIED, CHILD), (KILL, BOSS), (DIED, BOSS), (COLD, BOSS), (STOP, BOSS), (LAPSE, BOSS)])
def test_a_second_run_after_the_death_of_the_first_ones_process_is_explained(kind, pid):
    verdict = verdict_of(*sent("1.0"), *run("1.0"), (kind, "-", pid, 0), *run("1.0", OTHER_CHILD, OTHER_BOSS))
    assert (verdict.duplicates, verdict.explained, verdict.faults) == (1, 1, [])


def test_a_death_that_came_after_the_second_run_explains_nothing():
    verdict = verdict_of(*sent("1.0"), *run("1.0"), *run("1.0", OTHER_CHILD), (KILL, "-", CHILD, 0))
    assert verdict.unexplained == ["1.0"]


def test_the_death_of_another_child_explains_nothing():
    verdict = verdict_of(*sent("1.0"), *run("1.0"), (KILL, "-", OTHER_CHILD, 0), (START, "1.0", 12))
    assert verdict.unexplained == ["1.0"]


def test_three_runs_need_two_deaths():
    runs = [(START, "1.0"), (KILL, "-", CHILD, 0), (START, "1.0", 12), (START, "1.0", 13), (FINISH, "1.0", 13)]
    verdict = verdict_of(*sent("1.0"), *runs)
    assert (verdict.duplicates, verdict.explained, verdict.unexplained) == (2, 1, ["1.0"])


def test_a_zombie_that_starts_what_others_have_taken_over_is_explained_by_its_stop():
    verdict = verdict_of(*sent("1.0"), (STOP, "-", BOSS, 0), *run("1.0", OTHER_CHILD, OTHER_BOSS),
                         (CONT, "-", BOSS, 0), (START, "1.0"))
    assert (verdict.duplicates, verdict.explained, verdict.faults) == (1, 1, [])


def test_a_stop_explains_nothing_that_happened_long_after_it():
    records = story(*sent("1.0"), (STOP, "-", BOSS, 0), (CONT, "-", BOSS, 0), *run("1.0"),
                    (START, "1.0", 12), (FINISH, "1.0", 12))
    late = [record._replace(at_ns=record.at_ns + 2 * GRACE_NS) if n > 3 else record for n, record in enumerate(records)]
    assert judge(late, Remains()).unexplained == ["1.0"]


def test_a_task_that_finished_and_is_queued_still_is_no_second_run_yet():
    verdict = verdict_of(*sent("1.0"), *run("1.0"), remains=Remains(queued=Counter({"1.0": 1})))
    assert (verdict.finished, verdict.queued, verdict.faults) == (0, 1, [])


def test_a_task_that_is_queued_twice_is_not_explained():
    verdict = verdict_of(*sent("1.0"), remains=Remains(queued=Counter({"1.0": 2})))
    assert verdict.faults == ["1 ran twice without a death: 1.0 (queued 2 times)"]


def test_an_unconfirmed_publish_may_have_happened_or_not():
    verdict = verdict_of((ATTEMPT, "1.0"), (ATTEMPT, "2.0"), (START, "2.0"), (FINISH, "2.0"))
    assert (verdict.confirmed, verdict.unconfirmed, verdict.faults) == (0, 1, [])


def test_an_unconfirmed_publish_may_not_happen_twice():
    verdict = verdict_of((ATTEMPT, "1.0"), *run("1.0"), (START, "1.0", 12), (FINISH, "1.0", 12))
    assert verdict.unexplained == ["1.0"]


def test_a_task_that_nobody_sent_is_named():
    assert verdict_of((START, "7.0"), (FINISH, "7.0")).conjured == ["7.0"]
    assert verdict_of(remains=Remains(queued=Counter({"7.0": 1}))).conjured == ["7.0"]


@pytest.mark.parametrize("end,after", [(RETRY, "1.1"), (LINKED, "1.L")])
def test_what_follows_from_a_run_is_owed(end, after):
    begun = [*sent("1.0"), (START, "1.0"), (end, "1.0")]
    assert verdict_of(*begun).lost == [after]
    assert verdict_of(*begun, (START, after), (FINISH, after)).faults == []
    assert verdict_of(*begun, remains=Remains(queued=Counter({after: 1}))).faults == []


@pytest.mark.parametrize("end,after", [(RETRY, "1.1"), (LINKED, "1.L")])
def test_what_follows_from_a_run_that_did_not_count_is_not_owed(end, after):
    verdict = verdict_of(*sent("1.0"), (START, "1.0"), (end, "1.0"), (KILL, "-", BOSS, 0),
                         remains=Remains(queued=Counter({"1.0": 1})))
    assert verdict.faults == []
    assert verdict.confirmed == 1


def test_an_early_acked_task_may_go_with_its_supervisor_and_is_counted():
    verdict = verdict_of(*sent("9.0"), (KILL, "-", BOSS, 0))
    assert (verdict.early_lost, verdict.faults) == (1, [])


def test_an_early_acked_task_is_lost_when_nobody_died():
    assert verdict_of(*sent("9.0")).lost == ["9.0"]
    assert verdict_of((KILL, "-", BOSS, 0), (KILL, "-", CHILD, 0), *sent("9.0")).lost == ["9.0"]


def test_a_child_takes_one_early_acked_task_with_it_at_most():
    verdict = verdict_of(*sent("9.0", "99.0"), (KILL, "-", CHILD, 0))
    assert (verdict.early_lost, verdict.lost) == (1, ["99.0"])


def test_a_child_of_many_tasks_takes_as_many_with_it_as_it_runs_at_once():
    lines = story(*sent("9.0", "99.0", "999.0"), (KILL, "-", CHILD, 0))
    verdict = judge(lines, Remains(), is_early=early, bosses=[BOSS], at_once=2)
    assert (verdict.early_lost, verdict.lost) == (2, ["999.0"])


def test_an_early_acked_task_that_began_may_go_with_its_own_child_only():
    assert verdict_of(*sent("9.0"), (START, "9.0"), (KILL, "-", CHILD, 0)).early_lost == 1
    assert verdict_of(*sent("9.0"), (START, "9.0"), (KILL, "-", OTHER_CHILD, 0)).lost == ["9.0"]


def test_the_link_of_an_early_acked_task_may_go_with_its_worker():
    assert verdict_of(*sent("9.0"), (START, "9.0"), (LINKED, "9.0"), (KILL, "-", BOSS, 0)).early_lost == 1
    assert verdict_of(*sent("9.0"), (START, "9.0"), (LINKED, "9.0")).lost == ["9.L"]


@pytest.mark.parametrize("letter", [Letter("1.0", 3, "poison: it killed 3"), Letter("1.0", 0, "unknown task 'x'")])
def test_a_dead_letter_without_the_deaths_is_undue(letter):
    verdict = verdict_of(*sent("1.0"), remains=Remains(dead=[letter]))
    assert len(verdict.undue) == 1
    assert verdict.faults


def test_a_finished_task_without_its_result_is_named():
    ran = [*sent("5.0"), *run("5.0")]
    assert verdict_of(*ran).resultless == ["5.0"]
    assert verdict_of(*ran, remains=Remains(results=Counter({"5": 2}))).resultless == ["5.0"]
    assert verdict_of(*ran, remains=Remains(results=Counter({"5": 1}))).faults == []


def test_a_sum_that_does_not_add_up_is_a_fault():
    assert Verdict(confirmed=2, finished=1).faults == ["2 are owed, and 1 were found"]


def test_a_journal_keeps_what_forked_and_killed_processes_wrote(tmp_path: Path):
    journal = Journal(str(tmp_path / "journal"), boss=7)
    journal.write(ATTEMPT, "1.0")
    child = os.fork()
    if child == 0:
        for n in range(1000):
            journal.write(START, f"{n}.0")
        os.kill(os.getpid(), 9)
    for n in range(1000):
        journal.write(FINISH, f"{n}.0")
    os.waitpid(child, 0)
    reader = Reader(journal.path)
    reader.follow()
    assert reader.counts == {ATTEMPT: 1, START: 1000, FINISH: 1000}
    assert [record.job for record in reader.records if record.kind == START] == [f"{n}.0" for n in range(1000)]
    assert {record.pid for record in reader.records if record.kind == START} == {child}
    assert {record.boss for record in reader.records} == {7}
    assert 4096 % RECORD == 0   # no record crosses a page
    reader.close()
    journal.close()


def test_a_torn_record_is_noticed():
    with pytest.raises(ValueError, match="torn"):
        list(parse(b"x" * (RECORD + 3)))
