"""The runs of tags that a worker keeps in its memory."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq.exceptions import TransportError
from fastq.transport.sqlite_claim import Runs

RUNS = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 5)).map(lambda it: (it[0], it[0] + it[1])))


def holds(runs: Runs, first: int, last: int) -> bool:
    try:
        runs.check(first, last)
    except TransportError:
        return False
    return True


@given(RUNS)
def test_exactly_the_tags_that_were_added_are_held(added: list[tuple[int, int]]) -> None:
    runs = Runs(added)
    tags = {tag for first, last in added for tag in range(first, last + 1)}
    for first in range(36):
        for last in range(first, 36):
            assert holds(runs, first, last) == tags.issuperset(range(first, last + 1))


@given(RUNS)
def test_neighbours_are_joined(added: list[tuple[int, int]]) -> None:
    tags = {tag for first, last in added for tag in range(first, last + 1)}
    assert len(Runs(added)) == sum(tag - 1 not in tags for tag in tags)


def test_the_error_names_the_tag_that_is_not_held() -> None:
    with pytest.raises(TransportError, match="delivery 4 is not held"):
        Runs([(1, 3), (5, 9)]).check(2, 7)
