"""The table of outcomes and settings, row by row, written out by hand."""

from __future__ import annotations

import pytest

from fastq.worker.outcome import ROW, AckRules, Ending, Outcome, ending_of, endings

LATE = AckRules()
EARLY = AckRules(acks_late=False)
NOT_ON_FAILURE = AckRules(acks_on_failure=False)
NOT_ON_TIMEOUT = AckRules(acks_on_timeout=False)
NOT_BACK = AckRules(reject_on_worker_lost=False)
STRICT_EARLY = AckRules(acks_late=False, acks_on_failure=False, acks_on_timeout=False)

RULES = (LATE, EARLY, NOT_ON_FAILURE, NOT_ON_TIMEOUT, NOT_BACK, STRICT_EARLY)
TABLE = {
    #                        late    early   not on failure  not on timeout  not back  early, strict
    Outcome.RETURNED:       ("ACK",  "ACK",  "ACK",          "ACK",          "ACK",    "ACK"),
    Outcome.RAISED:         ("ACK",  "ACK",  "DEAD",         "ACK",          "ACK",    "ACK"),
    Outcome.RETRIED:        ("ACK",  "ACK",  "ACK",          "ACK",          "ACK",    "ACK"),
    Outcome.IGNORED:        ("ACK",  "ACK",  "ACK",          "ACK",          "ACK",    "ACK"),
    Outcome.EXPECTED:       ("ACK",  "ACK",  "DEAD",         "ACK",          "ACK",    "ACK"),
    Outcome.REJECTED:       ("DEAD", "ACK",  "DEAD",         "DEAD",         "DEAD",   "ACK"),
    Outcome.REQUEUED:       ("TAIL", "TAIL", "TAIL",         "TAIL",         "TAIL",   "TAIL"),
    Outcome.EXPIRED:        ("ACK",  "ACK",  "ACK",          "ACK",          "ACK",    "ACK"),
    Outcome.REVOKED:        ("ACK",  "ACK",  "ACK",          "ACK",          "ACK",    "ACK"),
    Outcome.SOFT_LIMIT:     ("ACK",  "ACK",  "DEAD",         "ACK",          "ACK",    "ACK"),
    Outcome.HARD_LIMIT:     ("ACK",  "ACK",  "ACK",          "LOSE",         "ACK",    "ACK"),
    Outcome.LOST:           ("LOSE", "ACK",  "LOSE",         "LOSE",         "ACK",    "ACK"),
    Outcome.UNDECODABLE:    ("DEAD", "ACK",  "DEAD",         "DEAD",         "DEAD",   "ACK"),
    Outcome.REFUSED:        ("DEAD", "ACK",  "DEAD",         "DEAD",         "DEAD",   "ACK"),
    Outcome.INTERNAL_ERROR: ("DEAD", "ACK",  "DEAD",         "DEAD",         "DEAD",   "ACK"),
    Outcome.POISONED:       ("DEAD", "DEAD", "DEAD",         "DEAD",         "DEAD",   "DEAD"),
    Outcome.UNKNOWN:        ("DEAD", "DEAD", "DEAD",         "DEAD",         "DEAD",   "DEAD"),
    Outcome.BAD_HEADER:     ("DEAD", "DEAD", "DEAD",         "DEAD",         "DEAD",   "DEAD"),
    Outcome.NO_TASK:        ("DEAD", "DEAD", "DEAD",         "DEAD",         "DEAD",   "DEAD"),
}


@pytest.mark.parametrize("outcome", Outcome, ids=lambda outcome: outcome.name)
def test_every_outcome_has_the_ending_of_the_table(outcome: Outcome) -> None:
    assert tuple(ending_of(outcome, rules).name for rules in RULES) == TABLE[outcome]


@pytest.mark.parametrize("rules", RULES)
def test_a_row_for_the_ring_says_the_same(rules: AckRules) -> None:
    row = endings(rules)
    assert len(row) == ROW
    rung = [outcome for outcome in Outcome if outcome < ROW]
    assert [Ending(row[outcome]) for outcome in rung] == [ending_of(outcome, rules) for outcome in rung]
