"""The ring and the child's loop against the same work in plain Python (tests/reference/worker.py)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.ext.ringkit import Kit, message
from tests.reference.worker import PlainRing

BATCH = 256


def add(a: int, b: int) -> int:
    return a + b


ROWS = [(tag, 0, message(task_id=f"{tag:036}")) for tag in range(BATCH)]


@pytest.fixture
def kit(tmp_path: Path) -> Iterator[Kit]:
    made = Kit(tmp_path, {"add": add}, slots=BATCH)
    yield made
    made.close()


def compiled_cycle(kit: Kit) -> list[Any]:
    kit.ring.stage(b"q", ROWS)
    kit.ring.release()
    kit.executors[0].run_ready()
    runs: list[Any] = kit.ring.drain()[1]
    return runs


def plain_cycle(plain: PlainRing) -> list[Any]:
    plain.stage(ROWS)
    plain.release()
    plain.run_ready()
    return plain.drain()


@pytest.mark.benchmark(group="256 messages: stage, run, drain")
def test_compiled_ring_and_loop(benchmark: Callable[..., Any], kit: Kit) -> None:
    assert benchmark(compiled_cycle, kit) == [(0, BATCH - 1)]


@pytest.mark.benchmark(group="256 messages: stage, run, drain")
def test_plain_ring_and_loop(benchmark: Callable[..., Any]) -> None:
    assert benchmark(plain_cycle, PlainRing({"add": add})) == [(0, BATCH - 1)]


@pytest.mark.benchmark(group="256 messages: run")
def test_compiled_loop(benchmark: Any, kit: Kit) -> None:
    def filled() -> tuple[tuple[()], dict[str, Any]]:
        kit.ring.drain()
        kit.ring.stage(b"q", ROWS)
        kit.ring.release()
        return (), {}

    assert benchmark.pedantic(kit.executors[0].run_ready, setup=filled, rounds=50) == BATCH


@pytest.mark.benchmark(group="256 messages: run")
def test_plain_loop(benchmark: Any) -> None:
    plain = PlainRing({"add": add})

    def filled() -> tuple[tuple[()], dict[str, Any]]:
        plain.drain()
        plain.stage(ROWS)
        plain.release()
        return (), {}

    assert benchmark.pedantic(plain.run_ready, setup=filled, rounds=50) == BATCH


@pytest.mark.benchmark(group="256 messages: run")
def test_bare_calls(benchmark: Any) -> None:
    def call() -> None:
        for _ in range(BATCH):
            add(1, 2)

    benchmark.pedantic(call, rounds=50)
