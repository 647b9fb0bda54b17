"""The runner of the gates, and the script that makes the environment, do what the Makefile trusts them to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools import check

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def gates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "GATES", {"good": lambda: True, "bad": lambda: False})


@pytest.mark.parametrize(("names", "status"), [(["good"], 0), (["bad", "good"], 1), ([], 1), (["unknown"], 2)])
def test_one_failed_gate_fails_the_run_and_stops_no_other(gates, capsys, names, status):
    assert check.main(names) == status
    told = capsys.readouterr().out
    assert ("good     ok" in told) is (status != 2) and ("bad      FAILED" in told) is (status == 1)


def test_a_command_that_fails_fails_its_gate():
    assert check.run(sys.executable, "-c", "raise SystemExit(0)")
    assert not check.run(sys.executable, "-c", "raise SystemExit(3)")


def test_a_mirror_follows_its_source_and_keeps_dates(tmp_path, monkeypatch):
    root, tree = tmp_path / "root", tmp_path / "tree"
    (root / "ext").mkdir(parents=True)
    (root / "fastq/_ext").mkdir(parents=True)
    for name in ("ext/a.pyx", "ext/b.pyx", "fastq/_ext/a.so", "setup.py"):
        (root / name).write_text(name)
    os.utime(root / "ext/a.pyx", (1_000_000_000, 1_000_000_000))
    monkeypatch.setattr(check, "ROOT", root)
    check.mirror(tree)
    (root / "ext/b.pyx").unlink()
    (root / "setup.py").write_text("changed")
    check.mirror(tree)
    assert {path.relative_to(tree).as_posix(): path.read_text() for path in tree.rglob("*") if path.is_file()} == {
        "ext/a.pyx": "ext/a.pyx", "setup.py": "changed"}
    assert (tree / "ext/a.pyx").stat().st_mtime == 1_000_000_000


@pytest.fixture
def machine(tmp_path: Path):
    """A PATH of few programs: no compiler, an `id` that tells what it is told, and, if wished, an apt-get."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("uname", "mkdir", "sh"):
        (programs / name).symlink_to(shutil.which(name) or name)

    def prepare(uid: int, apt_get: str = "") -> subprocess.CompletedProcess[str]:
        for name, script in {"id": f"echo {uid}", "apt-get": apt_get}.items():
            if script:
                (programs / name).write_text(f"#!/bin/sh\n{script}\n")
                (programs / name).chmod(0o755)
        script = ROOT / "tools/prepare.sh"
        return subprocess.run([programs / "sh", script, sys.executable, tmp_path / "venv"], capture_output=True,
                              text=True, env={"PATH": str(programs)}, check=False)

    return prepare


def test_what_is_missing_is_named_to_a_user_who_cannot_install_it(machine):
    told = machine(uid=1000, apt_get="echo never >&2")
    assert told.returncode == 1
    assert "Missing here, by Debian's names: gcc libc6-dev" in told.stderr and "never" not in told.stderr


def test_what_is_missing_is_installed_by_root_on_debian_and_asked_for_once(machine, tmp_path):
    told = machine(uid=0, apt_get=f'echo "$@" >> {tmp_path}/asked')
    assert told.returncode == 1  # this apt-get installs nothing
    update, install = (tmp_path / "asked").read_text().splitlines()
    assert update == "-qq update"
    assert install.removesuffix(" ca-certificates") == "-qq install -y --no-install-recommends gcc libc6-dev"


def test_a_python_that_is_too_old_or_absent_is_missing(machine, tmp_path):
    script = ROOT / "tools/prepare.sh"
    told = subprocess.run(["sh", script, "/no/such/python", tmp_path / "venv"], capture_output=True, text=True,
                          env={"PATH": f"{tmp_path}/programs"}, check=False, executable=shutil.which("sh"))
    assert told.returncode == 1 and "python3" in told.stderr
