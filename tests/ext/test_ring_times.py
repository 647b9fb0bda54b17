"""Times in headers: read in the ring where they are of the usual form, and by whoever knows the standard elsewhere."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fastq.worker.decide import parse_time
from tests.ext.ringkit import Kit, message

one_kit = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
"""Nothing of a time that is for later, or is decided elsewhere, stays in it."""
NOW = 1_900_000_000.0
ETA, EXPIRES = 6, 7


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path, {"add": lambda a, b: a + b})
    yield made
    made.close()


def iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).isoformat()


def due_of(kit: Kit, eta: str) -> float | None:
    """When the ring says that a message is due; None when it leaves that to others."""
    later: list[tuple[int, float]] = []
    odd = kit.ring.stage(b"q", [(1, 0, message(eta=eta))], 1e-9 - 1e12, later)
    if later:
        assert (odd, later[0][0]) == ([], 1)
        return later[0][1]
    assert [row[:2] for row in odd] == [(ETA, 1)]
    return None


@one_kit
@given(moment=st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30)),
       offset=st.none() | st.integers(-23 * 60 - 59, 23 * 60 + 59), blank=st.booleans())
def test_every_time_that_python_writes_is_the_same_here(kit: Kit, moment: datetime, offset: int | None,
                                                        blank: bool) -> None:
    zone = None if offset is None else timezone(timedelta(minutes=offset))
    text = moment.replace(tzinfo=zone).isoformat(" " if blank else "T")
    due = due_of(kit, text)
    assert due is not None
    assert math.isclose(due, parse_time(text), rel_tol=1e-15)   # beyond 2255 a double has no microseconds to agree on


@pytest.mark.parametrize("text", ["2030-01-01T00:00:00Z", "2030-01-01T00:00:00.250Z", "2030-01-01T00:00:00.250+01:00",
                                  "2024-02-29T12:00:00", "2000-02-29T12:00:00", "1969-12-31T23:59:59.999999-23:59"])
def test_other_usual_forms_are_the_same_too(kit: Kit, text: str) -> None:
    assert due_of(kit, text) == parse_time(text)


@pytest.mark.parametrize("text", [
    "2023-02-29T12:00:00", "1900-02-29T12:00:00", "2030-13-01T00:00:00", "2030-00-01T00:00:00", "2030-04-31T00:00:00",
    "2030-01-00T00:00:00", "2030-01-01T24:00:00", "2030-01-01T00:60:00", "2030-01-01T00:00:60", "0000-01-01T00:00:00",
    "2030-01-01", "2030-01-01T00:00", "2030-01-01T00:00:00.", "2030-01-01T00:00:00.1", "2030-01-01T00:00:00+0100",
    "2030-01-01T00:00:00+24:00", "2030-01-01T00:00:00+01:60", "2030-01-01T00:00:00Z ", "2030-01-01T00:00:00.1234567",
    "2030/01/01T00:00:00", "tomorrow", "2030-01-01T0x:00:00", "２030-01-01T00:00:00"])
def test_a_text_of_another_form_is_left_to_others(kit: Kit, text: str) -> None:
    assert due_of(kit, text) is None


@one_kit
@given(st.text(st.characters(max_codepoint=127), min_size=1, max_size=40))
def test_no_text_is_read_wrongly(kit: Kit, text: str) -> None:
    due = due_of(kit, text)
    assert due is None or math.isclose(due, parse_time(text), rel_tol=1e-15)


def staged(kit: Kit, later: list[Any] | None = None, **headers: Any) -> list[tuple[int, int]]:
    odd = kit.ring.stage(b"q", [(1, 0, message(**headers))], NOW, later)
    return [row[:2] for row in odd]


def test_what_is_due_runs_at_once(kit: Kit) -> None:
    assert staged(kit, eta=iso(NOW)) == []
    assert staged(kit, eta=iso(NOW - 60), expires=iso(NOW + 60)) == []
    assert kit.ring.release() == 2


def test_what_is_not_due_is_noted_where_that_is_wanted_and_else_needs_a_decision(kit: Kit) -> None:
    later = list[Any]()
    assert staged(kit, later, eta=iso(NOW + 1.5), expires=iso(NOW + 60)) == []
    assert later == [(1, NOW + 1.5)]
    assert staged(kit, eta=iso(NOW + 1.5)) == [(ETA, 1)]
    assert kit.ring.in_hand == 0


def test_what_has_expired_needs_a_decision_also_before_it_is_due(kit: Kit) -> None:
    later: list[Any] = []
    assert staged(kit, later, expires=iso(NOW)) == [(EXPIRES, 1)]
    assert staged(kit, later, expires=iso(NOW - 1), eta=iso(NOW + 60)) == [(EXPIRES, 1)]
    assert staged(kit, later, expires="1970-01-01T00:00:00Z") == [(EXPIRES, 1)]
    assert later == []


def test_what_expires_while_it_waits_for_a_child_does_not_run(kit: Kit) -> None:
    assert kit.ring.stage(b"q", [(1, 0, message(expires=iso(NOW)))], NOW - 1e9) == []
    assert kit.ring.stage(b"q", [(2, 0, message(expires="2001-01-01T00:00:00Z"))], 1.0) == []
    kit.ring.release()
    kit.executors[0].run_ready()
    assert [asked[0] for asked in kit.slow.asked] == ["expired"]


def test_without_a_clock_every_time_needs_a_decision(kit: Kit) -> None:
    assert [row[0] for row in kit.ring.stage(b"q", [(1, 0, message(eta=iso(1))), (2, 0, message(expires=iso(1)))])] == [
        ETA, EXPIRES]


def test_a_batch_that_fails_leaves_nothing_noted(kit: Kit) -> None:
    later = [(9, 9.0)]
    rows: list[Any] = [(1, 0, message(eta=iso(NOW + 60))), (2, 0, message()), (3, 0, None)]
    with pytest.raises(TypeError):
        kit.ring.stage(b"q", rows, NOW, later)
    assert (later, kit.ring.in_hand) == ([(9, 9.0)], 0)
