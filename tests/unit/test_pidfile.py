"""One process for one pid file, whatever became of the last one. With real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from fastq.exceptions import ConfigError
from fastq.pidfile import Pidfile

Owners = list[subprocess.Popen[str]]
OWNER = """
import os, sys
from fastq.pidfile import Pidfile
pidfile = Pidfile(sys.argv[1]).acquire()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def owners() -> Iterator[Owners]:
    """Processes that have a pid file; each ends when the test does."""
    started: Owners = []
    yield started
    for process in started:
        process.kill()
        process.communicate()


def _own(owners: Owners, path: Path, program: str = OWNER) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE,
                               stdout=subprocess.PIPE, text=True)
    owners.append(process)
    assert process.stdout
    assert process.stdout.readline()
    return process


def test_the_file_holds_the_number_while_the_block_runs(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    with Pidfile(path) as pidfile:
        assert path.read_text() == f"{os.getpid()}\n"
        assert path.stat().st_mode & 0o777 == 0o644
        assert pidfile.read() == os.getpid()
    assert not path.exists()
    assert pidfile.read() is None
    pidfile.release()


def test_a_second_process_is_refused_by_the_number_of_the_first(tmp_path: Path, owners: Owners) -> None:
    path = tmp_path / "worker.pid"
    owner = _own(owners, path)
    for attempt in (Pidfile(path).acquire, Pidfile(path).check):
        with pytest.raises(ConfigError, match=rf"worker\.pid belongs to process {owner.pid}, which is running; stop"):
            attempt()
    assert path.read_text() == f"{owner.pid}\n"


def test_the_file_goes_when_its_owner_exits(tmp_path: Path, owners: Owners) -> None:
    path = tmp_path / "worker.pid"
    owner = _own(owners, path)
    owner.communicate()
    assert owner.returncode == 0
    assert not path.exists()


def test_a_file_left_by_a_killed_owner_is_taken_over(tmp_path: Path, owners: Owners,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "worker.pid"
    owner = _own(owners, path)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    assert path.read_text() == f"{owner.pid}\n"
    Pidfile(path).check()
    with Pidfile(path):
        assert path.read_text() == f"{os.getpid()}\n"
    assert f"was left by process {owner.pid}, which is gone; taking it over" in caplog.text


def test_a_number_that_another_program_got_since_counts_as_gone(tmp_path: Path, owners: Owners) -> None:
    path = tmp_path / "worker.pid"
    other = _own(owners, tmp_path / "other.pid")
    path.write_text(f"{other.pid}\n")
    before = psutil.Process(other.pid).create_time() - 60
    os.utime(path, (before, before))
    with Pidfile(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_running_program_that_takes_no_lock_counts(tmp_path: Path, owners: Owners) -> None:
    path = tmp_path / "worker.pid"
    other = _own(owners, path, "import os, sys; open(sys.argv[1], 'w').write(str(os.getpid()) + '\\n'); "
                               "print(1, flush=True); sys.stdin.read()")
    with pytest.raises(ConfigError, match=f"belongs to process {other.pid}"):
        Pidfile(path).acquire()
    assert path.read_text() == f"{other.pid}\n"


@pytest.mark.parametrize("content", ["", "\n", "rubbish\n", "0\n", "99999999999999999999\n", "\xff\n"])
def test_a_broken_file_is_taken_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(content, "latin-1")
    with Pidfile(path):
        assert path.read_text() == f"{os.getpid()}\n"


def test_a_file_with_our_own_number_is_ours_as_in_a_container_that_started_again(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text(f"{os.getpid()}\n")
    with Pidfile(path):
        assert path.exists()


def test_check_leaves_no_file_behind(tmp_path: Path) -> None:
    Pidfile(tmp_path / "worker.pid").check()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_replaced_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    pidfile = Pidfile(path).acquire()
    path.unlink()
    path.write_text("1\n")
    pidfile.release()
    assert path.read_text() == "1\n"


def test_a_child_neither_removes_the_file_nor_keeps_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    pidfile = Pidfile(path).acquire()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writer)
        pidfile.release()
        os.read(reader, 1)
        os._exit(0)
    os.close(reader)
    try:
        assert path.exists()
        pidfile.release()
        assert not path.exists()
        with Pidfile(path):  # while the child of the first owner still runs
            assert path.exists()
    finally:
        os.close(writer)
        os.waitpid(child, 0)


def test_of_many_that_start_at_once_exactly_one_gets_the_file(tmp_path: Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text("99999999\n")
    program = """
import sys
from fastq.pidfile import Pidfile
from fastq.exceptions import ConfigError
sys.stdin.readline()
try:
    Pidfile(sys.argv[1]).acquire()
    print("got", flush=True)
except ConfigError:
    print("refused", flush=True)
sys.stdin.readline()
"""
    processes = [subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE,
                                  stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(6)]
    answers = []
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        assert process.stdout
        answers.append(process.stdout.readline().strip())
    for process in processes:
        process.communicate("done\n")
    assert sorted(answers) == ["got"] + ["refused"] * 5


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write the pid file .*/none/worker\.pid: No such file or directory"):
        Pidfile(tmp_path / "none" / "worker.pid").acquire()
