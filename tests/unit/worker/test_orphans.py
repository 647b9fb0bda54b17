"""What becomes of runs, and of the messages behind them, when the connection they came by breaks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq.types import UNCOUNTED, Endings, Message, Result
from fastq.worker import orphans
from fastq.worker.effects import pack_message, pack_result, pack_verdict
from fastq.worker.orphans import Orphans, identity_of
from fastq.worker.outcome import Ending, Outcome
from tests.unit.worker.parts import Parts, die_at_claim, message, pack

NEW = 2**40
"""A tag of the next attachment."""
ODD = message(body=b'[[{"__type__": 1}], {}, {}]')     # the slow path has to open it


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Parts]]:
    made: list[Parts] = []

    def make(**options: Any) -> Parts:
        made.append(Parts(tmp_path, **options))
        return made[-1]

    yield make
    for parts in made:
        parts.kit.close()


def again(parts: Parts, content: bytes, *, tag: int = NEW, deaths: int = 0) -> Endings:
    """The message comes back, and nobody has counted why."""
    return parts.decide(content, tag=tag, deaths=deaths | UNCOUNTED)


def end_as(parts: Parts, outcome: Outcome, effects: bytes = b"") -> None:
    """Let everything that is ready end in *outcome*, unseen."""
    parts.kit.slow.opened = (outcome, effects)
    parts.child.run_ready()


# --- nothing of it here -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("headers", [{}, {"eta": "2099-01-01T00:00:00"}, {"expires": "2001-01-01T00:00:00"}])
def test_a_message_whose_holder_vanished_comes_again_counted(
    make: Callable[..., Parts], headers: dict[str, str],
) -> None:
    parts, content = make(), message(**headers)
    assert again(parts, content, deaths=1) == Endings(lost=[NEW], rows={NEW: ("q", 1, content)})
    assert parts.ring.in_hand == 0


def test_the_death_that_is_one_too_many_condemns_at_once(make: Callable[..., Parts]) -> None:
    parts = make(max_deaths=3)
    assert again(parts, message(), deaths=2) == Endings()
    endings = parts.followed()
    assert (endings.dead, endings.lost) == ([(NEW, "poison: it killed 3 workers or children")], [])
    assert endings.rows == {NEW: ("q", 3, message())}


def test_what_can_never_run_is_a_dead_letter_however_it_came(make: Callable[..., Parts]) -> None:
    parts = make()
    for content in (b"\0", message(task="ad"), message(retries=-1)):
        endings = again(parts, content, deaths=1)
        assert (len(endings.dead), endings.lost, endings.rows[NEW][1]) == (1, [], 1)


def test_a_message_of_protocol_1_is_counted_too(make: Callable[..., Parts]) -> None:
    content = pack({"content_type": "application/json"}, {}, b'{"task": "add", "id": "i-1", "args": [2]}')
    assert again(make(), content).lost == [NEW]


# --- it was on its way ------------------------------------------------------------------------------------------

def test_as_many_as_were_on_their_way_killed_nobody(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.settler.cut_off(2)
    parts.settler.cut_off(1)
    tags = range(NEW, NEW + 4)
    ends = [again(parts, message(task_id=str(tag)), tag=tag) for tag in tags]
    assert [one.lost for one in ends] == [[], [], [], [tags[3]]]
    assert parts.ring.in_hand == 3


def test_what_is_known_here_is_not_taken_for_one_that_was_on_its_way(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    parts.settler.cut_off(1)
    assert again(parts, message()).lost == []
    assert again(parts, message(), tag=NEW + 1).lost == []
    assert again(parts, message(), tag=NEW + 2).lost == [NEW + 2]


def test_what_was_in_the_hand_of_one_who_died_is_counted_all_the_same(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.settler.cut_off(5)
    assert again(parts, message(), deaths=1).lost == [NEW]


def test_nothing_is_on_its_way_for_ever(make: Callable[..., Parts], monkeypatch: pytest.MonkeyPatch) -> None:
    parts = make()
    parts.settler.cut_off(5)
    monkeypatch.setattr(parts.settler.orphans, "_clock", lambda: time.monotonic() + orphans.KEPT_S + 1)
    assert again(parts, message()).lost == [NEW]


def test_one_that_was_on_its_way_is_decided_about_as_any(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.settler.cut_off(1)
    assert again(parts, message(expires="2001-01-01T00:00:00")).ack == [(NEW, NEW)]


# --- it still runs ----------------------------------------------------------------------------------------------

def test_a_run_that_goes_on_adopts_the_tag_of_its_redelivery(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.cut_off()
    assert parts.settler.take() == Endings()
    assert again(parts, message()) == Endings()
    assert parts.ring.unsettled() == [(NEW, message())]
    assert not parts.settler.orphans
    parts.settler.bury(0, "child 0 was killed")
    assert parts.settler.take().lost == [NEW]


def test_only_the_very_same_message_is_adopted(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.cut_off()
    others = [message(task_id="id-2"), message(retries=1), message(body=b"[[1, 3], {}, {}]"), message(task="soon")]
    assert [again(parts, other).lost for other in others] == [[NEW]] * 4
    assert again(parts, message(priority=5)) == Endings()


def test_a_run_that_outlives_two_connections_is_adopted_after_the_second(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.cut_off()
    parts.settler.cut_off()
    assert again(parts, message()) == Endings()
    parts.settler.cut_off()
    assert again(parts, message(), tag=2 * NEW) == Endings()
    assert parts.ring.unsettled() == [(2 * NEW, message())]


def test_two_messages_that_cannot_be_told_apart_are_adopted_once(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message(), message())
    die_at_claim(parts.kit)
    die_at_claim(parts.kit, child=1)
    parts.settler.cut_off()
    assert again(parts, message()) == Endings()
    assert again(parts, message(), tag=NEW + 1).lost == [NEW + 1]


def test_a_run_that_is_to_be_killed_keeps_its_sentence_under_its_new_tag(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.condemn(0, 1, 2.5)
    parts.settler.cut_off()
    again(parts, message())
    parts.settler.bury(0, "child 0 was killed")
    assert parts.followed() == Endings(ack=[(NEW, NEW)])
    assert parts.kit.slow.asked == [("follow", 0, Outcome.HARD_LIMIT, pack_verdict("2.5"))]


# --- it ended meanwhile -----------------------------------------------------------------------------------------

def test_a_run_that_ended_unseen_is_acked_when_it_comes_back_and_not_run(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message(), message(task_id="id-2"))
    parts.child.run_ready()
    parts.settler.cut_off()
    assert parts.settler.take() == Endings()
    assert again(parts, message()) == Endings(ack=[(NEW, NEW)])
    assert again(parts, message()).lost == [NEW]      # told once: this is another one, whoever sent it
    assert again(parts, message(task_id="id-2")) == Endings(ack=[(NEW, NEW)])


def test_a_run_that_ends_after_the_cut_is_kept_from_the_broker(make: Callable[..., Parts]) -> None:
    parts = make()

    def cut_off(run: object, row: int) -> tuple[int, bytes]:
        parts.settler.cut_off()
        return Outcome.IGNORED, b""

    parts.kit.slow.open = cut_off       # type: ignore[method-assign]
    parts.release(message(), ODD, message(task_id="id-3"))
    assert parts.child.run_ready() == 2
    assert (bool(parts.settler.orphans), parts.settler.collect(), bool(parts.settler.orphans)) == (True, 1, False)
    assert parts.settler.take() == Endings()
    assert again(parts, ODD).ack == again(parts, message()).ack == [(NEW, NEW)]
    assert again(parts, message(task_id="id-3")) == Endings()      # not begun: it is staged as if for the first time
    assert again(parts, message(task_id="id-3")).lost == [NEW]


def test_what_was_sent_and_stored_is_kept_for_the_next_connection(make: Callable[..., Parts]) -> None:
    parts = make()
    sent = Message("celery", message(task_id="id-1", retries=1), 3, 12.5, "topic")
    parts.release(ODD)
    end_as(parts, Outcome.RETRIED, pack_result("id-1", "RETRY", b"{}") + pack_message(sent))
    parts.settler.endings.results.append(Result("id-0", "SUCCESS", b"1"))
    parts.settler.endings.ack.append((9, 9))
    parts.settler.endings.back.append((10, 10))
    parts.settler.endings.lost.append(11)
    parts.settler.endings.dead.append((12, "why"))
    parts.settler.endings.rows[12] = "q", 0, b""
    parts.settler.cut_off()
    endings = parts.settler.take()
    assert [result.task_id for result in endings.results] == ["id-0", "id-1"]
    assert endings == Endings(publish=[sent], results=endings.results)
    assert again(parts, ODD) == Endings(ack=[(NEW, NEW)])


def test_acks_that_the_broker_did_not_get_are_remembered(make: Callable[..., Parts]) -> None:
    parts, large = make(), message(task_id="large", body=b"[[1, 2], {}, {}]" + b" " * 5000)
    parts.kit.slow.opened = (Outcome.RETURNED, b"")
    parts.release(message(), large, message(task="soon"), message(task_id="id-2"))
    parts.child.run_ready()
    parts.settler.collect()
    assert parts.settler.endings.ack == [(1, 2), (4, 4)]
    parts.settler.cut_off()
    assert parts.settler.take() == Endings()
    assert again(parts, message(task_id="id-2")).ack == again(parts, message()).ack == [(NEW, NEW)]
    assert again(parts, large).lost == [NEW]        # its file is gone, and so is what it was


def test_an_ending_is_told_again_if_the_broker_did_not_hear_it(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message(), message(task_id="id-2"))
    parts.child.run_ready()
    parts.settler.cut_off()
    parts.settler.endings = again(parts, message())
    assert again(parts, message(task_id="id-2"), tag=NEW + 1).ack == [(NEW + 1, NEW + 1)]     # this one is on its way
    parts.settler.cut_off()
    assert again(parts, message(), tag=2 * NEW).ack == [(2 * NEW, 2 * NEW)]
    # Nobody knows whether that one arrived.
    assert again(parts, message(task_id="id-2"), tag=2 * NEW + 1).ack == [(2 * NEW + 1, 2 * NEW + 1)]


def test_a_run_whose_ack_was_sent_is_known_when_it_comes_back(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    parts.child.run_ready()
    parts.settler.collect()
    assert parts.settler.take().ack == [(1, 1)]     # sent, and lost with the connection
    parts.settler.cut_off()
    assert again(parts, message()).ack == [(NEW, NEW)]


def test_of_two_messages_that_are_one_to_look_at_the_one_not_begun_runs(make: Callable[..., Parts]) -> None:
    """As a copy that a worker put back, or one sent again by its producer: its twin ended, and it did not."""
    parts = make()
    parts.release(message(), message(task_id="id-2"))
    parts.child.run_ready()
    parts.settler.collect()
    parts.settler.take()
    parts.release(message())
    parts.settler.cut_off()
    assert again(parts, message()) == Endings()
    parts.ring.release()
    assert parts.ring.in_hand == 1
    assert again(parts, message(), tag=NEW + 1).ack == [(NEW + 1, NEW + 1)]


def test_a_rejected_run_stays_rejected(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(ODD)
    end_as(parts, Outcome.REJECTED)
    parts.settler.cut_off()
    assert again(parts, ODD, deaths=1) == Endings(dead=[(NEW, "rejected")], rows={NEW: ("q", 1, ODD)})


def test_a_requeued_run_is_sent_when_it_comes_back_and_not_before(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(ODD)
    end_as(parts, Outcome.REQUEUED)
    parts.settler.cut_off()
    assert parts.settler.take() == Endings()
    assert again(parts, ODD) == Endings(publish=[Message("q", ODD)], ack=[(NEW, NEW)])


def test_a_child_that_dies_while_the_broker_is_away_counts_one_death(make: Callable[..., Parts]) -> None:
    parts = make(max_deaths=2)
    parts.release(message(), deaths=1)
    die_at_claim(parts.kit)
    parts.settler.cut_off()
    assert parts.settler.bury(0, "child 0 was killed") == 1
    assert parts.settler.take() == Endings()
    assert again(parts, message(), deaths=1) == Endings()
    assert parts.followed().dead == [(NEW, "poison: it killed 2 workers or children")]


def test_a_run_killed_by_its_limit_while_the_broker_is_away_has_failed(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.cut_off()
    parts.settler.condemn(0, 1, 2.5)
    parts.settler.bury(0, "child 0 was killed")
    assert parts.followed() == Endings()
    assert again(parts, message()) == Endings(ack=[(NEW, NEW)])


def test_a_run_that_is_over_and_waits_to_be_followed_up_is_known_when_its_message_comes_back(
        make: Callable[..., Parts]) -> None:
    parts = make(reject_on_worker_lost=False)
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.bury(0, "child 0 was killed")
    parts.settler.cut_off()
    assert again(parts, message()) == Endings()
    assert parts.followed() == Endings(ack=[(NEW, NEW)])


def test_what_is_let_go_while_the_broker_is_away_is_not_handed_back(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message())
    die_at_claim(parts.kit)
    parts.settler.cut_off()
    parts.settler.let_go(0, "the worker was stopped")
    assert parts.settler.take() == Endings()


def test_what_had_not_begun_comes_again_without_a_death_and_what_was_acked_early_is_sent_again(
    make: Callable[..., Parts],
) -> None:
    parts, early = make(), message(task="soon")
    parts.release(message(), early, message(task_id="id-2"))
    parts.settler.cut_off()
    assert parts.settler.take() == Endings(publish=[Message("q", early)])
    assert (parts.ring.in_hand, parts.child.run_ready()) == (0, 0)
    assert again(parts, message()) == Endings()
    assert (parts.ring.in_hand, parts.ring.release()) == (1, 1)
    assert again(parts, message()).lost == [NEW]        # spared once: this one was held by somebody else


@pytest.mark.parametrize(("expires", "is_over"), [("2999-01-01T00:00:00", False), ("2020-01-01T00:00:00", True)])
def test_what_had_not_begun_and_has_a_time_is_decided_about_anew_without_a_death(
        make: Callable[..., Parts], expires: str, is_over: bool) -> None:
    parts, timed = make(), message(expires=expires)
    parts.settler.orphans.spare([timed])
    endings = again(parts, timed)
    assert (endings.lost, endings.ack) == ([], [(NEW, NEW)] if is_over else [])
    assert parts.ring.release() == (0 if is_over else 1)


def test_what_was_acked_early_is_nobodys_orphan(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.release(message(task="soon"))
    die_at_claim(parts.kit)
    parts.settler.cut_off()
    assert not parts.settler.orphans
    assert again(parts, message(task="soon")).lost == [NEW]


# --- the memory of it -------------------------------------------------------------------------------------------

class Begun:
    """A ring with two runs under the tags 1 and 2."""

    def unsettled(self) -> list[tuple[int, bytes]]:
        return [(1, message()), (2, message(task_id="id-2"))]

    def freed(self, runs: list[tuple[int, int]]) -> list[tuple[int, bytes]]:
        return []

    def adopt(self, old: int, new: int) -> bool:
        return False


def test_endings_are_forgotten_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    kept = Orphans(Begun(), lambda old, new: None, clock=lambda: now[0])    # type: ignore[arg-type]
    kept.cut()
    kept.end(1, Ending.ACK)
    now[0] = orphans.KEPT_S / 2
    kept.end(2, Ending.DEAD, "why")
    now[0] = orphans.KEPT_S
    assert kept.ending_of(NEW, message()) is None
    assert kept.ending_of(NEW, message(task_id="id-2")) == (Ending.DEAD, "why")


def test_endings_are_kept_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(orphans, "MOST", 1)
    kept = Orphans(Begun(), lambda old, new: None)      # type: ignore[arg-type]
    kept.cut()
    assert kept.end_runs([(0, 1), (2, 5), (7, 7)]) == [(0, 0), (3, 5), (7, 7)]
    assert kept.ending_of(NEW, message()) is None
    assert kept.ending_of(NEW, message(task_id="id-2")) == (Ending.ACK, "")


def test_a_run_that_the_ring_does_not_know_is_not_adopted() -> None:
    kept = Orphans(Begun(), lambda old, new: pytest.fail("renamed"))       # type: ignore[arg-type]
    kept.cut()
    assert not kept.adopt(NEW, message())


def test_an_identity_is_the_task_its_id_its_try_and_its_body() -> None:
    assert identity_of(message(retries=2))[:3] == ("add", "id-1", 2)
    assert identity_of(message(priority=1)) == identity_of(message())
