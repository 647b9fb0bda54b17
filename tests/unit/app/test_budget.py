"""What ``delay()`` may cost, in calls: figures that no noisy machine can break."""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from fastq import Fastq, current
from fastq.request import Request

CALLS, DEPTH = 25, 8


def profile(call: Callable[[], object]) -> tuple[list[str], int]:
    """Run *call*; return the Python functions that it called, and how deep they were nested."""
    called: list[str] = []
    depth = deepest = 0

    def hook(frame: FrameType, event: str, arg: Any) -> None:
        nonlocal depth, deepest
        if event == "call":
            called.append(frame.f_code.co_name)
            depth += 1
            deepest = max(deepest, depth)
        elif event == "return":
            depth -= 1

    sys.setprofile(hook)
    try:
        call()
    finally:
        sys.setprofile(None)
    return called, deepest


@pytest.fixture(params=["sqlite:///jobs.db", "memory://{}"])
def task(request):
    with Fastq("shop", broker=request.param.format(uuid.uuid4())) as app:
        @app.task
        def add(x, y):
            return x + y

        add.delay(1, 2)
        yield add


def test_a_plain_delay_is_few_calls(task):
    called, depth = profile(lambda: task.delay(2, 3))
    assert len(called) <= CALLS, called
    assert depth <= DEPTH, called


def test_a_delay_inside_a_task_is_few_calls_too(task):
    parent = Request(id="x", task=task.name, called_directly=False)
    current.running = lambda asked: parent
    called, depth = profile(lambda: task.delay(2, 3))
    assert len(called) <= CALLS, called
    assert depth <= DEPTH, called


def test_a_delay_in_a_batch_takes_no_step_of_the_transport(task):
    with task.app.batch():
        called, _ = profile(lambda: task.delay(2, 3))
    assert len(called) <= 10, called
