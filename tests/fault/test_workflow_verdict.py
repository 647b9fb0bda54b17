"""The verdict on workflows says what a kill explains, and what nothing does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.fault import workflow_verdict
from tests.fault.history import DIED, KILL, START, Letter, Verdict
from tests.fault.shapes import SHAPES, shape_of
from tests.fault.test_history import BOSS, CHILD, OTHER_BOSS, OTHER_CHILD, run, sent, story

CHORD = next(number for number in range(len(SHAPES)) if shape_of(number).name == "chord of one")
MEMBER, BODY = f"{CHORD}.m0", f"{CHORD}.end"
WHOLE = [*run(MEMBER), *run(BODY)]


def verdict_of(*lines: tuple[object, ...], values: Mapping[int, object] | None = None, dead: Sequence[Letter] = (),
               is_atomic: bool = True) -> Verdict:
    return workflow_verdict.judge(
        story(*lines), {CHORD: "end(m0())"} if values is None else values,  # type: ignore[arg-type]
        dead, [BOSS, OTHER_BOSS], is_atomic=is_atomic)


def test_a_workflow_of_which_all_has_run_has_no_faults():
    verdict = verdict_of(*sent(f"{CHORD}.0"), *WHOLE)
    assert verdict.faults == []
    assert (verdict.tasks, verdict.confirmed, verdict.finished, verdict.duplicates) == (1, 1, 1, 0)


def test_a_body_that_did_not_run_to_its_end_is_lost():
    begun = *sent(f"{CHORD}.0"), *run(MEMBER), (START, BODY), (KILL, "-", CHILD, 0)
    assert verdict_of(*begun).lost == [f"{CHORD} (chord of one: end)"]
    assert verdict_of(*begun, dead=[Letter(str(CHORD), 1, "poison: it killed 1")]).faults == []
    assert len(verdict_of(*begun, dead=[Letter(str(CHORD), 2, "poison: it killed 2")]).undue) == 1


def test_a_body_with_the_wrong_value_is_told():
    assert verdict_of(*sent(f"{CHORD}.0"), *WHOLE, values={CHORD: "end()"}).resultless == [f"{CHORD} ('end()')"]


def test_a_workflow_that_was_sent_in_part_is_told():
    (attempt, _) = sent(f"{CHORD}.0")
    assert verdict_of(attempt).faults == []
    assert verdict_of(attempt, *WHOLE).unconfirmed == 1
    assert verdict_of(attempt, *run(MEMBER)).torn == [f"{CHORD} (chord of one: end)"]
    assert verdict_of(attempt, *run(MEMBER), is_atomic=False).faults == []


def test_tasks_of_what_nobody_sent_are_told():
    assert verdict_of(*WHOLE).conjured == [f"{CHORD}.0"]


@pytest.mark.parametrize("died", [CHILD, BOSS])
def test_a_body_that_ran_twice_is_explained_by_the_death_of_who_ran_it(died: int):
    first, second = run(BODY), run(BODY, OTHER_CHILD, OTHER_BOSS)
    explained = verdict_of(*sent(f"{CHORD}.0"), *run(MEMBER), *first, (DIED, "-", died, 0), *second)
    assert (explained.duplicates, explained.explained, explained.faults) == (1, 1, [])
    late = verdict_of(*sent(f"{CHORD}.0"), *run(MEMBER), *first, *second, (DIED, "-", died, 0))
    assert late.unexplained == [BODY]


def test_a_double_is_not_explained_by_the_death_of_others():
    others = (DIED, "-", OTHER_CHILD, 0), (DIED, "-", OTHER_BOSS, 0)
    told = *sent(f"{CHORD}.0"), *WHOLE, *others, *run(BODY)
    assert verdict_of(*told).unexplained == verdict_of(*told, is_atomic=False).unexplained == [BODY]


def test_who_died_with_a_member_may_have_left_two_bodies_where_a_turn_is_no_single_step():
    told = (*sent(f"{CHORD}.0"), *run(MEMBER, OTHER_CHILD, OTHER_BOSS), (DIED, "-", OTHER_BOSS, 0), *run(BODY),
            *run(BODY, 12))
    assert verdict_of(*told).unexplained == [BODY]
    assert verdict_of(*told, is_atomic=False).faults == []


def test_two_that_died_may_have_left_a_copy_of_what_neither_ran():
    held, counted = (DIED, "-", BOSS, 0), (DIED, "-", OTHER_BOSS, 0)
    told = *sent(f"{CHORD}.0"), held, counted, *run(MEMBER, 30, 31), *run(BODY, 30, 31), *run(MEMBER, 32, 31)
    assert verdict_of(*told).unexplained == [MEMBER]
    assert verdict_of(*told, is_atomic=False).faults == []
    assert verdict_of(held, *told[:2], *told[3:], is_atomic=False).unexplained == [MEMBER]
