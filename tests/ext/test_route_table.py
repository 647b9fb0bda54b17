"""The routing table against its plain oracle, and what it keeps."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastq._ext.route import Patterns, RouteTable
from tests.reference import route_table as reference

NAMES = st.text("ab.", max_size=4)
REGEXES = st.sampled_from([re.compile("a|b."), re.compile("b+$"), re.compile("")])
PATTERNS = NAMES | st.text("ab.*?[]", max_size=4) | REGEXES
PAIRS = st.lists(st.tuples(PATTERNS, st.integers(0, 99).map(lambda number: f"q{number}")), max_size=6)


@given(st.lists(PAIRS | st.none(), max_size=4), st.lists(NAMES, max_size=6))
def test_a_table_answers_as_its_oracle_does(routers: list[Any], names: list[str]) -> None:
    """None among the routers is a callable."""

    def table(kind: Any, patterns: Any) -> Any:
        return kind([print if pairs is None else patterns(pairs) for pairs in routers], lambda answer: [answer])

    ours, theirs = table(RouteTable, Patterns), table(reference.RouteTable, reference.Patterns)
    for name in names * 2:
        assert ours.lookup(name) == theirs.lookup(name)


def test_exact_names_come_before_patterns_and_patterns_in_their_order() -> None:
    patterns = Patterns([("a.*", 1), (re.compile("a"), 2), ("*", 3), ("a.b", 4), ("a.b", 5)])
    assert [patterns.find(name) for name in ("a.b", "a.c", "ac", "b")] == [4, 1, 2, 3]
    assert Patterns([]).find("a") is None


def test_a_regular_expression_counts_when_it_matches_at_the_start() -> None:
    patterns = Patterns([(re.compile(r"(video|image)\.tasks\."), 1)])
    assert [patterns.find(name) for name in ("video.tasks.x", "my.video.tasks.x", "video.task")] == [1, None, None]


def test_static_answers_are_finished_once_and_shared() -> None:
    finished: list[Any] = []

    def finish(answer: Any) -> list[Any]:
        finished.append(answer)
        return [answer]

    table = RouteTable([Patterns([("a", "x")])], finish)
    assert table.lookup("a") is table.lookup("a") == ["x"]
    assert table.lookup("b") is table.lookup("b") == [None]
    assert finished == ["x", None]
    table.clear()
    assert table.lookup("a") == ["x"]
    assert finished == ["x", None, "x"]


def test_a_failure_to_finish_is_raised_each_time_and_not_kept() -> None:
    failures = iter([KeyError("first"), KeyError("second")])

    def finish(answer: Any) -> Any:
        failure = next(failures, None)
        if failure:
            raise failure
        return answer

    table = RouteTable([Patterns([("a", "x")])], finish)
    for expected in ("first", "second"):
        with pytest.raises(KeyError, match=expected):
            table.lookup("a")
    assert table.lookup("a") == "x"


def test_a_name_is_dynamic_when_a_callable_comes_before_a_match() -> None:
    def router(*call: Any) -> Any:
        return call if call[0] == "mine" else None

    table = RouteTable([Patterns([("a", "x")]), router, Patterns([("b", "y")])], lambda answer: [answer])
    assert table.lookup("a") == ["x"]
    assert table.lookup("b") is table.lookup("c") is None
    assert table.first("a", 1, 2, {}, 3) == "x"
    assert table.first("b", 1, 2, {}, 3) == "y"
    assert table.first("c", 1, 2, {}, 3) is None
    assert table.first("mine", 1, 2, {"o": 4}, 3) == ("mine", 1, 2, {"o": 4}, 3)


def test_names_without_end_do_not_fill_the_memory() -> None:
    finished = 0

    def finish(answer: Any) -> str:
        nonlocal finished
        finished += 1
        return "q"

    table = RouteTable([], finish)
    for number in range(10_000):
        table.lookup(f"name{number}")
    table.lookup("name0")
    assert finished == 10_001  # it was dropped meanwhile
    table.lookup("name9999")
    assert finished == 10_001


@pytest.mark.parametrize("name", [None, b"a", 1])
def test_only_text_is_a_name(name: Any) -> None:
    table = RouteTable([], lambda answer: answer)
    with pytest.raises(TypeError):
        table.lookup(name)
    with pytest.raises(TypeError):
        table.first(name, (), {}, {}, None)
