"""States, and which of two says more: as Celery has it."""

from __future__ import annotations

import celery.states
import pytest

from fastq import states

NAMES = (*sorted(states.ALL_STATES), states.REJECTED, states.IGNORED, "PROGRESS")


@pytest.mark.parametrize("name", NAMES)
def test_the_place_of_a_state_is_celerys(name: str):
    assert states.precedence(name) == celery.states.precedence(name)


@pytest.mark.parametrize("left", NAMES)
def test_states_are_compared_by_what_they_say(left: str):
    ours, theirs = states.state(left), celery.states.state(left)
    for right in NAMES:
        other, its = states.state(right), celery.states.state(right)
        assert [ours > other, ours >= other, ours < other, ours <= other, ours == other] == [
            theirs > its, theirs >= its, theirs < its, theirs <= its, theirs == its]
        assert (ours > right) == (theirs > right)


def test_the_one_that_says_most_is_the_greatest():
    assert max(map(states.state, NAMES)) == states.SUCCESS
    assert states.state(states.PENDING) < states.state(states.STARTED) < states.state("PROGRESS")
    assert states.state(states.FAILURE) == "FAILURE" and isinstance(states.state("X"), str)


def test_the_sets_of_states_are_celerys():
    for name in ("READY_STATES", "UNREADY_STATES", "EXCEPTION_STATES", "PROPAGATE_STATES", "ALL_STATES"):
        assert getattr(states, name) == getattr(celery.states, name)
