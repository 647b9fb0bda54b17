"""The verdict on a round of workflows: every task of each has run, and twice only where a death explains it.

A job is one task of a workflow: ``12.end`` is the body of the twelfth, ``12.0`` the workflow itself.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

from tests.fault.history import ATTEMPT, CONFIRM, FINISH, START, Deaths, Letter, Record, Run, Verdict
from tests.fault.shapes import Shape, shape_of

Runs = Mapping[str, list[Run]]
"""The runs of one workflow by the names of its tasks."""


def judge(records: Sequence[Record], values: Mapping[int, object], letters: Sequence[Letter], bosses: Iterable[int], *,
          is_atomic: bool) -> Verdict:
    """Return the verdict on a round that is over.

    *values* are what the confirmed workflows ended with. Of whom *letters* are, dead ones by the numbers of their
    workflows, may lack what follows. Where a turn of a worker is not *is_atomic*, a worker that dies within
    one leaves copies of what it has sent, and of all that follows.
    """
    attempted, confirmed, runs = _sorted(records)
    deaths = Deaths(records, set(bosses))
    verdict = Verdict(tasks=len(attempted), confirmed=len(confirmed), deaths=deaths.count)
    dead = {int(letter.job) for letter in letters}
    verdict.undue = [f"{letter.job} ({letter.deaths} deaths, {letter.reason!r})" for letter in letters
                     if not letter.reason.startswith("poison") or letter.deaths > deaths.count]
    verdict.conjured = sorted(f"{number}.0" for number in runs.keys() - attempted.keys())
    for number in sorted(attempted):
        shape, own = shape_of(number), runs[number]
        if number in dead:
            verdict.dead += number in confirmed
        elif missing := _missing(shape, own):
            _blame(verdict, number, missing, own, number in confirmed, is_atomic)
        elif number in confirmed:
            verdict.finished += 1
            if values.get(number) != shape.value:
                verdict.resultless.append(f"{number} ({values.get(number)!r})")
        else:
            verdict.unconfirmed += 1
        _count_doubles(verdict, number, own, deaths, None if is_atomic else attempted[number])
    return verdict


def _sorted(records: Sequence[Record]) -> tuple[dict[int, int], set[int], dict[int, dict[str, list[Run]]]]:
    attempted, confirmed, running = dict[int, int](), set[int](), dict[tuple[int, str], Run]()
    runs: dict[int, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
    for at, record in enumerate(records):
        number, _, name = record.job.partition(".")
        if record.kind == ATTEMPT:
            attempted[int(number)] = at
        elif record.kind == CONFIRM:
            confirmed.add(int(number))
        elif record.kind == START:
            run = running[record.pid, record.job] = Run(at, record)
            runs[int(number)][name].append(run)
        elif record.kind == FINISH:
            run = running.pop((record.pid, record.job))
            run.end, run.ended_ns = record.kind, record.at_ns
    return attempted, confirmed, runs


def _missing(shape: Shape, runs: Runs) -> list[str]:
    return [name for name in shape.tasks if not any(run.end for run in runs.get(name, ()))]


def _blame(verdict: Verdict, number: int, missing: list[str], runs: Runs, is_confirmed: bool, is_atomic: bool) -> None:
    said = f"{number} ({shape_of(number).name}: {' '.join(missing)})"
    if is_confirmed:
        verdict.lost.append(said)
    elif runs and is_atomic:
        verdict.torn.append(said)


def _count_doubles(verdict: Verdict, number: int, runs: Runs, deaths: Deaths, copied_since: int | None) -> None:
    """Count who ran twice; where copies may be left, *copied_since* is the record since when."""
    for name, own in runs.items():
        for earlier, later in pairwise(own):
            verdict.duplicates += 1
            is_explained = deaths.void(earlier, later.at) or (
                copied_since is not None and _is_copy(later, runs, deaths, copied_since))
            verdict.explained += is_explained
            if not is_explained:
                verdict.unexplained.append(f"{number}.{name}")


def _is_copy(later: Run, runs: Runs, deaths: Deaths, since: int) -> bool:
    """Tell whether a copy may have been left before the second run of a task.

    By a supervisor that died and had run a task of the same workflow; or by two: one that held the message, and one
    that found it so, counted that, and died between the copy for the suspects and the ack.
    """
    return deaths.of_supervisor_between(since, later.at) > 1 or any(
        deaths.void_with_supervisor(run, later.at) for own in runs.values() for run in own if run.at < later.at)
