"""A program, not a test module: is the fastq that is installed here whole, and does it run a task?

Needs nothing but fastq. Runs in a folder of its own, and refuses a fastq from a source tree.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import tempfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

APP = """
from fastq import Fastq

app = Fastq("smoke")

@app.task
def add(x, y):
    return x + y
"""


def check_contents() -> int:
    """Every stub has its compiled module, everything was installed, nothing that only builds need was."""
    package = Path(str(files("fastq")))
    assert package.is_relative_to(sys.prefix), f"{package} is not the installed one"
    assert (package / "py.typed").exists()
    stubs = sorted(package.glob("_ext/*.pyi"))
    assert stubs, "no compiled module is described"
    for stub in stubs:
        importlib.import_module(f"fastq._ext.{stub.stem}")
    strays = [path.name for path in package.rglob("*") if path.suffix in {".c", ".h", ".html", ".pxd", ".pyx"}]
    assert not strays, f"only builds need {strays}"
    return len(stubs)


def run_a_task() -> None:
    """Send one task through the embedded broker to a worker of the installed command, and read its result."""
    Path("smoke.py").write_text(APP)
    sys.path.insert(0, os.getcwd())
    add = importlib.import_module("smoke").add
    command = [str(Path(sys.executable).parent / "fastq"), "-A", "smoke", "worker", "--concurrency", "1"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as worker:
        try:
            assert add.delay(2, 3).get(timeout=30) == 5
        finally:
            worker.terminate()
        assert worker.wait(30) == 0, f"the worker ended with {worker.returncode}"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        compiled = check_contents()
        run_a_task()
        os.chdir("/")
    print(f"fastq {version('fastq')} on CPython {sys.version.split()[0]}: {compiled} compiled modules, one task run")


if __name__ == "__main__":
    main()
