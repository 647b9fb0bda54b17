"""From what children report, and what dead ones leave, to how deliveries end."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq.types import Endings, Message, Result
from fastq.worker.effects import pack_verdict
from fastq.worker.outcome import Outcome
from tests.unit.worker.parts import Parts, die_at_claim, message, meta_of, pack


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Parts]]:
    made: list[Parts] = []

    def make(**options: Any) -> Parts:
        made.append(Parts(tmp_path, **options))
        return made[-1]

    yield make
    for parts in made:
        parts.kit.close()


def end_as(parts: Parts, outcome: Outcome, effects: bytes = b"") -> Endings:
    """Let everything that is ready end in *outcome*."""
    parts.kit.slow.opened = (outcome, effects)
    parts.child.run_ready()
    parts.settler.collect()
    return parts.settler.take()


ODD = message(body=b'[[{"__type__": 1}], {}, {}]')     # the slow path has to open it
URGENT = pack({"content_type": "application/json", "content_encoding": "utf-8", "priority": 9},
              {"task": "add", "id": "i"}, b'[["__type__"], {}, {}]')


def test_what_returned_is_acked_in_runs(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message(), message(), message())
    parts.child.run_ready()
    assert parts.settler.collect() == 3
    assert parts.settler.take() == Endings(ack=[(1, 3)])
    assert (parts.settler.take(), parts.settler.collect(), parts.settler.finished) == (Endings(), 0, 3)


def test_a_rejected_message_is_dead_with_the_outcome_as_its_reason(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(ODD)
    assert end_as(parts, Outcome.REJECTED) == Endings(dead=[(1, "rejected")], rows={1: ("q", 0, ODD)})


def test_a_requeued_message_goes_to_the_tail_of_its_queue_at_its_priority(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(URGENT)
    assert end_as(parts, Outcome.REQUEUED) == Endings(publish=[Message("q", URGENT, 9)], ack=[(1, 1)])


def test_an_early_acked_message_has_nothing_left_to_end(make: Callable[..., Parts]) -> None:
    parts = make()
    for outcome, published in ((Outcome.RETURNED, 0), (Outcome.REJECTED, 0), (Outcome.REQUEUED, 1)):
        parts.release(message(task="soon", body=b'[["__type__"], {}, {}]'))
        endings = end_as(parts, outcome)
        assert (endings.ack, endings.dead, len(endings.publish)) == ([], [], published)


def test_a_lost_run_goes_back_with_one_more_death(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    assert parts.settler.bury(0, "child 0 was killed") == 1
    assert parts.settler.take() == Endings(lost=[1], rows={1: ("q", 0, message())})
    assert parts.ring.in_hand == 0


def test_the_last_death_condemns(make: Callable[..., Parts], caplog: pytest.LogCaptureFixture) -> None:
    parts = make()
    parts.release(message(), deaths=2)
    die_at_claim(parts.kit)
    parts.settler.bury(0, "child 0 was killed")
    assert parts.settler.take() == Endings()     # not before a child has done what follows
    endings = followed(parts)
    assert endings.dead == [(1, "poison: it killed 3 children, the last: child 0 was killed")]
    assert "goes to the dead letters: poison" in caplog.text


def followed(parts: Parts) -> Endings:
    """Let a child follow up what is over, and have it logged."""
    celery = logging.getLogger("celery")
    celery.propagate, before = True, celery.propagate
    endings = parts.followed()
    celery.propagate = before
    return endings


def test_what_is_over_is_acked_when_a_child_has_followed_it_up(make: Callable[..., Parts]) -> None:
    parts = make(reject_on_worker_lost=False)
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.bury(0, "child 0 was killed")
    assert parts.settler.take_back() == 0       # its run is over: it is no work to give back
    assert followed(parts) == Endings(ack=[(1, 1)])
    assert parts.kit.slow.asked == [("follow", 0, Outcome.LOST, pack_verdict("child 0 was killed"))]
    assert parts.ring.in_hand == 0


def test_a_child_that_dies_while_it_follows_up_is_not_followed(make: Callable[..., Parts]) -> None:
    for deaths, dead in ((0, []), (2, [(1, "poison: it killed 3 children, the last: child 0 was killed")])):
        parts = make(reject_on_worker_lost=deaths > 0)
        parts.release(message(), deaths=deaths)
        die_at_claim(parts.kit)
        parts.settler.bury(0, "child 0 was killed")
        die_at_claim(parts.kit)
        parts.settler.bury(0, "child 0 was killed again")
        endings = parts.settler.take()
        assert (endings.ack, endings.dead, endings.lost) == ([] if dead else [(1, 1)], dead, [])
        assert meta_of(endings)["result"]["exc_type"] == "WorkerLostError"
        assert parts.ring.in_hand == 0


def test_a_lost_run_that_is_not_to_go_back_fails(make: Callable[..., Parts]) -> None:
    parts = make(reject_on_worker_lost=False)
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.bury(0, "child 0 was killed")
    parts.settler.conclude()
    endings = parts.settler.take()
    assert (endings.ack, endings.lost, endings.dead) == ([(1, 1)], [], [])
    assert meta_of(endings)["result"]["exc_message"] == ["child 0 was killed"]


def test_an_early_acked_run_that_was_lost_fails(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message(task="soon"))
    die_at_claim(parts.kit)
    parts.settler.bury(0, "child 0 was killed")
    parts.settler.conclude(early=True)
    endings = parts.settler.take()
    assert (endings.ack, endings.lost, meta_of(endings)["status"]) == ([], [], "FAILURE")


def test_a_condemned_run_fails_by_its_limit_and_is_no_death(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    assert parts.settler.condemn(0, 1, 2.5)
    assert not parts.settler.condemn(0, 1, 2.5)     # said once
    parts.settler.bury(0, "child 0 was killed")
    parts.settler.conclude()
    endings = parts.settler.take()
    assert (endings.ack, endings.lost, meta_of(endings)["result"]["exc_type"]) == ([(1, 1)], [], "TimeLimitExceeded")


def test_the_run_that_began_after_the_condemned_one_goes_back_unharmed(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.condemn(0, 99, 2.5)
    parts.settler.bury(0, "child 0 was killed")
    assert parts.settler.take() == Endings(back=[(1, 1)], rows={1: ("q", 0, message())})


def test_what_is_let_go_is_neither_done_nor_dead(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message(), message(task="soon", task_id="id-2"))
    die_at_claim(parts.kit)
    die_at_claim(parts.kit, child=1)
    for child in (0, 1):
        parts.settler.let_go(child, "the worker was stopped")
    endings = parts.settler.take()
    assert (endings.back, endings.lost, endings.dead, endings.publish) == ([(1, 1)], [], [], [])
    assert (meta_of(endings)["task_id"], meta_of(endings)["status"]) == ("id-2", "FAILURE")


def test_what_did_not_start_is_taken_back_or_sent_again(make: Callable[..., Parts]) -> None:
    parts = make()
    early = message(task="soon")
    parts.release(message(), message(), early)
    assert parts.settler.take_back() == 3
    assert parts.settler.take() == Endings(back=[(1, 2)], publish=[Message("q", early)])


def test_endings_that_the_broker_did_not_take_come_before_the_newer_ones(make: Callable[..., Parts]) -> None:
    settler = make().settler
    refused = Endings(ack=[(1, 1)], results=[Result("a", "SUCCESS", b"1")])
    settler.endings.ack.append((2, 2))
    settler.endings.lost.append(3)
    settler.give_again(refused)
    assert settler.take() == Endings(ack=[(1, 1), (2, 2)], lost=[3], results=[Result("a", "SUCCESS", b"1")])
