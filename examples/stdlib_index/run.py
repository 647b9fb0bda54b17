"""The runner: a worker with two children, every file of the standard library, one SIGKILL, and the account.

    python -m fastq.examples.stdlib_index.run
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fastq.exceptions import TimeoutError

from .report import find_lost, print_report
from .tasks import app, index_file

STDLIB = Path(sysconfig.get_path("stdlib"))
PATIENCE_S = 30.0
NAMED = 20
Outcome = dict[str, Any]


def stdlib_files() -> list[str]:
    """List the Python source files of the running interpreter's standard library, installed packages left out."""
    other = {"site-packages", "dist-packages", "__pycache__"}
    return sorted(str(path) for path in STDLIB.rglob("*.py") if not other.intersection(path.relative_to(STDLIB).parts))


@contextmanager
def worker(url: str, children: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker of this app while the block runs, through the command line as anybody would."""
    command = [sys.executable, "-m", "fastq", "-A", index_file.__module__, "-b", url, "--result-backend", url,
               "worker", "-c", str(children), "-l", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def kill_one_child(process: subprocess.Popen[bytes], console: Console) -> int | None:
    """Kill a child of the worker in the middle of a task, with SIGKILL, as the kernel does when memory runs out."""
    deadline = time.monotonic() + 5
    try:
        while time.monotonic() < deadline:
            for child in psutil.Process(process.pid).children():
                if child.status() == psutil.STATUS_RUNNING:  # not asleep, so it has a task
                    child.kill()
                    console.print(f"[bold red]kill -9 {child.pid}[/], one of the worker's children", soft_wrap=True)
                    return child.pid
    except psutil.NoSuchProcess:
        console.print("the worker is gone")
    return None


def collect(sent: dict[str, Any], process: subprocess.Popen[bytes], kill: bool, console: Console) -> list[Outcome]:
    """Wait for the result of each file; kill a child when a third has come in, and say what became of its task."""
    outcomes: list[Outcome] = []
    victim = None
    columns = TextColumn("indexing"), BarColumn(None), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("index", total=len(sent))
        for number, (path, result) in enumerate(sent.items()):
            if kill and number == len(sent) // 3:
                victim = kill_one_child(process, progress.console)
            outcome = wait(result, process)
            if outcome is None:
                break
            if victim and outcome["redelivered"]:
                progress.console.print(f"child {victim} died over {shown(path)} [{result.id}]: "
                                       f"child {outcome['child']} did it again", markup=False, soft_wrap=True)
            outcomes.append(outcome)
            progress.advance(bar)
    if victim and len(outcomes) == len(sent) and not any(outcome["redelivered"] for outcome in outcomes):
        console.print(f"child {victim} had just ended one task and not begun another")
    return outcomes


def shown(path: str) -> str:
    """Shorten the path of a file of the standard library."""
    return os.path.relpath(path, STDLIB) if Path(path).is_relative_to(STDLIB) else path


def wait(result: Any, process: subprocess.Popen[bytes]) -> Outcome | None:
    """Return what the task returned, or None when the worker is gone or too slow."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        is_running = process.poll() is None
        try:
            return dict(result.get(timeout=1.0 if is_running else 0.01))
        except TimeoutError:
            if not is_running:
                return None
    return None


def run(files: Sequence[str] | None = None, *, children: int = 2, kill: bool = True) -> int:
    """Index *files*, by default the whole standard library; return 0 if each has exactly one result, else 1."""
    console = Console(highlight=False)
    files = stdlib_files() if files is None else files
    with tempfile.TemporaryDirectory(prefix="fastq-demo-") as folder, app:
        url = f"sqlite:///{folder}/stdlib_index.db"
        app.conf.update(broker_url=url, result_backend=url)
        log = Path(folder, "worker.log")
        console.print(f"{len(files):,} files of Python {sys.version.split()[0]} in {STDLIB}", soft_wrap=True)
        console.print(f"{children} children, broker and results in {url}", soft_wrap=True)
        with worker(url, children, log) as process:
            start = time.monotonic()
            sent = {path: index_file.delay(path) for path in files}
            console.print(f"{len(sent):,} tasks sent in {time.monotonic() - start:.2f} s")
            outcomes = collect(sent, process, kill, console)
            elapsed_s = time.monotonic() - start
        lost = find_lost(files, outcomes)
        print_report(console, {shown(outcome["path"]): outcome for outcome in outcomes}, elapsed_s)
        for path in lost[:NAMED]:
            console.print(f"[bold red]lost[/]: {path}", soft_wrap=True)
        if len(lost) > NAMED:
            console.print(f"and {len(lost) - NAMED:,} more")
        console.print(f"[bold {'red' if lost else 'green'}]{len(lost)} lost[/]: {len(files) - len(lost):,} of "
                      f"{len(files):,} files have exactly one result")
        if lost:
            print("The end of the worker's log:", *log.read_text(errors="replace").splitlines()[-20:], sep="\n")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(run())
