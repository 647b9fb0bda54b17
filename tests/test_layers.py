"""Imports only go down; and the gate that says so would say otherwise if they did not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.gates.layers import violations

ROOT = Path(__file__).resolve().parent.parent


def test_imports_only_go_down_and_never_in_a_circle():
    assert violations(ROOT) == []


@pytest.fixture
def tree(tmp_path: Path):
    """Write a tree of modules and hold it against the layers."""

    def check(files: dict[str, str]) -> list[str]:
        for name, source in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return violations(tmp_path)

    return check


@pytest.mark.parametrize("source", [
    "from fastq.app.app import App",
    "import fastq.app.app",
    "from fastq.app import app",
    "from ..app import app",
    "from ..app.app import App",
    "if True:\n    import fastq.app.app",
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from fastq.app.app import App",
    "def f(load):\n    return load('fastq.app.app')",
], ids=["from", "import", "module", "relative", "relative-from", "nested", "typing", "string"])
def test_an_arrow_up_is_caught_however_it_is_written(tree, source):
    found = tree({"fastq/wire/task.py": source, "fastq/app/app.py": ""})
    assert len(found) == 1 and "L2 may not know L6" in found[0]


@pytest.mark.parametrize("source", [
    "def f():\n    from fastq.states import FAILURE",
    "class A:\n    async def f(self):\n        import fastq.states",
], ids=["function", "method"])
def test_an_import_inside_a_function_is_caught_even_when_it_goes_down(tree, source):
    assert "stands at the top" in tree({"fastq/worker/trace.py": source, "fastq/states.py": ""})[0]


@pytest.mark.parametrize("source", [
    "def f(cls):\n    return cls.__module__ != 'fastq.app.task'",
    "import logging\nlogger = logging.getLogger('fastq.ids')",
    "def f(t):\n    return t.written_as('fastq.exceptions')",
], ids=["compared", "logger", "below"])
def test_a_name_that_is_no_arrow_up_is_only_a_name(tree, source):
    assert tree({"fastq/ids.py": source, "fastq/exceptions.py": "", "fastq/app/task.py": ""}) == []


def test_a_name_that_becomes_a_module_is_caught_outside_the_loader(tree):
    source = "import importlib\ndef f(name):\n    return importlib.import_module(name)"
    assert tree({"fastq/app/loader.py": source}) == []
    assert "a string becomes a module" in tree({"fastq/app/task.py": source})[0]


def test_the_open_tables_and_the_launcher_may_import_when_called(tree):
    assert tree({
        "fastq/transport/__init__.py": "def open(url):\n    from fastq.transport import sqlite",
        "fastq/backends/__init__.py": "TABLE = {'sqlite': 'fastq.backends.sqlite'}",
        "fastq/app/launch.py": "def run(app):\n    from fastq.worker.worker import Worker",
        "fastq/app/app.py": "from fastq.app import launch",
        "fastq/worker/worker.py": "from fastq.app import app",
        "fastq/cli/call.py": "def call():\n    from fastq.app import app",
        "fastq/transport/sqlite.py": "", "fastq/backends/sqlite.py": "",
    }) == []


def test_a_circle_is_caught_and_told_as_a_path(tree):
    found = tree({"fastq/app/a.py": "import fastq.app.b", "fastq/app/b.py": "import fastq.app.c",
                 "fastq/app/c.py": "from fastq.app import a"})
    assert found == ["imports in a circle: fastq.app.a -> fastq.app.b -> fastq.app.c -> fastq.app.a"]


def test_types_alone_make_no_circle(tree):
    typing = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import fastq.app.a"
    assert tree({"fastq/app/a.py": "import fastq.app.b", "fastq/app/b.py": typing}) == []


def test_neighbours_do_not_know_each_other(tree):
    assert "neighbours" in tree({"fastq/transport/net.py": "import fastq.pool.solo", "fastq/pool/solo.py": ""})[0]


def test_a_canvas_knows_results(tree):
    assert tree({"fastq/canvas/chord.py": "import fastq.result", "fastq/result.py": ""}) == []


def test_the_pool_knows_no_message(tree):
    assert "may not know wire" in tree({"fastq/pool/solo.py": "import fastq.wire.task", "fastq/wire/task.py": ""})[0]


def test_a_module_without_a_layer_is_caught(tree):
    assert tree({"fastq/misplaced.py": ""}) == [
        "fastq.misplaced has no layer: add it to the table, or to a package that is there"]


def test_only_the_top_of_the_house_may_import_the_whole(tree):
    assert "may not know L9" in tree({"fastq/__init__.py": "", "fastq/app/app.py": "from fastq import Fastq"})[0]


@pytest.mark.parametrize("line", ["from fastq.wire import task", "    import fastq.types", "from fastq.app cimport x"])
def test_compiled_modules_know_only_the_errors(tree, line):
    assert tree({"ext/ok.pyx": "from fastq.exceptions import FrameError\nfrom libc.stdint cimport int8_t\n"}) == []
    assert "ext/bad.pyx" in tree({"ext/bad.pyx": line})[0]
