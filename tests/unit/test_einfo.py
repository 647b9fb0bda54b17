"""Tracebacks as text: what the standard library would print, and none of it printed twice."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable
from typing import NoReturn

import pytest

from fastq import einfo
from fastq.einfo import ExceptionInfo, format_exception


def caught(fails: Callable[[], object]) -> BaseException:
    try:
        fails()
    except BaseException as error:
        return error
    raise AssertionError("it did not fail")


def deep(n: int) -> int:
    return 1 // n if n == 0 else deep(n - 1)


def ping(n: int) -> int:
    return pong(n - 1) if n else 1 // n


def pong(n: int) -> int:
    return ping(n - 1)


def because() -> NoReturn:
    try:
        deep(5)
    except ZeroDivisionError as error:
        raise ValueError("a") from error


def meanwhile() -> NoReturn:
    try:
        because()
    except ValueError:
        {}["b"]
    raise AssertionError


def hidden() -> NoReturn:
    try:
        deep(0)
    except ZeroDivisionError:
        raise ValueError("c") from None


def unraised() -> NoReturn:
    raise ValueError("d") from KeyError("e")


def in_a_circle() -> NoReturn:
    first, second = ValueError("f"), ValueError("g")
    first.__cause__, second.__cause__ = second, first
    raise first


def of_many(links: int) -> NoReturn:
    error: BaseException = ValueError("h")
    for number in range(links):
        behind, error = error, ValueError(number)
        error.__context__ = behind
    raise error


def misspelt() -> object:
    value = 1
    return valeu + value  # type: ignore[name-defined]  # noqa: F821


def unreadable() -> object:
    return eval("1 +")


def noted() -> NoReturn:
    error = ValueError("two\nlines")
    if sys.version_info >= (3, 11):
        error.add_note("a note")
    raise error


def grouped() -> NoReturn:
    if sys.version_info >= (3, 11):
        raise ExceptionGroup("i", [caught(because), KeyError("j")])  # noqa: F821
    raise ValueError("there are no groups")


def two_on_a_line(a: object, b: object) -> object:
    return a.real + b.real  # type: ignore[attr-defined]


WAYS = {
    "plain": lambda: deep(0), "three alike": lambda: deep(2), "four alike": lambda: deep(3),
    "many alike": lambda: deep(30), "by turns": lambda: ping(20), "endless": lambda: deep(-1), "cause": because,
    "context": meanwhile, "hidden": hidden, "not raised": unraised, "circle": in_a_circle,
    "15 links": lambda: of_many(15), "16 links": lambda: of_many(16), "200 links": lambda: of_many(200),
    "a name": misspelt, "syntax": unreadable, "note": noted, "group": grouped, "import": lambda: __import__("no_such"),
    "no source": lambda: eval(compile("1 / 0", "<nowhere>", "eval")), "quits": lambda: sys.exit("k"),
    "left of a line": lambda: two_on_a_line("", 1), "right of a line": lambda: two_on_a_line(1, ""),
}


@pytest.mark.parametrize("way", WAYS)
def test_it_is_the_text_of_the_standard_library(way: str) -> None:
    error = caught(WAYS[way])
    told = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    assert [format_exception(error) for _ in range(2)] == [told] * 2


def test_an_exception_that_was_never_raised_has_one_line() -> None:
    assert format_exception(ValueError("x")) == "ValueError: x\n"


def test_a_place_is_printed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[object] = []
    real = traceback.format_tb

    def format_tb(tb: object, limit: int) -> list[str]:
        printed.append(tb)
        return real(tb, limit)  # type: ignore[arg-type]

    monkeypatch.setattr(einfo, "_places", {})
    monkeypatch.setattr(traceback, "format_tb", format_tb)
    texts = {ExceptionInfo(caught(lambda: deep(30))).traceback for _ in range(100)}
    # One of caught(), one of the lambda, one of deep(); those that are only counted cost nothing.
    assert (len(texts), len(printed)) == (1, 3)


def test_no_more_places_are_kept_than_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(einfo, "_places", {})
    monkeypatch.setattr(einfo, "_MOST_PLACES", 10)
    for number in range(50):
        format_exception(caught(lambda number=number: eval(compile(f"{number} / 0", f"<{number}>", "eval"))))
    assert len(einfo._places) <= 10


def test_what_cannot_be_shown_says_so() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "Rude: <exception str() failed>" in format_exception(Rude())
