"""What is revoked does not start, and what is not revoked is not looked at."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from fastq.control.mailbox import Revoked
from fastq.states import REVOKED
from fastq.types import Endings
from fastq.worker.outcome import Odd
from fastq.worker.revocation import stamps_of
from tests.ext.ringkit import message
from tests.unit.worker.parts import Parts


@pytest.fixture
def parts(tmp_path: Path) -> Parts:
    return Parts(tmp_path)


def odd(parts: Parts, **headers: object) -> list[int]:
    content = message("add", "id-1", **headers)  # type: ignore[arg-type]
    return [why for why, *_ in parts.ring.stage(b"q", [(1, 0, content)])]


def test_nothing_is_odd_before_anything_is_revoked(parts: Parts):
    assert odd(parts, stamped_headers=["customer"], customer="acme") == []


def test_a_revoked_id_is_odd_and_others_are_not(parts: Parts):
    parts.revocations.add([Revoked("id-2", "", time.time() + 60)])
    assert odd(parts) == []
    parts.revocations.add([Revoked("id-1", "", time.time() + 60)])
    assert odd(parts) == [Odd.REVOKED]
    assert parts.revocations.ids == ["id-2", "id-1"]


def test_a_revocation_expires(parts: Parts):
    parts.revocations.add([Revoked("id-1", "", time.time() - 1)])
    assert (odd(parts), parts.revocations.ids) == ([], [])


def test_only_what_is_stamped_is_looked_at(parts: Parts):
    parts.revocations.add([Revoked("acme", "customer", time.time() + 60)])
    assert odd(parts) == []
    assert odd(parts, stamped_headers=["customer"], customer="acme") == [Odd.REVOKED]


@pytest.mark.parametrize("headers", [
    {"stamped_headers": ["customer"], "customer": "acme"}, {"stamped_headers": ["customer"], "customer": ["x", "acme"]},
    {"stamped_headers": ["customer"], "stamps": {"customer": ["acme"]}},
], ids=["text", "list", "stamps"])
def test_stamps_stand_in_headers_in_several_forms(headers: dict[str, object]):
    assert ("customer", "acme") in stamps_of(headers)


def test_a_revoked_message_is_acked_with_the_state(parts: Parts):
    parts.revocations.add([Revoked("id-1", "", time.time() + 60)])
    content = message("add", "id-1")
    endings = Endings()
    for row in parts.ring.stage(b"q", [(1, 0, content)]):
        parts.decider.decide("q", row, endings)
    assert endings.ack == [(1, 1)]
    assert [(result.task_id, result.state) for result in endings.results] == [("id-1", REVOKED)]


def test_what_was_looked_at_for_nothing_runs(parts: Parts):
    parts.revocations.add([Revoked("acme", "customer", time.time() + 60)])
    endings = Endings()
    for row in parts.ring.stage(b"q", [(1, 0, message("add", "id-1", stamped_headers=["customer"], customer="other"))]):
        parts.decider.decide("q", row, endings)
    assert (endings.ack, parts.ring.release()) == ([], 1)


def test_a_rate_limited_message_waits_in_the_broker(parts: Parts):
    parts.rates.set("add", "1/m")
    endings = Endings()
    for tag in (1, 2):
        for row in parts.ring.stage(b"q", [(tag, 0, message("add", f"id-{tag}"))]):
            assert row[0] == Odd.RATE
            parts.decider.decide("q", row, endings)
    assert parts.ring.release() == 1
    (waiting,) = endings.publish
    assert endings.ack == [(2, 2)] and waiting.run_at == pytest.approx(time.time() + 60, abs=30)
    parts.rates.set("add", None)
    assert parts.ring.stage(b"q", [(3, 0, message("add", "id-3"))]) == []
