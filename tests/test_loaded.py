"""What the tests test is compiled, comes from this tree, is as new as its sources, and of the build asked for."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SOURCES = sorted((ROOT / "ext").glob("*.pyx"))
ASAN, DEBUG = (os.environ.get(name) == "1" for name in ("FASTQ_SANITIZE", "FASTQ_DEBUG"))


@pytest.fixture(params=SOURCES, ids=lambda source: source.stem)
def source(request: pytest.FixtureRequest) -> Path:
    return request.param


@pytest.fixture
def built(source: Path) -> Path:
    module = importlib.import_module(f"fastq._ext.{source.stem}")
    assert isinstance(module.__loader__, ExtensionFileLoader), f"{module.__file__} is not compiled"
    return Path(module.__file__)


def test_a_module_is_loaded_from_this_tree(source, built):
    assert built == ROOT / "fastq/_ext" / (source.stem + EXTENSION_SUFFIXES[0])


def test_a_module_is_not_older_than_its_sources(source, built):
    newest = max([source, *ROOT.glob("ext/*.pxd"), *ROOT.glob("ext/*.h")], key=lambda path: path.stat().st_mtime)
    assert built.stat().st_mtime >= newest.stat().st_mtime, f"{newest.name} has changed since: run 'make build'"


if sys.platform == "linux":  # the marks are those of ELF and gcc

    def test_a_module_is_of_the_build_asked_for(built):
        binary = built.read_bytes()
        kind = "asan" if b"__asan_init" in binary else "debug" if b".debug_info" in binary else "release"
        asked = "asan" if ASAN else "debug" if DEBUG else "release"
        assert kind == asked, f"{built} is the {kind} build, this run is for {asked}: run 'make clean build'"


@pytest.mark.parametrize("present", [[], ["a"]])
def test_a_tree_that_is_not_built_says_what_to_run(tmp_path, present):
    package = tmp_path / "fastq/_ext"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text((ROOT / "fastq/_ext/__init__.py").read_text())
    for name in "ab":
        (package / f"{name}.pyi").touch()
    for name in present:
        (package / (name + EXTENSION_SUFFIXES[0])).touch()
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    asked = subprocess.run([sys.executable, "-c", "import fastq._ext"], env=environment, capture_output=True, text=True)
    assert asked.returncode == 1
    told = asked.stderr.splitlines()[-1]
    assert told.startswith("ImportError: fastq's compiled modules are not built") and "make build" in told
    assert ("a.pyi" in told) is (not present) and "b.pyi" in told
