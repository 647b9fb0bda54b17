"""What holds for every test.

1. In CI (`CI=true`) or under `FASTQ_STRICT=1` a skipped or expectedly failing test is a failure.
2. A test runs in an empty folder of its own.
3. A test that leaves a child process behind fails, and the child is killed; so is what the whole run leaves.
   Servers that stand for the whole run (tests/servers) are no test's children.
4. Programs that tests start import fastq from this tree.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest

from tests.servers import STANDING

pytest_plugins = ["pytester", "tests.servers.rabbitmq", "tests.servers.redis"]

STRICT = os.environ.get("CI") == "true" or os.environ.get("FASTQ_STRICT") == "1"
RUN_ID = uuid.uuid4().hex
# Python's own attendants: one each for the whole session, ended by Python itself.
ATTENDANTS = ("multiprocessing.resource_tracker", "multiprocessing.forkserver")

os.environ["FASTQ_TEST_RUN"] = RUN_ID
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(Path(__file__).parents[1]), os.getenv("PYTHONPATH")]))

# Chance finds new failures on a desk; CI asks whether this change is right, and must answer the same twice.
hypothesis.settings.register_profile("fastq", deadline=None, database=None, derandomize=STRICT, print_blob=True,
                                     max_examples=int(os.environ.get("FASTQ_EXAMPLES", "100")))
hypothesis.settings.load_profile("fastq")


def _fail_if_skipped(report: Any) -> Any:
    if STRICT and report.skipped:
        why = getattr(report, "wasxfail", None) or report.longrepr
        report.outcome, report.longrepr = "failed", f"no test may be skipped here: {why}"
        report.__dict__.pop("wasxfail", None)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Iterator[None]:
    return _fail_if_skipped((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Iterator[None]:
    return _fail_if_skipped((yield))


@pytest.fixture(autouse=True)
def _folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def _no_children_left() -> Iterator[None]:
    before = _children()
    yield
    if left := [child for child in _children() if child not in before]:
        names = _end(left)
        pytest.fail(f"the test left child processes behind: {names}", pytrace=False)


@pytest.fixture(scope="session", autouse=True)
def _no_orphans_left() -> Iterator[None]:
    yield
    if left := [process for process in psutil.process_iter() if _is_ours(process)]:
        names = _end(left)
        pytest.fail(f"the run left orphans behind: {names}", pytrace=False)


def _children() -> list[psutil.Process]:
    try:  # one system call, where psutil reads the status of every process of the machine
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return []
    standing = {pid for server in STANDING for pid in server.pids}
    return [child for child in _all_children() if child.pid not in standing and not _is_attendant(child)]


def _all_children() -> Iterator[psutil.Process]:
    lists = list(Path("/proc/self/task").glob("*/children"))  # one for each thread; only Linux has them
    if not lists:
        yield from psutil.Process().children()
    for pid in (pid for each in lists for pid in _words(each)):
        try:
            yield psutil.Process(int(pid))
        except psutil.NoSuchProcess:
            continue


def _words(file: Path) -> list[str]:
    try:
        return file.read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []   # the thread ended meanwhile, and its children are another's


def _is_attendant(process: psutil.Process) -> bool:
    try:
        return any(name in word for word in process.cmdline() for name in ATTENDANTS)
    except psutil.Error:
        return False


def _is_ours(process: psutil.Process) -> bool:
    try:
        return process.pid != os.getpid() and process.environ().get("FASTQ_TEST_RUN") == RUN_ID \
            and process.status() != psutil.STATUS_ZOMBIE and not _is_attendant(process)
    except psutil.Error:
        return False


def _end(processes: list[psutil.Process]) -> str:
    names = []
    for process in processes:
        try:
            test = process.environ().get("PYTEST_CURRENT_TEST", "")
            command = " ".join(" ".join(process.cmdline()).split())
            names.append(f"{process.pid} ({process.status()}, {command}, {test or 'no test known'})")
            process.kill()
        except psutil.Error:
            names.append(f"{process.pid} has ended, not waited for")
    psutil.wait_procs(processes, timeout=5)
    return "; ".join(names)
