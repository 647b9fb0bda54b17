"""Globs against fnmatch, topics against a recursive oracle."""

from __future__ import annotations

import pickle
import re
from fnmatch import fnmatchcase

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from fastq._ext.route import Glob, topic_match
from tests.reference import route_table as reference


@pytest.mark.parametrize(
    "pattern, name, matches",
    [
        ("video.*", "video.encode", True),
        ("video.*", "video.", True),
        ("video.*", "video", False),
        ("*.tasks.*", "a.b.tasks.c.d", True),
        ("?.b", "a.b", True),
        ("?.b", ".b", False),
        ("[ab]c", "bc", True),
        ("[!ab]c", "bc", False),
        ("[a-c]", "b", True),
        ("[a-]", "-", True),
        ("[]]", "]", True),
        ("[!]]", "]", False),
        ("[", "[", True),
        ("[a", "[a", True),
        ("Video.*", "video.encode", False),
        ("", "", True),
        ("*", "", True),
        ("*", "line\nbreak", True),
        ("*é☃😀", "xé☃😀", True),
        ("[à-ü]*", "été", True),
    ],
)
def test_globs_match_whole_names(pattern: str, name: str, matches: bool) -> None:
    assert Glob(pattern).match(name) is matches


GLOB_TEXT = st.text("ab-]![*?^.c&~|\\é", max_size=10)


@settings(max_examples=1000)
@given(GLOB_TEXT, st.text("ab-]![^.c&\\é", max_size=8))
@example("[b-a]", "b")
@example("[!b-a]", "b")
@example("[a-b-c]", "-")
@example("[--c]", "a")
def test_globs_agree_with_fnmatch(pattern: str, name: str) -> None:
    try:
        expected = fnmatchcase(name, pattern)
    except re.error:  # a backward range, before Python 3.11
        assume(False)
    assert Glob(pattern).match(name) is expected


@given(st.text(max_size=12), st.text(max_size=12))
def test_globs_agree_with_fnmatch_on_any_text(pattern: str, name: str) -> None:
    try:
        expected = fnmatchcase(name, pattern)
    except re.error:
        assume(False)
    assert Glob(pattern).match(name) is expected


def test_a_glob_of_many_stars_takes_no_exponential_time() -> None:
    assert Glob("*a" * 200 + "b").match("a" * 20_000) is False


def test_a_glob_may_be_long_and_is_told_by_its_repr_and_pickled() -> None:
    pattern = "[a-z]" * 10_000
    assert Glob(pattern).match("q" * 10_000)
    assert repr(Glob("a*")) == "Glob('a*')"
    assert pickle.loads(pickle.dumps(Glob("a*"))).match("ab")


@pytest.mark.parametrize("call", [lambda: Glob(None), lambda: Glob("a").match(None), lambda: topic_match(b"a", "a")])
def test_only_text_matches(call: object) -> None:
    with pytest.raises(TypeError):
        call()  # type: ignore[operator]


@pytest.mark.parametrize(
    "pattern, key, matches",
    [
        ("video.#", "video", True),
        ("video.#", "video.encode.fast", True),
        ("video.*", "video", False),
        ("video.*", "video.encode", True),
        ("video.*", "video.encode.fast", False),
        ("#", "", True),
        ("#", "a.b", True),
        ("*", "", False),
        ("", "", True),
        ("", "a", False),
        ("#.b.#", "a.b.c", True),
        ("#.b.*.#", "a.b", False),
        ("a.#.b", "a.b", True),
        ("*.*.1.#", "x.y.1", True),
        ("a#", "ab", False),
        ("a..b", "a..b", True),
        ("a.*.b", "a..b", True),
        ("#.celery", "1.0.1.celery", True),
    ],
)
def test_topics_match_by_words(pattern: str, key: str, matches: bool) -> None:
    assert topic_match(pattern, key) is matches


@settings(max_examples=1000)
@given(st.text("ab.#*", max_size=12), st.text("ab.#é", max_size=12))
def test_topics_agree_with_the_oracle(pattern: str, key: str) -> None:
    assert topic_match(pattern, key) is reference.topic_match(pattern, key)


def test_a_topic_of_many_hashes_takes_no_exponential_time() -> None:
    assert topic_match("#.a." * 200 + "b", "a." * 10_000 + "a") is False
