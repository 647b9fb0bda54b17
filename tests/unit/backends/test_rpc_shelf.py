"""Documents that came, until somebody asks for them."""

from __future__ import annotations

import pytest

from fastq.backends.rpc_shelf import DOCUMENT_BYTES, Document, Shelf


def final(raw: bytes = b"") -> Document:
    return Document(raw, True)


def test_a_document_is_found_until_it_is_taken() -> None:
    shelf = Shelf()
    shelf.put("a", final(b"1"))
    assert (shelf.get("a"), "a" in shelf, len(shelf)) == (final(b"1"), True, 1)
    assert shelf.pop("a") == final(b"1")
    assert (shelf.get("a"), shelf.pop("a"), len(shelf)) == (None, None, 0)


def test_a_newer_document_takes_the_place_and_the_age_of_an_older_one() -> None:
    shelf = Shelf(most=2)
    for task_id, raw in (("a", b"1"), ("b", b"1"), ("a", b"2"), ("c", b"1")):
        shelf.put(task_id, final(raw))
    assert (shelf.get("a"), shelf.get("b")) == (final(b"2"), None)


def test_the_oldest_are_dropped_when_there_are_too_many_or_too_much(caplog: pytest.LogCaptureFixture) -> None:
    for shelf in (Shelf(most=3, warns=True), Shelf(most_bytes=3 * (100 + DOCUMENT_BYTES), warns=True)):
        caplog.clear()
        for number in range(10):
            shelf.put(str(number), final(bytes(100)))
        assert [number for number in range(10) if str(number) in shelf] == [7, 8, 9]
        (record,) = caplog.records
        assert "ignore_result=True" in record.message


def test_a_shelf_that_forgets_on_purpose_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    shelf = Shelf(most=1)
    shelf.put("a", final())
    shelf.put("b", final())
    assert caplog.records == []


def test_one_document_is_kept_however_large() -> None:
    shelf = Shelf(most_bytes=10)
    shelf.put("a", final(bytes(1000)))
    assert "a" in shelf


def test_what_is_taken_makes_room() -> None:
    shelf = Shelf(most_bytes=2 * (100 + DOCUMENT_BYTES))
    for number in range(100):
        shelf.put(str(number), final(bytes(100)))
        shelf.pop(str(number))
    shelf.put("a", final(bytes(100)))
    shelf.put("b", final(bytes(100)))
    assert len(shelf) == 2
