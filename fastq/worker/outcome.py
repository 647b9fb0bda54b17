"""How a run ends, and what follows from that: the one table.

A run has one *outcome*, normalised where it is known: in the child, or in the supervisor for what a child cannot tell.
`FATES` has a row for each: what becomes of the message, which state is stored, who is told, what is sent. The code
decides by it, `docs/outcomes.md` is printed from it, and tests/conformance/test_outcomes.py runs every row.
"""

from __future__ import annotations

from enum import IntEnum
from logging import CRITICAL, ERROR, INFO, WARNING
from typing import NamedTuple

from fastq.app.traits import Traits
from fastq.exceptions import TimeLimitExceeded, WorkerLostError
from fastq.states import FAILURE, IGNORED, REJECTED, RETRY, REVOKED, SUCCESS


class Outcome(IntEnum):
    """What happened to one run. Those below `ROW` go through the ring."""

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
    POISONED = 14
    EXPECTED = 15
    UNKNOWN = 16
    BAD_HEADER = 17
    NO_TASK = 18


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


class Keep(IntEnum):
    """Whether the state is stored."""

    NEVER = 0
    RESULT = 1
    """Unless the result is ignored."""
    ERROR = 2
    """Also of an ignored result, with ``store_errors_even_if_ignored``."""


class Send(IntEnum):
    """What is sent in the same step as the message ends."""

    NOTHING = 0
    CALLBACKS = 1
    """The links, and the rest of the chain."""
    ERRBACKS = 2
    RETRY = 3


class AckRules(NamedTuple):
    """The settings that decide an ending; the names are the task options'."""

    acks_late: bool = True
    acks_on_failure: bool = True
    acks_on_timeout: bool = True
    reject_on_worker_lost: bool = True


def rules_of(traits: Traits) -> AckRules:
    """Return the rules of a task. One that is retried when its child was lost does not go back as well."""
    return AckRules(traits.acks_late, traits.acks_on_failure, traits.acks_on_timeout,
                    bool(traits.reject_on_worker_lost and not traits.retry_on_worker_lost))


class Fate(NamedTuple):
    """What follows from one outcome; a row of the table."""

    when: str
    """When it happens, for the reader."""
    late: Ending
    """What becomes of a message that is acked after the run."""
    early: Ending = Ending.ACK
    """And of one that was acked before it; ACK: nothing, it is gone."""
    unless: str = ""
    """The task option without which `late` is *otherwise*."""
    otherwise: Ending = Ending.ACK
    state: str = ""
    """The state of the task, as signals and hooks are told it."""
    keep: Keep = Keep.NEVER
    send: Send = Send.NOTHING
    tells: tuple[str, ...] = ()
    """Hooks of the task and signals, in this order."""
    level: int = 0
    """Of the log line; 0: none of its own."""
    says: str = ""
    """Its words, after the task's name and id."""

    @property
    def stored(self) -> str:
        """The state that whoever asks for the result sees, "" if none is stored."""
        if self.keep is Keep.NEVER:
            return ""
        return FAILURE if self.state == REJECTED else self.state


_FAILED = ("on_failure", "task_failure", "after_return", "task_postrun")
_ENDED = ("on_failure", "task_failure", "after_return")
"""A run that is over without its child: there was no end to its prerun."""

