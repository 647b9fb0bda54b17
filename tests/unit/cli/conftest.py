"""What the tests of the command line share: running it as a user does, and an app to run it on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

PROJ = """
from fastq import Fastq

app = Fastq("proj")

@app.task
def add(x=0, y=0):
    return x + y

@app.task
def fail():
    raise ValueError("no luck")
"""


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that it wrote on stderr."""
        assert len(self.err.splitlines()) == 1, self.err
        return self.err.strip()


Cli = Callable[..., Ran]


def environment(**more: str) -> dict[str, str]:
    """This process's environment without what would choose an app or set a setting."""
    kept = {name: value for name, value in os.environ.items()
            if name == "FASTQ_TEST_RUN" or not name.startswith(("FASTQ_", "CELERY_"))}
    return {**kept, **more}


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run ``python -m fastq`` with some words in the test's folder, to its end."""
    def run(*words: str, stdin: str = "", **env: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "fastq", *words], input=stdin, cwd=tmp_path, env=environment(**env),
            capture_output=True, text=True, timeout=60,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def proj(tmp_path: Path) -> Path:
    """Write the module ``proj`` with an app of two tasks; its broker is ``proj.fastq.db`` beside it."""
    path = tmp_path / "proj.py"
    path.write_text(PROJ)
    return path
