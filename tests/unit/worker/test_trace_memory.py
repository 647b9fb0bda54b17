"""A worker keeps nothing of a run that failed: no frame, no local, no exception."""

from __future__ import annotations

import gc
import logging
import mmap
import os
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fastq import Fastq, current
from fastq._ext.ring import Ring, ring_size
from fastq.pool.shared import Spill
from fastq.worker import child, outcome
from tests.ext.ringkit import message


class Kept:
    """A local of a task."""


alive: weakref.WeakSet[Kept] = weakref.WeakSet()


def deep(frames: int) -> None:
    held = Kept()
    alive.add(held)
    if frames:
        deep(frames - 1)
    raise ValueError(f"{frames} frames down, with {held}")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Return what runs that many tasks in this process; each fails 30 frames down."""
    logger = logging.getLogger("celery.app.trace")
    logger.disabled = True
    before = current.app_or_none()
    app = Fastq("leaks", broker="memory://leaks")
    app.task(name="deep")(lambda: deep(29))
    app.finalize()
    tasks = [app.tasks["deep"]]
    spill, wake_fd = Spill(), os.eventfd(0, os.EFD_NONBLOCK)
    memory = mmap.mmap(-1, ring_size(64, 4096, 1))
    ring = Ring(memory, slots=64, slot_bytes=4096, children=1, spill=spill.put, unspill=Spill.drop, tasks=[
        (b"deep", outcome.endings(outcome.rules_of(tasks[0].traits)), False, None, None)])
    executor = child.make_executor(child.ChildSpec(
        app=app, tasks=tasks, ring=memory, wake_fd=wake_fd, hostname="h", codec=app.result_codec, accept=["json"],
        spill=spill, parent_pid=os.getpid()), 0)

    def run(n: int) -> None:
        for _ in range(n // 50):
            assert ring.stage(b"q", [(tag, 0, message("deep", f"id-{tag}", b"[[], {}, {}]"))
                                     for tag in range(1, 51)]) == []
            ring.release()
            assert executor.run_ready() == 50
            count, _, results, _, odd, _ = ring.drain()
            assert (count, len(results), odd) == (50, 50, [])
            assert b"frames down" in results[0][2]

    yield run
    logger.disabled = False
    current.running = current.running_task = None
    current.set_app(before)
    os.close(wake_fd)
    spill.close()
    app.close()


def objects() -> int:
    gc.collect()
    return len(gc.get_objects())


def test_a_thousand_failures_leave_no_object(run: Callable[[int], None]) -> None:
    run(100)
    before = objects()
    run(1000)
    assert objects() - before < 50
    assert len(alive) == 0


def test_the_locals_of_a_failed_task_are_gone_without_the_garbage_collector(run: Callable[[int], None]) -> None:
    run(50)
    gc.collect()
    gc.disable()
    try:
        run(50)
        assert len(alive) == 0
    finally:
        gc.enable()


