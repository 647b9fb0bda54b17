"""Every message that the compiled scan does not just pass on, and what becomes of it."""

from __future__ import annotations

import pickle
import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from fastq.types import Endings, Message
from fastq.worker.decide import bad_header, parse_time
from fastq.worker.outcome import Outcome
from tests.unit.worker.parts import Parts, message, meta_of, pack

FUTURE = "2099-01-01T00:00:00+00:00"
PAST = "2001-01-01T00:00:00"


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Parts]]:
    made: list[Parts] = []

    def make(**options: Any) -> Parts:
        made.append(Parts(tmp_path, **options))
        return made[-1]

    yield make
    for parts in made:
        parts.kit.close()


def test_a_plain_message_is_passed_on(make: Callable[..., Parts]) -> None:
    parts = make()
    assert parts.decide(message()) == Endings()
    assert parts.ring.release() == 1


@pytest.mark.parametrize("content", [b"", b"\0\0", message()[:-20], b"\xff" * 40])
def test_a_malformed_message_is_a_dead_letter(make: Callable[..., Parts], content: bytes) -> None:
    parts = make()
    endings = parts.decide(content)
    [(tag, reason)] = endings.dead
    assert (tag, reason[:11], endings.ack, endings.results) == (5, "malformed: ", [], [])
    assert parts.ring.in_hand == 0


def test_a_message_that_is_no_task_is_a_dead_letter(make: Callable[..., Parts]) -> None:
    endings = make().decide(pack({}, {"some": "header"}, b"{}"))
    [(tag, reason)] = endings.dead
    assert tag == 5
    assert reason.startswith("not a task message: the headers 'task' and 'id' are missing")


def test_a_task_of_protocol_1_is_run_as_one_of_protocol_2(make: Callable[..., Parts]) -> None:
    parts = make()
    body = b'{"task": "add", "id": "i-1", "args": [2], "kwargs": {"b": 3}, "eta": null, "retries": 1, "utc": true}'
    assert parts.decide(pack({"content_type": "application/json"}, {}, body)) == Endings()
    assert parts.ring.release() == 1
    parts.child.run_ready()
    assert parts.ring.drain()[:2] == (1, [(5, 5)])


def test_a_task_of_protocol_1_that_is_unknown_or_expired_is_decided_like_any_other(make: Callable[..., Parts]) -> None:
    parts = make()
    unknown = parts.decide(pack({"content_type": "application/json"}, {}, b'{"task": "ad", "id": "i"}'))
    assert unknown.dead[0][1].startswith("unknown task 'ad'")
    body = b'{"task": "add", "id": "i", "expires": "2001-01-01T00:00:00+00:00"}'
    assert meta_of(parts.decide(pack({"content_type": "application/json"}, {}, body)))["status"] == "REVOKED"


def test_the_body_of_a_pickled_message_is_not_opened_by_the_supervisor(make: Callable[..., Parts]) -> None:
    content = pack({"content_type": "application/x-python-serialize"}, {}, pickle.dumps({"task": "add", "id": "i"}))
    [(_, reason)] = make().decide(content).dead
    assert "not opened" in reason


def test_an_unknown_task_is_a_dead_letter_that_names_the_nearest(make: Callable[..., Parts]) -> None:
    endings = make().decide(message(task="ad"))
    [(tag, reason)] = endings.dead
    assert tag == 5
    assert reason.startswith("unknown task 'ad': no module that this worker imports registers it")
    assert reason.endswith("did you mean 'add'?")
    meta = meta_of(endings)
    assert (meta["status"], meta["task_id"], meta["result"]["exc_type"]) == ("FAILURE", "id-1", "NotRegistered")


def test_an_unknown_task_that_resembles_nothing_has_no_hint(make: Callable[..., Parts]) -> None:
    [(_, reason)] = make().decide(message(task="something.else.entirely")).dead
    assert "did you mean" not in reason


