"""mypy and pyright must both be content with example.py: it says itself which of its lines are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).with_name("example.py")
ROOT = Path(__file__).parents[2]
MYPY = ("mypy", "--strict", "--python-version", "3.10", "--follow-imports", "silent")
PYRIGHT = ("pyright", "--pythonpath", sys.executable, "--pythonversion", "3.10")


def complaints(command: tuple[str, ...], file: Path) -> str:
    """What the checker says of *file*, nothing if it is content."""
    done = subprocess.run([sys.executable, "-m", *command, str(file)], capture_output=True, text=True, cwd=ROOT,
                          env={**os.environ, "MYPYPATH": str(ROOT)}, check=False)
    return done.stdout + done.stderr if done.returncode else ""


@pytest.fixture(params=[MYPY, PYRIGHT], ids=["mypy", "pyright"])
def command(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, ...]:
    chosen: tuple[str, ...] = request.param
    return (*chosen, "--cache-dir", str(tmp_path)) if chosen is MYPY else chosen


@pytest.mark.timeout(300)
def test_the_checker_refuses_the_marked_lines_and_no_other(command: tuple[str, ...]) -> None:
    assert complaints(command, EXAMPLE) == ""


@pytest.mark.timeout(300)
def test_the_checker_would_tell_of_a_mark_without_an_error(command: tuple[str, ...], tmp_path: Path) -> None:
    right = 'add.delay("x")  # type: ignore[arg-type]'
    text = EXAMPLE.read_text()
    assert right in text
    wrong = tmp_path / "wrong.py"
    wrong.write_text(text.replace(right, right.replace('"x"', "1")))
    assert "ignore" in complaints(command, wrong)
