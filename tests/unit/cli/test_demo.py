"""The demo, on a few files, with a child killed on the way; and that it would notice a loss."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from rich.console import Console

from fastq.cli.bench import command as bench
from fastq.examples.stdlib_index.report import find_lost, print_report
from fastq.examples.stdlib_index.run import collect, stdlib_files
from fastq.examples.stdlib_index.tasks import index_file
from tests.unit.cli.conftest import Cli


def outcome(path: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "lines": 1, "tokens": 2, "functions": 0, "classes": 0, "error": None, "child": 1,
            "redelivered": False, **more}


def test_the_demo_indexes_files_and_loses_none_though_a_child_is_killed(cli: Cli):
    ran = cli("demo", "--files", "60")
    assert ran.code == 0, ran.out + ran.err
    assert "kill -9 " in ran.out and "one of the worker's children" in ran.out
    assert "did it again" in ran.out or "had just ended one task" in ran.out
    assert "the ten largest files" in ran.out and "tasks/s" in ran.out
    assert ran.out.splitlines()[-1] == "0 lost: 60 of 60 files have exactly one result"


def test_every_file_of_the_standard_library_is_there_and_no_installed_package():
    files = stdlib_files()
    assert len(files) > 500 and len(set(files)) == len(files)
    assert not any("site-packages" in path for path in files)


def test_a_file_is_counted(tmp_path: Path):
    path = tmp_path / "small.py"
    path.write_text("class A:\n    def f(self):\n        async def g():\n            pass\n")
    found = index_file(str(path))
    assert (found["lines"], found["functions"], found["classes"], found["error"]) == (4, 2, 1, None)


def test_a_file_that_is_no_python_is_an_outcome(tmp_path: Path):
    broken = {"syntax.py": b"def f(:\n", "bytes.py": b"\x00\xff", "quote.py": b"'''", "coding.py": b"# coding: x\n"}
    for name, source in broken.items():
        (tmp_path / name).write_bytes(source)
        assert index_file(str(tmp_path / name))["error"], name
    assert "FileNotFoundError" in index_file(str(tmp_path / "nosuch.py"))["error"]


def test_a_file_without_result_and_one_with_two_are_lost():
    outcomes = [outcome("a.py"), outcome("b.py"), outcome("b.py")]
    assert find_lost(["a.py", "b.py", "c.py"], outcomes) == ["b.py", "c.py"]


def test_the_account_tells_totals_and_redeliveries():
    text = io.StringIO()
    outcomes = {"a.py": outcome("a.py", tokens=7, redelivered=True), "b.py": outcome("b.py", error="SyntaxError: ...")}
    print_report(Console(file=text, width=100), outcomes, 2.0)
    printed = " ".join(text.getvalue().split())
    assert "2 lines, 9 tokens, 0 functions, 0 classes; 1 files are no valid Python" in printed
    assert "2 tasks in 2.0 s: 1 tasks/s, 1 redelivered" in printed


class Gone:
    """A worker that has ended."""

    def poll(self) -> int:
        return 1


def test_a_worker_that_is_gone_ends_the_wait(monkeypatch):
    with index_file.app as app:
        app.conf.update(broker_url="memory://gone", result_backend="memory://gone")
        outcomes = collect({"a.py": index_file.delay("a.py")}, Gone(), False, Console(file=io.StringIO()))  # type: ignore[arg-type]
    assert outcomes == []


def test_the_benchmarks_get_their_words_as_they_are(cli: Cli):
    assert bench.name == "command"
    ran = cli("bench", "--list")
    assert ran.code == 0 and "drain" in ran.out + ran.err
