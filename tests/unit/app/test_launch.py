from __future__ import annotations

import subprocess
import sys

import pytest

from fastq import Fastq
from fastq.worker.worker import Worker

PROGRAM = """
import sys
from fastq import Fastq

app = Fastq("own", broker="sqlite:///own.db")

@app.task
def add(x, y):
    return x + y

sys.exit(app.start())
"""


def test_an_app_runs_the_command_line_for_itself(tmp_path):
    path = tmp_path / "own.py"
    path.write_text(PROGRAM)

    def run(*words):
        command = [sys.executable, str(path), *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)

    task_id = run("call", "own.add", "-a", "[2, 3]").stdout.strip()
    assert len(task_id) == 36
    assert run("queues").stdout.split()[5:7] == ["celery", "1"]


def test_worker_main_takes_a_workers_command_line_only():
    with pytest.raises(ValueError, match="worker's command line"):
        Fastq("x", broker="memory://launch").worker_main(["queues"])


def test_an_app_makes_a_worker():
    worker = Fastq("x", broker="memory://launch").Worker(concurrency=3)
    assert isinstance(worker, Worker)
    assert worker.concurrency == 3
