"""kombu's envelope, compiled, beside json and base64 of the standard library, which only undo the text.

The envelope has 932 bytes, the content that it holds 528. `--benchmark-enable` measures; otherwise each runs once.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from fastq._ext import kombu, resp
from tests.reference import kombu as plain
from tests.reference import recorded

N = 500
RAW = recorded.envelopes("task_v2_json")[0].raw
CONTENT = kombu.parse(RAW)
BATCH = [RAW[:-1] + b"}" for _ in range(N)]
DECODED = json.loads(RAW)
ARGS = ("HSET", b"fastq.held.w1-0001", b"1099511627776", b"value", b"1")


def undo(raw: bytes) -> tuple[dict[str, Any], bytes]:
    decoded = json.loads(raw)
    return decoded, base64.b64decode(decoded["body"])


def redo() -> bytes:
    return json.dumps({**DECODED, "body": base64.b64encode(b"x" * 84).decode()}).encode()


def gather() -> int:
    return len(kombu.gather(BATCH, 1)[0])


CASES: list[tuple[str, Callable[[], Any]]] = [
    ("read: parse", lambda: kombu.parse(RAW)),
    ("read: json and base64", lambda: undo(RAW)),
    ("read: oracle", lambda: plain.parse(RAW)),
    ("write: dump", lambda: kombu.dump(CONTENT, "", "celery")),
    ("write: json and base64", redo),
    ("write: mark", lambda: kombu.mark(RAW, 1)),
    ("command: of five arguments", lambda: resp.command(*ARGS)),
    ("command: lpush", lambda: resp.lpush(b"celery", (RAW,))),
]


def test_the_messages_have_the_sizes_that_are_told() -> None:
    assert (len(RAW), len(CONTENT)) == (932, 528)


@pytest.mark.benchmark(group="read 500 envelopes: divide by 500")
@pytest.mark.parametrize("how", ["compiled", "json and base64"])
def test_gather(benchmark: Any, how: str) -> None:
    assert benchmark(gather if how == "compiled" else lambda: len([undo(raw) for raw in BATCH])) == N


@pytest.mark.parametrize("run", [run for _, run in CASES], ids=[name for name, _ in CASES])
def test_cost_of(run: Callable[[], Any], request: pytest.FixtureRequest, benchmark: Any) -> None:
    benchmark.group = request.node.callspec.id.partition(":")[0]
    enabled = not benchmark.disabled
    benchmark.pedantic(run, iterations=1000 if enabled else 1, rounds=9 if enabled else 1, warmup_rounds=int(enabled))
