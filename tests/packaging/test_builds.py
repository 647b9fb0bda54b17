"""The debug and sanitizer builds see what they are there to see."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check
from tools.check import sanitizer_environment

ROOT = Path(__file__).resolve().parents[2]
FAULTY = """
from libc.stdlib cimport free, malloc
from debug cimport FASTQ_DEBUG

def is_debug():
    return FASTQ_DEBUG == 1

def read_freed(bint early):
    cdef unsigned char* p = <unsigned char*> malloc(16)
    p[0] = 1
    if early:
        free(p)
    value = p[0]
    if not early:
        free(p)
    return value

def shift(int by):
    return 1 << by

def outside(bytes raw, int at):
    return raw[at]
"""


@pytest.fixture
def call(tmp_path: Path):
    """Build a faulty module with *switches*, then call it in a process of its own."""
    (tmp_path / "ext").mkdir()
    (tmp_path / "fastq/_ext").mkdir(parents=True)
    (tmp_path / "fastq/_ext/__init__.py").touch()
    (tmp_path / "ext/faulty.pyx").write_text(FAULTY)
    for name in ("setup.py", "ext/debug.h", "ext/debug.pxd"):
        (tmp_path / name).write_text((ROOT / name).read_text())

    def run(call: str, switches: dict[str, str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        switches = {"FASTQ_DEBUG": "0", "FASTQ_SANITIZE": "0", **switches}
        plain = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
        subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], check=True, capture_output=True,
                       env=plain | switches)
        script = f"from fastq._ext import faulty; print(faulty.{call})"
        return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False,
                              env=plain | environment | {"PYTHONPATH": str(tmp_path)})

    return run


def test_the_debug_build_checks_bounds_and_the_release_build_does_not_pay_for_it(call):
    assert call("is_debug()", {}, {}).stdout == "False\n"
    assert call("is_debug()", {"FASTQ_DEBUG": "1"}, {}).stdout == "True\n"
    assert "IndexError" in call("outside(b'abc', 3)", {"FASTQ_DEBUG": "1"}, {}).stderr


if sys.platform == "linux":  # elsewhere the sanitizers cannot be preloaded into a Python built without them

    @pytest.mark.parametrize(("wrong", "right", "told"), [
        ("read_freed(True)", "read_freed(False)", "AddressSanitizer: heap-use-after-free"),
        ("shift(40)", "shift(4)", "runtime error: shift exponent 40 is too large"),
    ], ids=["address", "undefined"])
    def test_the_sanitizer_build_ends_the_process_at_an_error_and_writes_a_report(call, tmp_path, wrong, right, told):
        environment = sanitizer_environment(tmp_path / "report")
        assert call(right, {"FASTQ_SANITIZE": "1"}, environment).returncode == 0
        assert not list(tmp_path.glob("report.*"))
        assert call(wrong, {"FASTQ_SANITIZE": "1"}, environment).returncode != 0
        (report,) = tmp_path.glob("report.*")
        assert told in report.read_text()


    def test_a_report_fails_the_gate_even_if_the_tests_pass(tmp_path, monkeypatch, capsys):
        monkeypatch.setattr(check, "ROOT", tmp_path)
        monkeypatch.setattr(check, "test_build", lambda *_: True)
        monkeypatch.setattr(check, "fuzz", lambda *_: True)
        (tmp_path / "build").mkdir()
        (tmp_path / "build/asan-report.1").write_text("of an earlier run")
        assert check.asan()
        monkeypatch.setattr(check, "test_build", lambda *_: (tmp_path / "build/asan-report.2").write_text("overrun"))
        assert not check.asan() and "overrun" in capsys.readouterr().out
