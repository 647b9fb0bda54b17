"""What the supervisor says for chords and chains when a task of theirs never runs."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq._ext.envelope import pack
from fastq.backends.meta import MetaCodec
from fastq.types import Complete, Endings, Part
from fastq.wire import chord
from tests.unit.worker.parts import Parts

BODY = {"task": "total", "args": [], "kwargs": {}, "options": {"task_id": "body", "group_id": "g"},
        "subtask_type": None, "immutable": False}
JSON = {"content_type": "application/json", "content_encoding": "utf-8", "priority": 3}
PAST = "2001-01-01T00:00:00+00:00"


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    made = Parts(tmp_path)
    yield made
    made.kit.close()


def message(embed: dict[str, Any], properties: dict[str, Any] = JSON, **headers: Any) -> bytes:
    told = {"task": "add", "id": "t", "group": "g", "group_index": 4, "root_id": "root", "expires": PAST, **headers}
    body = [[1, 2], {}, embed]
    raw = json.dumps(body).encode() if properties is JSON else pickle.dumps(body)
    return pack(properties, told, raw)


def told(endings: Endings) -> dict[str, str]:
    return {result.task_id: result.state for result in endings.results}


def test_a_member_that_expired_counts_as_revoked(parts: Parts) -> None:
    endings = parts.decide(message({"chord": BODY}))
    (part,) = endings.parts
    assert (part.group_id, part.task_id, part.place, part.state, part.root_id) == ("g", "t", 4, "REVOKED", "root")
    assert MetaCodec().decode_part(part.member)[1:2] == ("REVOKED",)
    completes = chord.message(Complete("g", ["a", "t"], part, part.plan))
    assert (completes.queue, completes.priority) == ("q", 3)
    assert b'"result": [[["a", null], null], [["t", null], null]]' in completes.content


def test_the_rest_of_a_chain_fails_with_it(parts: Parts) -> None:
    last = {**BODY, "options": {"task_id": "last", "group_id": "g", "group_index": 0, "chord": BODY}}
    inner = {"task": "celery.chord", "args": [], "options": {}, "subtask_type": "chord", "immutable": False,
             "kwargs": {"header": [], "body": {**BODY, "options": {"task_id": "inner body"}}, "kwargs": {}}}
    endings = parts.decide(message({"chain": [last, inner]}, group=None))
    assert told(endings) == {"t": "REVOKED", "last": "REVOKED", "inner body": "REVOKED"}
    assert [part.task_id for part in endings.parts] == ["last"]


def test_a_pickle_is_not_opened_and_counts_by_its_headers(parts: Parts) -> None:
    properties = {"content_type": "application/x-python-serialize", "content_encoding": "binary"}
    (part,) = parts.decide(message({"chord": BODY}, properties)).parts
    assert (part.task_id, part.place, part.state, part.plan) == ("t", 4, "REVOKED", b"")


@pytest.mark.parametrize("embed", [{}, {"chord": None, "chain": None}, {"chain": []}])
def test_a_member_of_a_mere_group_counts_nowhere(parts: Parts, embed: dict[str, Any]) -> None:
    assert parts.decide(message(embed)).parts == []


def test_a_message_that_would_complete_a_chord_and_is_given_up_fails_the_body(parts: Parts) -> None:
    plan = chord.plan("g", BODY, serializer="json", queue="q", priority=0)
    lost = chord.message(Complete("g", ["a"], Part("g", "a", 0, "SUCCESS", b"", None, plan), plan))
    endings = parts.decide(lost.content)
    (body,) = [result for result in endings.results if result.task_id == "body"]
    assert (body.state, "given up" in json.loads(body.meta)["result"]["exc_message"][0]) == ("FAILURE", True)