FATES: dict[Outcome, Fate] = {
    Outcome.RETURNED: Fate(
        "the task returned", Ending.ACK, state=SUCCESS, keep=Keep.RESULT, send=Send.CALLBACKS,
        tells=("on_success", "task_success", "after_return", "task_postrun"), level=INFO, says="succeeded"),
    Outcome.RAISED: Fate(
        "the task raised; also `MemoryError`, `SystemExit`, `KeyboardInterrupt`, and a result that cannot be encoded",
        Ending.ACK, unless="acks_on_failure", otherwise=Ending.DEAD, state=FAILURE, keep=Keep.ERROR,
        send=Send.ERRBACKS, tells=_FAILED, level=ERROR, says="raised unexpected"),
    Outcome.EXPECTED: Fate(
        "the task raised one of its `throws`", Ending.ACK, unless="acks_on_failure", otherwise=Ending.DEAD,
        state=FAILURE, keep=Keep.ERROR, send=Send.ERRBACKS, tells=_FAILED, level=INFO, says="raised expected"),
    Outcome.RETRIED: Fate(
        "the task raised `Retry`; or its child was killed, with `retry_on_worker_lost`", Ending.ACK, state=RETRY,
        keep=Keep.RESULT, send=Send.RETRY, tells=("on_retry", "task_retry", "task_postrun"), level=INFO, says="retry"),
    Outcome.IGNORED: Fate(
        "the task raised `Ignore`", Ending.ACK, state=IGNORED, tells=("task_postrun",), level=INFO, says="ignored"),
    Outcome.REJECTED: Fate(
        "the task raised `Reject`", Ending.DEAD, state=REJECTED, keep=Keep.ERROR, send=Send.ERRBACKS,
        tells=("task_failure", "task_postrun"), level=WARNING, says="rejected"),
    Outcome.REQUEUED: Fate(
        "the task raised `Reject(requeue=True)`", Ending.TAIL, early=Ending.TAIL, state=REJECTED,
        tells=("task_postrun",), level=WARNING, says="rejected, to run again"),
    Outcome.REVOKED: Fate(
        "it was revoked, or terminated", Ending.ACK, state=REVOKED, keep=Keep.ERROR,
        tells=("task_revoked", "task_postrun"), level=INFO, says="revoked"),
    Outcome.EXPIRED: Fate(
        "its time to begin had passed", Ending.ACK, state=REVOKED, keep=Keep.ERROR, tells=("task_revoked",),
        level=INFO, says="expired"),
    Outcome.SOFT_LIMIT: Fate(
        "`SoftTimeLimitExceeded` was not caught", Ending.ACK, unless="acks_on_failure", otherwise=Ending.DEAD,
        state=FAILURE, keep=Keep.ERROR, send=Send.ERRBACKS, tells=_FAILED, level=ERROR, says="raised unexpected"),
    Outcome.HARD_LIMIT: Fate(
        "it was over its hard time limit", Ending.ACK, unless="acks_on_timeout", otherwise=Ending.LOSE,
        state=FAILURE, keep=Keep.ERROR, send=Send.ERRBACKS, tells=_FAILED, level=ERROR, says="ran out of time"),
    Outcome.LOST: Fate(
        "its child died: killed, out of memory, `os._exit`; or its whole worker did, if the message was not acked",
        Ending.LOSE, unless="reject_on_worker_lost", otherwise=Ending.ACK, state=FAILURE, keep=Keep.ERROR,
        send=Send.ERRBACKS, tells=_ENDED, level=ERROR, says="was lost"),
    Outcome.POISONED: Fate(
        "the last of `task_max_deaths` deaths of children or workers", Ending.DEAD, early=Ending.DEAD, state=FAILURE,
        keep=Keep.ERROR, send=Send.ERRBACKS, tells=_ENDED, level=ERROR, says="was poison"),
    Outcome.UNDECODABLE: Fate(
        "its body cannot be read", Ending.DEAD, state=FAILURE, keep=Keep.ERROR, tells=("task_rejected",), level=ERROR,
        says="cannot be opened"),
    Outcome.REFUSED: Fate(
        "its content type is not in `accept_content`", Ending.DEAD, state=FAILURE, keep=Keep.ERROR,
        tells=("task_rejected",), level=ERROR, says="cannot be opened"),
    Outcome.UNKNOWN: Fate(
        "no module that the worker imports has its task", Ending.DEAD, early=Ending.DEAD, state=FAILURE,
        keep=Keep.ERROR, tells=("task_unknown",), level=ERROR),
    Outcome.BAD_HEADER: Fate(
        "a header makes no sense", Ending.DEAD, early=Ending.DEAD, state=FAILURE, keep=Keep.ERROR,
        tells=("task_rejected",), level=ERROR),
    Outcome.NO_TASK: Fate(
        "it is no task message", Ending.DEAD, early=Ending.DEAD, tells=("task_rejected",), level=ERROR),
    Outcome.INTERNAL_ERROR: Fate(
        "fastq itself failed", Ending.DEAD, state=FAILURE, keep=Keep.ERROR, tells=("task_internal_error",),
        level=CRITICAL, says="internal error"),
}

OVER = (Outcome.HARD_LIMIT, Outcome.LOST, Outcome.POISONED)
"""Outcomes of a run that is over without its child: another one does what follows."""

FOLLOW_S = 60.0
"""Hard time limit of what hooks and receivers do about such a run."""
ROW = 16
"""Entries in a row of endings: one for each outcome that goes through the ring."""


def error_of(outcome: Outcome, why: str) -> BaseException:
    """Return the exception that a run ended with by *outcome*, one of `OVER`; *why* is its limit in s, or the cause."""
    return TimeLimitExceeded(float(why)) if outcome is Outcome.HARD_LIMIT else WorkerLostError(why)


def ending_of(outcome: Outcome, rules: AckRules) -> Ending:
    """Return what becomes of a message whose run had *outcome*.

    Example:
        >>> ending_of(Outcome.LOST, AckRules())
        <Ending.LOSE: 3>
    """
    fate = FATES[outcome]
    if not rules.acks_late:
        return fate.early
    return fate.late if not fate.unless or getattr(rules, fate.unless) else fate.otherwise


def endings(rules: AckRules) -> bytes:
    """Return the row of endings for a task: one byte per outcome."""
    return bytes(ending_of(Outcome(number), rules) for number in range(ROW))
