"""What pyproject.toml says in several places it says everywhere alike; read as text, for 3.10 has no TOML reader."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()
DECLARED = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
PLATFORMS = {
    "linux": {f"{libc}_{arch}" for libc in ("manylinux", "musllinux") for arch in ("x86_64", "aarch64")},
    "macos": {"macosx_x86_64", "macosx_arm64"},
}

USED_IF_PRESENT = {"IPython", "backports", "brotli", "compression", "eventlet", "gevent", "hiredis", "pydantic",
                   "setproctitle", "tblib", "yaml"}


@pytest.mark.parametrize("platform", PLATFORMS)
def test_wheels_are_built_for_what_the_classifiers_declare_and_nothing_else(platform):
    command = [sys.executable, "-m", "cibuildwheel", "--print-build-identifiers", "--platform", platform, str(ROOT)]
    built = set(subprocess.check_output(command, text=True).split())
    assert built == {f"cp{version.replace('.', '')}-{tag}" for version in DECLARED for tag in PLATFORMS[platform]}


def test_the_oldest_python_is_the_same_for_users_linters_and_type_checkers():
    oldest = DECLARED[0]
    assert f'requires-python = ">={oldest}"' in PYPROJECT
    assert f'target-version = "py{oldest.replace(".", "")}"' in PYPROJECT
    assert re.findall(r'^python_?[vV]ersion = "(.*)"', PYPROJECT, re.MULTILINE) == [oldest, oldest]


def test_every_dependency_has_its_reason_written_down():
    block = re.search(r"^dependencies = \[\n(.*?)^\]", PYPROJECT, re.DOTALL | re.MULTILINE)
    assert block
    reasons = (ROOT / "docs/decisions/001-dependencies.md").read_text()
    needed = re.findall(r'^ +"([\w.-]+)', block[1], re.MULTILINE)
    assert len(needed) == 6
    assert [name for name in needed if f"| {name} |" not in reasons and f"`{name}`" not in reasons] == []


def test_every_package_that_is_imported_is_declared():
    declared = re.search(r"^dependencies = \[\n(.*?)^\]", PYPROJECT, re.DOTALL | re.MULTILINE)
    assert declared
    known = set(re.findall(r'"([\w-]+)', declared[1])) | set(sys.stdlib_module_names) | {"fastq"} | USED_IF_PRESENT
    for path in (*ROOT.glob("fastq/**/*.py"), *ROOT.glob("examples/**/*.py")):
        assert {name for name in imported(ast.parse(path.read_text())) if name not in known} == set(), path


def imported(node: ast.AST) -> Iterator[str]:
    """The packages that *node* imports, but those that only a type checker sees."""
    if isinstance(node, ast.Import):
        yield from (alias.name.split(".")[0] for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
        yield node.module.split(".")[0]
    elif not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
        for child in ast.iter_child_nodes(node):
            yield from imported(child)


def test_setup_py_stays_a_list_of_extensions():
    assert len((ROOT / "setup.py").read_text().splitlines()) <= 60


def test_every_command_of_the_readme_exists():
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    told = re.findall(r"^make ([a-z-]+)", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert told and set(told) <= set(targets)


def test_ci_runs_the_command_that_the_readme_tells():
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "exec make test"
    assert "make test" in (ROOT / "README.md").read_text()
