"""The fork server as processes, without a worker: what it answers, how it ends, whose its children are."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from fastq.exceptions import ConfigError, PoolError
from fastq.pool import adopted, forker, forkserver
from fastq.pool.adopted import Adopted
from fastq.pool.forkserver import CRASH_LIMIT, ForkServer
from tests.deadline import wait_until


def nothing() -> Callable[[int], int]:
    return lambda index: index


def waits() -> Callable[[int], int]:
    def main(index: int) -> int:
        signal.pause()
        return 0

    return main


@pytest.fixture
def serve() -> Iterator[Callable[..., ForkServer]]:
    """Return ``serve(prepare)``: a fork server that is a fork of this process."""
    made: list[ForkServer] = []

    def make(prepare: Callable[[], Any] = waits) -> ForkServer:
        parent = os.getpid()

        def start(fd: int) -> int:
            if (pid := os.fork()) == 0:
                only_socket(fd)
                os._exit(forker.serve(os.dup(fd), prepare, parent))
            return pid

        made.append(ForkServer(start))
        return made[-1]

    yield make
    for one in made:
        one.close()


def only_socket(fd: int) -> None:
    """Close all others, as in a new interpreter: among them is the supervisor's end."""
    for other in map(int, os.listdir("/proc/self/fd")):
        if other != fd and os.path.exists(path := f"/proc/self/fd/{other}") and "socket:" in os.readlink(path):
            os.close(other)


def ask(server: ForkServer, index: int = 0) -> int:
    return wait_until(lambda: server(index), what="a child")


def test_children_are_the_supervisors_own(serve: Callable[..., ForkServer]) -> None:
    server = serve(nothing)
    pids = [ask(server, index) for index in (0, 3)]
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids] == [0, 3]


def test_children_that_nobody_came_back_for_end_with_it(serve: Callable[..., ForkServer],
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "ANSWER_S", 0.0)
    before = psutil.Process().children()
    server = serve()
    wait_until(lambda: server.tend() or server._is_ready, what="the server")
    for index in range(3):
        server(index)       # of some the answer is not there yet
    server.close()
    assert psutil.Process().children() == before
    server._adopted = Adopted()     # for the fixture, which closes it once more


def test_one_that_cannot_prepare_says_why_and_is_not_started_again(serve: Callable[..., ForkServer]) -> None:
    def prepare() -> Any:
        raise ImportError("no module named 'shop'")

    with pytest.raises(PoolError, match="the fork server cannot import the app: ImportError: no module named 'shop'"):
        ask(serve(prepare))


def test_those_that_end_before_they_can_be_asked_end_in_one_error(
        serve: Callable[..., ForkServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forkserver, "PAUSE_S", 0.0)
    started: list[int] = []

    def prepare() -> Any:
        os._exit(9)

    server = serve(prepare)
    start = server._start_process
    server._start_process = lambda fd: started.append(fd) or start(fd)  # type: ignore[func-returns-value]
    with pytest.raises(PoolError, match="exited with status 9, the 6th in a row before it had imported the app"):
        ask(server)
    assert len(started) == CRASH_LIMIT + 1


def test_one_that_never_comes_is_warned_of_and_killed(serve: Callable[..., ForkServer],
                                                      monkeypatch: pytest.MonkeyPatch,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    def prepare() -> Any:
        signal.pause()

    server = serve(prepare)
    began = forkserver.time.monotonic()
    now = [began]
    monkeypatch.setattr(forkserver.time, "monotonic", lambda: now[0])
    assert server(0) == 0
    now[0] = began + 5.0
    server.tend()
    server.tend()
    assert caplog.text.count("has not imported the app after 4.0 s; it is waited for") == 1
    now[0] = began + forkserver.LATE_S + 1
    server.tend()
    monkeypatch.undo()
    wait_until(lambda: server.tend() or "was killed by SIGKILL" in caplog.text, what="its end")


def test_a_process_that_cannot_be_forked_is_an_error_of_the_system(serve: Callable[..., ForkServer]) -> None:
    def prepare() -> Any:
        def fork() -> int:
            raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

        os.fork = fork      # in the server's process only
        return lambda index: index

    with pytest.raises(BlockingIOError):
        ask(serve(prepare))


def test_a_child_that_the_supervisor_never_heard_of_does_not_begin(tmp_path: Path) -> None:
    def main(index: int) -> int:
        (tmp_path / "began").touch()
        return 0

    family = Adopted()
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.close()
        with theirs, mmap.mmap(-1, 4) as note:
            with pytest.raises(BrokenPipeError):
                forker._bear(theirs, note, main, 0)
            (pid,) = forker.WANT.unpack_from(note)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert not (tmp_path / "began").exists()
    finally:
        family.close()


def test_orphans_are_reaped_when_nobody_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(adopted.time, "monotonic", lambda: now[0])
    family = Adopted()
    try:
        script = "import os\npid = os.fork()\nif pid: print(pid, flush=True)\nos._exit(0)"
        orphan = int(subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, check=True).stdout)
        ours = subprocess.Popen([sys.executable, "-c", "pass"])
        for pid in (orphan, ours.pid):
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        family.reap()
        assert ours.wait() == 0
        assert is_there(orphan)
        family.reap()           # too early for a second look
        assert is_there(orphan)
        now[0] += adopted.LOOK_S
        family.reap()
        assert not is_there(orphan)
    finally:
        family.close()


def test_where_orphans_cannot_be_adopted_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adopted, "adopt_orphans", lambda on: False)
    with pytest.raises(ConfigError, match=r"worker_pool_start_method is 'forkserver', which takes a Linux: .*'spawn'"):
        ForkServer(lambda fd: 0)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()