@pytest.mark.parametrize(("headers", "reason"), [
    ({"timelimit": [1]}, r"timelimit is \[1\], not \[hard, soft\] in seconds"),
    ({"timelimit": ["a", None]}, r"timelimit is \['a', None\]"),
    ({"eta": 5}, "eta is 5, not an ISO 8601 time"),
    ({"eta": "tomorrow"}, "eta is 'tomorrow', not an ISO 8601 time"),
    ({"expires": "soon"}, "expires is 'soon', not an ISO 8601 time"),
    ({"retries": -1}, "retries is -1, not a small whole number"),
    ({"retries": "x"}, "retries is 'x', not a small whole number"),
])
def test_a_header_that_makes_no_sense_is_named(
    make: Callable[..., Parts], headers: dict[str, Any], reason: str,
) -> None:
    endings = make().decide(message(**headers))
    [(tag, said)] = endings.dead
    assert tag == 5
    assert re.search(reason, said)
    assert meta_of(endings)["result"]["exc_type"] == "InvalidTaskError"


def test_a_future_message_is_replaced_by_its_future_self_in_one_step(make: Callable[..., Parts]) -> None:
    parts = make()
    headers = {"task": "add", "id": "i", "eta": FUTURE}
    content = pack({"content_type": "application/json", "priority": 7}, headers, b"[]")
    endings = parts.decide(content)
    assert endings == Endings(ack=[(5, 5)], publish=[Message("q", content, 7, parse_time(FUTURE))])
    assert parts.ring.in_hand == 0


def test_a_message_whose_eta_has_come_is_passed_on(make: Callable[..., Parts]) -> None:
    parts = make()
    assert parts.decide(message(eta=PAST)) == Endings()
    assert parts.ring.release() == 1


def test_an_expired_message_is_revoked_and_acked(make: Callable[..., Parts]) -> None:
    endings = make().decide(message(expires=PAST))
    assert (endings.ack, endings.dead, meta_of(endings)["status"]) == ([(5, 5)], [], "REVOKED")


def test_an_expired_message_without_a_wish_for_results_leaves_none(make: Callable[..., Parts]) -> None:
    assert make().decide(message(expires=PAST, ignore_result=True)) == Endings(ack=[(5, 5)])


def test_a_message_that_expires_later_is_looked_at_again_before_it_runs(make: Callable[..., Parts]) -> None:
    parts = make()
    soon = datetime.now(timezone.utc) + timedelta(seconds=0.02)
    assert parts.decide(message(expires=soon.isoformat())) == Endings()
    parts.ring.release()
    while time.time() <= soon.timestamp():
        pass
    parts.child.run_ready()
    assert parts.kit.slow.asked == [("expired", 0)]


@pytest.mark.parametrize("headers", [{}, {"eta": PAST}, {"expires": FUTURE}])
def test_a_message_that_died_too_often_is_a_dead_letter(make: Callable[..., Parts], headers: dict[str, Any]) -> None:
    parts = make(max_deaths=2)
    assert parts.decide(message(**headers), deaths=1) == Endings()
    parts.ring.unstage()
    assert parts.decide(message(**headers), deaths=2) == Endings()
    endings = parts.followed()
    assert endings.dead == [(5, "poison: it killed 2 workers or children")]
    [asked] = parts.kit.slow.asked
    assert asked[:3] == ("follow", 0, Outcome.POISONED)     # told of, and not run again


def test_a_poison_is_a_dead_letter_though_its_task_acks_early(make: Callable[..., Parts]) -> None:
    parts = make()
    assert parts.decide(message(task="soon"), deaths=3) == Endings()
    assert parts.ring.early() == []
    assert parts.followed().dead == [(5, "poison: it killed 3 workers or children")]


def test_what_finds_no_room_goes_back(make: Callable[..., Parts]) -> None:
    parts = make()
    parts.ring.stage(b"q", [(tag, 0, message()) for tag in range(10, 18)])
    for content in (message(), message(expires=FUTURE)):
        assert parts.decide(content, deaths=1) == Endings(back=[(5, 5)], rows={5: ("q", 1, content)})


@pytest.mark.parametrize(("text", "seconds"), [
    ("1970-01-01T00:01:00", 60.0), ("1970-01-01T00:01:00Z", 60.0), ("1970-01-01T02:01:00+02:00", 60.0),
    ("1970-01-01T00:00:00.250000+00:00", 0.25),
])
def test_times_without_offset_are_utc(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds


def test_the_last_reason_is_left_when_the_others_make_sense() -> None:
    assert bad_header({"timelimit": [1, None], "eta": PAST, "retries": 2**70}).startswith("retries is ")
