"""Prove that what would be released works: sdist -> wheel -> empty environment -> one task, on every CPython.

    python tools/verify_wheels.py [PYTHON ...]

Without arguments: the newest of each minor version that the classifiers name, of those under pyenv and on PATH.
A version that is not on this machine is named, and does not fail.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DECLARED = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
VERSION = "import platform, sys; print(platform.python_implementation(), sys.version.split()[0])"


def interpreters() -> dict[str, str]:
    """Version -> path, the newest of each declared minor version."""
    candidates = [*Path.home().glob(".pyenv/versions/*/bin/python")]
    for folder in os.get_exec_path():
        candidates += [Path(folder, f"python{version}") for version in DECLARED]
    found: dict[str, tuple[list[int], str]] = {}
    for path in filter(Path.exists, candidates):
        asked = subprocess.run([path, "-c", VERSION], capture_output=True, text=True, check=False).stdout.split()
        if len(asked) == 2 and asked[0] == "CPython" and (numbers := re.findall(r"\d+", asked[1])):
            minor = ".".join(numbers[:2])
            row = ([int(number) for number in numbers], str(path))
            if minor in DECLARED and row[0] > found.get(minor, ([], ""))[0]:
                found[minor] = row
    return {minor: path for minor, (_, path) in sorted(found.items(), key=lambda item: item[1])}


def run(*argv: object, cwd: Path = ROOT) -> None:
    # What points at this tree or at the environment that we run in must not reach the empty one.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([str(word) for word in argv], cwd=cwd, env=environment, check=True)


def build_sdist(folder: Path) -> Path:
    run(sys.executable, "-m", "build", "--sdist", "--outdir", folder)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = [name.partition("/")[2] for name in archive.getnames()]
    sources = [f"ext/{path.name}" for path in (ROOT / "ext").iterdir() if path.suffix in (".pyx", ".pxd", ".h")]
    missing = {*sources, "LICENSE", "setup.py", "fastq/py.typed"} - {*names}
    strays = [name for name in names if name.endswith((".c", ".so", ".html", ".pyc", ".db"))]
    if missing or strays:
        raise SystemExit(f"the sdist lacks {sorted(missing)} and should not hold {strays}")
    return sdist


def build_wheel(python: Path, sdist: Path, folder: Path) -> Path:
    run(python, "-m", "pip", "wheel", "-q", "--no-deps", "--no-cache-dir", "-w", folder, sdist)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    strays = [name for name in names if name.endswith((".c", ".pyx", ".pxd", ".html")) or not name.startswith("fastq")]
    if strays:
        raise SystemExit(f"{wheel.name} should not hold {strays}")
    return wheel


def verify(python: str, sdist: Path, folder: Path) -> str:
    """Build a wheel with *python*, install it in an empty environment, run the smoke test; returns its name."""
    building, empty = folder / "building", folder / "empty"
    for environment in (building, empty):
        run(python, "-m", "venv", environment)
    wheel = build_wheel(building / "bin/python", sdist, folder)
    run(empty / "bin/python", "-m", "pip", "install", "-q", wheel)
    run(empty / "bin/python", "-I", ROOT / "tests/packaging/smoke.py", cwd=folder)
    return wheel.name


def main(paths: list[str]) -> int:
    chosen = dict(zip(paths, paths, strict=True)) or interpreters()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        sdist = build_sdist(Path(folder))
        for name, python in chosen.items():
            started = time.monotonic()
            place = Path(folder, f"on-{len(rows)}")
            place.mkdir()
            try:
                outcome = verify(python, sdist, place)
            except (subprocess.CalledProcessError, SystemExit) as error:
                outcome = f"FAILED: {error}"
            rows.append((name, outcome, time.monotonic() - started))
    for name, outcome, seconds in rows:
        print(f"{name:6} {seconds:6.1f} s  {outcome}")
    if absent := [version for version in DECLARED if version not in chosen and not paths]:
        print(f"declared, but not on this machine: {', '.join(absent)}")
    return 1 if not rows or any("FAILED" in outcome for _, outcome, _ in rows) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
