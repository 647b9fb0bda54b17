"""What `|` and the constructors make of signatures."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from fastq import chain, chord, group, signature
from fastq.canvas import _chain, maybe_signature


def test_a_task_and_a_task_are_a_chain(add: Any, mul: Any):
    made = add.s(1, 2) | mul.s(3)
    assert isinstance(made, _chain) and made.tasks == [add.s(1, 2), mul.s(3)]
    assert chain(add.s(1, 2), mul.s(3)) == made == chain([add.s(1, 2), mul.s(3)])
    assert chain(sig for sig in (add.s(1, 2), mul.s(3))) == made


def test_chains_in_chains_are_one_chain(add: Any, mul: Any):
    inner = add.s(2) | mul.s(3)
    flat = [add.s(1, 1), add.s(2), mul.s(3), add.s(4)]
    assert (add.s(1, 1) | inner | add.s(4)).tasks == flat
    assert chain(add.s(1, 1), chain(inner, add.s(4))).tasks == flat


def test_in_place_the_name_gets_the_longer_chain(add: Any):
    first = made = add.s(1, 1)
    made |= add.s(2)
    made |= add.s(3)
    assert made.tasks == [add.s(1, 1), add.s(2), add.s(3)] and first == add.s(1, 1)


def test_a_group_that_is_followed_is_the_header_of_a_chord(add: Any, total: Any):
    made = group(add.s(1, 1), add.s(2, 2)) | total.s()
    assert isinstance(made, chord) and made.body == total.s() and made.tasks == [add.s(1, 1), add.s(2, 2)]
    steps = chain(add.s(1, 1), group(add.s(1), add.s(2)), total.s()).tasks
    assert steps[0] == add.s(1, 1) and steps[1] == chord([add.s(1), add.s(2)], total.s())


def test_what_follows_a_chord_is_part_of_its_body(add: Any, total: Any):
    made = chord([add.s(1, 1)], total.s()) | add.s(5)
    assert isinstance(made, chord) and made.body == total.s() | add.s(5)


def test_a_chord_whose_body_is_a_group_joins_that_too(add: Any, total: Any):
    made = chord([add.s(1, 1)], group(total.s(), total.s())) | total.s()
    assert made.body == chord([total.s(), total.s()], total.s())
    in_chain = chain(add.s(1, 1), chord([add.s(1)], group(total.s(), total.s())), total.s()).tasks[-1]
    assert in_chain.body == chord([total.s(), total.s()], total.s())


@pytest.mark.parametrize("nothing", [lambda: group(), lambda: chain(), lambda: group([])])
def test_an_empty_group_or_chain_is_nothing(add: Any, nothing: Any):
    assert (add.s(1, 1) | nothing()) == add.s(1, 1)
    assert (add.s(1, 1) | add.s(2) | nothing() | add.s(3)).tasks == [add.s(1, 1), add.s(2), add.s(3)]
    assert (nothing() | add.s(1, 1)) == add.s(1, 1)
    assert (group(add.s(1, 1), add.s(2, 2)) | nothing()) == group(add.s(1, 1), add.s(2, 2))


def test_a_group_of_one_is_its_member(add: Any):
    assert (add.s(1, 1) | group(add.s(2)) | add.s(3)).tasks == [add.s(1, 1), add.s(2), add.s(3)]


def test_the_links_of_a_chain_stay_where_it_ends(add: Any, mul: Any, total: Any):
    inner = (add.s(1, 1) | mul.s(2)).on_error(total.s())
    inner.link(add.s(9))
    first, second, third = (inner | add.s(3)).tasks
    assert (first.options, third.options) == ({"link_error": [total.s()]}, {})
    assert second.options == {"link": [add.s(9)], "link_error": [total.s()]}
    assert inner.tasks == [add.s(1, 1), mul.s(2)]


def test_joining_changes_neither_side(add: Any, total: Any):
    left, right = group(add.s(1, 1), add.s(2, 2)) | total.s(), add.s(1)
    told = json.dumps([left, right])
    assert left | right and left | right | right
    assert json.dumps([left, right]) == told


@pytest.mark.parametrize("other", [3, "add", [1], {"task": "add"}, None])
def test_only_signatures_are_joined(add: Any, other: Any):
    with pytest.raises(TypeError, match="unsupported operand"):
        add.s(1) | other
    with pytest.raises(TypeError, match="unsupported operand"):
        other | add.s(1)
    with pytest.raises(TypeError, match="a step of a chain is a signature"):
        chain(add.s(1, 1), 3)


def test_a_chain_grows_to_ten_thousand_steps_without_recursion(add: Any, total: Any):
    made = add.s(1, 1)
    for _ in range(10_000):
        made |= add.s(1)
    assert len(made.tasks) == 10_001
    mixed = add.s(1, 1)
    for _ in range(3 * sys.getrecursionlimit()):
        mixed = mixed | group(add.s(1), add.s(2)) | total.s()
    assert len(mixed.tasks) == 1 + 3 * sys.getrecursionlimit()
    again = signature(json.loads(json.dumps(mixed)), app=add.app)
    assert len(again.prepared()) == len(mixed.tasks)


def test_signatures_come_back_from_json_as_what_they_were(add: Any, total: Any):
    made = chain(add.s(1, 1), group(add.s(1), add.s(2) | add.s(3)), chord([add.s(1)], total.s()))
    again = maybe_signature(json.loads(json.dumps(made)), app=add.app)
    assert json.dumps(again) == json.dumps(made)
    assert [type(step) for step in again.tasks] == [type(step) for step in made.tasks]
