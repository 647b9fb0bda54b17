"""The compiled envelope beside the plain-Python one. `--benchmark-enable` measures; otherwise each runs once."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from fastq._ext import envelope
from tests.reference import amqp, recorded
from tests.reference.body import body

MESSAGE = recorded.messages("task_v2_json")[0]
HEADERS = {name: MESSAGE.headers[name] for name, _, _ in MESSAGE.headers_typed}
CONTENT, BODY = MESSAGE.content, MESSAGE.body
ID = MESSAGE.headers["id"]
NAMES = {"content_type": "application/json", "content_encoding": "utf-8"}
LEAN = envelope.TaskTemplate("wire.add", **NAMES, headers={}, properties={"delivery_mode": 2}, lean=True)
FULL = envelope.TaskTemplate("wire.add", **NAMES, headers={"origin": "gen1@h"}, properties={"priority": 0}, lean=False)
LARGE = {"rows": [{"id": i, "name": f"name {i}", "score": i / 7, "tags": ["a", "b"], "gone": None} for i in range(50)]}


def oracle_call() -> bytes:
    raw = {name: it.encode() if isinstance(it, str) else it for name, it in MESSAGE.properties.items()}
    return amqp.content(raw, amqp.typed_rows(HEADERS), body((2, 3), {}))


CASES: list[tuple[str, Callable[[], Any]]] = [
    ("call: template, lean", lambda: LEAN.encode(ID, (2, 3), {})),
    ("call: template, full", lambda: FULL.encode(ID, (2, 3), {})),
    ("call: pack", lambda: envelope.pack(MESSAGE.properties, HEADERS, BODY)),
    ("call: oracle", oracle_call),
    ("read: scan, shown in Python", lambda: envelope.scan(CONTENT)),
    ("read: unpack", lambda: envelope.unpack(CONTENT)),
    ("read: oracle", lambda: amqp.parse(CONTENT)),
    ("json: compiled", lambda: envelope.dumps(LARGE)),
    ("json: standard library", lambda: json.dumps(LARGE).encode()),
    ("id: new_id", envelope.new_id),
    ("id: uuid4", lambda: str(uuid.uuid4())),
]


@pytest.mark.parametrize("run", [run for _, run in CASES], ids=[name for name, _ in CASES])
def test_cost_of(run: Callable[[], Any], request: pytest.FixtureRequest, benchmark: Any) -> None:
    benchmark.group = request.node.callspec.id.partition(":")[0]
    enabled = not benchmark.disabled
    benchmark.pedantic(run, iterations=1000 if enabled else 1, rounds=5 if enabled else 1, warmup_rounds=int(enabled))
