"""What every publish pays for the doorbell. `--benchmark-enable` measures; otherwise each runs once."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from typing import Any

import pytest

from fastq._ext.bell import SIZE, Board, forks

MEMORY = mmap.mmap(-1, SIZE)
QUIET = Board(MEMORY)
BUSY = Board(mmap.mmap(-1, SIZE))
for cell in range(20):
    BUSY.doze(0, cell, 2)

CASES: list[tuple[str, Callable[[], Any]]] = [
    ("ring: nobody sleeps", lambda: QUIET.ring(0, 1)),
    ("ring: twenty sleep for something else", lambda: BUSY.ring(0, 1)),
    ("ring: the same search in Python, without fences", lambda: MEMORY.find(b"\1", 64, 576)),
    ("fork: count", forks),
    ("fork: process id", os.getpid),
]


@pytest.mark.parametrize("run", [run for _, run in CASES], ids=[name for name, _ in CASES])
def test_cost_of(run: Callable[[], Any], request: pytest.FixtureRequest, benchmark: Any) -> None:
    benchmark.group = request.node.callspec.id.partition(":")[0]
    enabled = not benchmark.disabled
    benchmark.pedantic(run, iterations=1000 if enabled else 1, rounds=50 if enabled else 1, warmup_rounds=int(enabled))
