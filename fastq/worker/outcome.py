"""How a run ends, and what becomes of its message: the one table.

A run has one *outcome*, normalised where it is known (the child, or the supervisor for what a child
cannot tell). The task's settings turn an outcome into an *ending*, and every delivery has exactly
one ending. The rows are made once per task; the ring applies them without asking again.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple


class Outcome(IntEnum):
    """What happened to one run."""

    RETURNED = 0
    RAISED = 1
    RETRIED = 2
    IGNORED = 3
    REJECTED = 4
    REQUEUED = 5
    EXPIRED = 6
    REVOKED = 7
    SOFT_LIMIT = 8
    HARD_LIMIT = 9
    LOST = 10
    UNDECODABLE = 11
    REFUSED = 12
    INTERNAL_ERROR = 13


class Ending(IntEnum):
    """What becomes of the message."""

    ACK = 0
    TAIL = 1
    """Published again at the end of its queue, then acked: one step."""
    DEAD = 2
    """Dead-lettered with a reason; it can be replayed."""
    LOSE = 3
    """Put back with one more death counted; dead-lettered when it has too many."""


class Odd(IntEnum):
    """Why a message needs a decision before it may run; the ring's own numbers."""

    MALFORMED = 1
    NO_TASK = 2
    UNKNOWN_TASK = 3
    DEATHS = 4
    BAD_HEADER = 5
    ETA = 6
    EXPIRES = 7
    FULL = 8
    UNCOUNTED = 9
    REVOKED = 10
    RATE = 11


class AckRules(NamedTuple):
    """The settings that decide an ending; the names are the task options'."""

    acks_late: bool = True
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    reject_on_worker_lost: bool = True


ROW = 16
"""Entries in a row of endings: one per outcome, with room for more."""


def ending_of(outcome: Outcome, rules: AckRules) -> Ending:
    """Return what becomes of a message whose run had *outcome*.

    For a task that acks early the message is gone before the run; only the outcomes that are
    decided before it starts still have a message to end.

    Example:
        >>> ending_of(Outcome.LOST, AckRules())
        <Ending.LOSE: 3>
    """
    if outcome is Outcome.REQUEUED:
        return Ending.TAIL
    if outcome in (Outcome.REJECTED, Outcome.UNDECODABLE, Outcome.REFUSED, Outcome.INTERNAL_ERROR):
        return Ending.DEAD
    if outcome is Outcome.LOST:
        return Ending.LOSE if rules.acks_late and rules.reject_on_worker_lost else Ending.ACK
    if outcome is Outcome.RAISED:
        return Ending.ACK if rules.acks_on_failure or not rules.acks_late else Ending.DEAD
    if outcome in (Outcome.SOFT_LIMIT, Outcome.HARD_LIMIT):
        return Ending.ACK if rules.acks_on_timeout or not rules.acks_late else Ending.DEAD
    return Ending.ACK


def endings(rules: AckRules) -> bytes:
    """Return the row of endings for a task: one byte per outcome."""
    row = bytearray(ROW)
    for outcome in Outcome:
        row[outcome] = ending_of(outcome, rules)
    return bytes(row)
