"""A fleet that goes back to Celery: what waited for fastq's workers is handed over, and Celery's take it."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.compat.test_redis_death import PATIENT, QUEUE, Stage
from tests.deadline import wait_until

pytestmark = pytest.mark.redis


@pytest.mark.parametrize(("sender", "side"), [("celery", "fastq"), ("fastq", "preset")])
def test_tasks_for_later_are_handed_over(redis_url: str, tmp_path: Path, sender: str, side: str) -> None:
    with ExitStack() as stack:
        stage = Stage(redis_url, tmp_path, stack)
        worker = stage.start(side, **PATIENT)
        sent = stage.pair(sender, worker).tasks.add.apply_async((1, 2), countdown=3600)
        wait_until(lambda: stage.keys.zcard(f"fastq.future.{QUEUE}") == 1)
        worker.stop()
        said = subprocess.run([sys.executable, "-m", "fastq", "-b", redis_url, "handover"], cwd=tmp_path, timeout=60,
                              capture_output=True, text=True, check=True)
        assert f"{QUEUE}: 1 for later, 0 to be run alone" in said.stdout.splitlines()
        celery = stage.start("celery", **PATIENT)
        wait_until(lambda: f"[{sent.id}] received" in celery.said(), 20)
