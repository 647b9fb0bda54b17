"""Chords whose store counts no members: a message that looks whether all have ended is sent along."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq import Celery, Fastq, backends, chord, group
from fastq.app.links import due
from fastq.app.results import Expiry
from fastq.exceptions import Unsupported
from fastq.request import Request
from fastq.types import Endings, Part
from fastq.wire.message import Content
from fastq.worker.join import Joiner
from tests import folder_store
from tests.unit.canvas.conftest import Sent

UNLOCK = "celery.chord_unlock"


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setitem(backends.SCHEMES, "file", folder_store.__name__)
    with Fastq("shop", broker=f"memory://{uuid.uuid4()}", backend=f"file://{tmp_path}") as app:
        yield app


@pytest.fixture
def looking(app: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is sent for later: content, and in how many seconds."""
    told: list[Any] = []
    publish = app.transport.publish

    def note(messages: Any) -> None:
        for message in messages:
            if message.run_at is not None:
                told.append((Content.parse(message.content), message.queue, message.run_at - time.time()))
        publish(messages)

    monkeypatch.setattr(app.transport, "publish", note)
    return told


def test_a_message_that_looks_is_sent_with_the_header(app: Any, add: Any, total: Any, sent: Sent, looking: list[Any]):
    result = chord([add.s(1, 1), add.s(2, 2) | add.s(3)])(total.s().set(queue="sums"))
    ((message, queue, soon),) = looking
    (group_id, body), kwargs, _ = json.loads(message.body)
    first, second = result.parent.results
    assert (message.headers["task"], queue, group_id) == (UNLOCK, "sums", result.parent.id)
    assert 0 < soon <= 1.0
    assert body["task"] == total.name and body["options"]["task_id"] == result.id
    assert kwargs == {"interval": None, "max_retries": None, "_chord_unlock_exchange_type": "direct",
                      "result": json.loads(json.dumps([first.as_tuple(), second.as_tuple()]))}
    assert second.parent is not None
    assert [content.headers["task"] for content in sent()] == [add.name, add.name]


def test_how_often_it_looks_is_told_with_the_chord(app: Any, add: Any, total: Any, looking: list[Any]):
    made = chord([add.s(1, 1)], total.s())
    made.apply_async(interval=30, max_retries=7)
    app.conf.result_chord_retry_interval = 5
    made.apply_async()
    made.run(group(add.s(1, 1)), total.s(), interval=60)
    kwargs = [json.loads(message.body)[1] for message, _, _ in looking]
    assert [(told["interval"], told["max_retries"]) for told in kwargs] == [(30, 7), (None, None), (60, None)]
    assert [round(soon) for _, _, soon in looking] == [30, 5, 60]


def test_it_goes_where_the_first_task_of_the_body_goes(app: Any, add: Any, total: Any, mul: Any, looking: list[Any]):
    app.conf.task_routes = {total.name: "sums", mul.name: "products"}
    bodies = [total.s(), total.s() | add.s(1), group(mul.s(), total.s()), chord([total.s(), mul.s()], add.s())]
    for body in bodies:
        chord([add.s(1, 1)], body).apply_async()
    assert [queue for _, queue, _ in looking] == ["sums", "sums", "products", "sums"]


def test_a_worker_sends_it_for_a_chord_that_follows(app: Any, add: Any, total: Any):
    last = Request(id="last", root_id="root")
    body = chord([add.s(1), add.s(2)], total.s())
    body.freeze("body")
    messages = [Content.parse(message.content).headers for message in due(app, dict(body), [0], last)]
    assert [(headers["task"], headers["root_id"], headers["parent_id"]) for headers in messages] == [
        (UNLOCK, "root", "last"), (add.name, "root", "last"), (add.name, "root", "last")]


def test_members_are_told_to_nobody(app: Any):
    endings = Endings(parts=[Part("g", "t", 0, "SUCCESS", b"", None, b"plan")])
    Joiner(lambda: app.backend, Expiry.of_chords(app.conf)).count(endings)
    assert (endings.parts, endings.publish) == ([], [])


def test_nothing_can_be_added_to_a_chord_that_nobody_counts(app: Any):
    with pytest.raises(NotImplementedError, match="FolderStore counts no members"):
        app.backend.chord_add("g", 1)


@pytest.mark.parametrize("backend", [None, "disabled://"])
def test_without_a_store_there_is_no_chord(backend: str | None):
    with Celery("shop", broker=f"memory://{uuid.uuid4()}", backend=backend) as app:
        member = app.signature("add", (1, 1))
        with pytest.raises(Unsupported, match="a chord joins the results of its header") as raised:
            (group(member, member) | app.signature("total")).apply_async()
        assert isinstance(raised.value, NotImplementedError)


def test_results_can_be_disabled_where_they_are_kept_by_default():
    with Fastq("shop", broker=f"memory://{uuid.uuid4()}", backend="disabled://") as app, \
            pytest.raises(Exception, match="no result store is configured"):
        app.AsyncResult("x").get(timeout=1)
