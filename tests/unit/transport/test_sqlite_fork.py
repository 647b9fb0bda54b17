"""Forks and threads over one broker file."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from fastq import backends, transport
from fastq.exceptions import TransportError
from fastq.transport.base import Transport
from fastq.types import Endings, Message, QueueStat, Result


@pytest.fixture
def broker(tmp_path: Path) -> Transport:
    opened = transport.open(f"sqlite:///{tmp_path}/tasks.db")
    yield opened  # type: ignore[misc]
    opened.close()


def in_child(work: Callable[[], object], fork: Callable[[], int] = os.fork) -> int:
    """Run *work* in a forked child; returns its exit code."""
    child = fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def c_fork() -> int:
    """Fork as C code does, without Python's hooks."""
    return int(ctypes.PyDLL(None).fork())


@pytest.mark.parametrize("fork", [os.fork, c_fork])
def test_parent_and_child_both_go_on_publishing(broker: Transport, fork: Callable[[], int]) -> None:
    broker.publish_one("q", b"before")
    for _ in range(3):
        assert in_child(lambda: [broker.publish_one("q", b"child") for _ in range(10)], fork) == 0
        broker.publish_one("q", b"parent")
    assert broker.queues()["q"] == QueueStat(ready=34)


def kernel_locks(path: Path) -> int:
    """How many locks this process holds on a file, as the kernel knows them."""
    inode = path.stat().st_ino
    mine = 0
    for line in Path("/proc/locks").read_text().splitlines():
        fields = line.split()
        if "->" not in fields and int(fields[4]) == os.getpid() and int(fields[5].split(":")[2]) == inode:
            mine += 1
    return mine


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/locks, which only Linux has")
@pytest.mark.parametrize("fork", [os.fork, c_fork])
def test_a_child_holds_kernel_locks_of_its_own_and_the_parent_keeps_its(broker: Transport, tmp_path: Path,
                                                                         fork: Callable[[], int]) -> None:
    database = tmp_path / "tasks.db"
    broker.publish_one("q", b"x")
    assert kernel_locks(database) == 1

    def work() -> None:
        broker.publish_one("q", b"x")
        assert kernel_locks(database) == 1

    assert in_child(work, fork) == 0
    broker.publish_one("q", b"x")
    assert kernel_locks(database) == 1


def test_a_worker_survives_the_forks_of_its_process(broker: Transport) -> None:
    broker.publish([Message("q", b"%d" % n) for n in range(4)])
    broker.attach("w", ["q"], 30)
    (_, rows), = broker.turn(Endings(), 2)
    assert in_child(lambda: broker.publish_one("q", b"x")) == 0
    assert broker.keep() == 0
    (_, more), = broker.turn(Endings(ack=[(rows[0][0], rows[1][0])]), 10)
    assert [content for _, _, content in more] == [b"2", b"3", b"x"]


def test_a_child_is_no_consumer_and_its_close_takes_nothing_from_the_parent(broker: Transport) -> None:
    broker.publish_one("q", b"x")
    broker.attach("w", ["q"])
    broker.turn(Endings(), 1)

    def work() -> None:
        for call in (broker.arm, broker.keep, broker.fileno, lambda: broker.turn(Endings(), 1)):
            with pytest.raises(TransportError, match="attach"):
                call()
        broker.close()

    assert in_child(work) == 0
    assert broker.queues()["q"] == QueueStat(held=1)
    assert broker.keep() == 0


def test_a_child_can_become_a_consumer_of_its_own(broker: Transport) -> None:
    broker.publish([Message("q", b"1"), Message("q", b"2")])
    broker.attach("w", ["q"])
    broker.turn(Endings(), 1)

    def work() -> None:
        broker.attach("child", ["q"])
        (_, rows), = broker.turn(Endings(), 5)
        assert [content for _, _, content in rows] == [b"2"]
        broker.turn(Endings(ack=[(rows[0][0], rows[0][0])]), 0)
        broker.close()

    assert in_child(work) == 0
    assert broker.queues()["q"] == QueueStat(held=1)


def test_a_child_that_leaves_without_a_word_disturbs_nobody(broker: Transport) -> None:
    for _ in range(5):
        assert in_child(lambda: broker.publish_one("q", b"x")) == 0
    assert broker.queues()["q"] == QueueStat(ready=5)


def test_forks_among_busy_threads_lose_nothing(broker: Transport) -> None:
    over = threading.Event()
    counts = [0, 0, 0]

    def work(n: int) -> None:
        while not over.is_set():
            broker.publish_one("q", b"%d" % n)
            counts[n] += 1

    threads = [threading.Thread(target=work, args=(n,)) for n in range(3)]
    for thread in threads:
        thread.start()
    try:
        codes = [in_child(lambda: broker.publish_one("child", b"x")) for _ in range(20)]
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert codes == [0] * 20
    stats = broker.queues()
    assert stats["child"].ready == 20
    assert stats["q"].ready == sum(counts)


def test_results_are_stored_and_awaited_in_a_child(broker: Transport, tmp_path: Path) -> None:
    store = backends.open(f"sqlite:///{tmp_path}/tasks.db")
    assert store.wait(["a"], 0.001) == {}
    assert in_child(lambda: store.put([Result("a", "SUCCESS", b"1")])) == 0
    assert in_child(lambda: store.wait(["a"], 5)["a"]) == 0
    assert store.wait(["a"], 5) == {"a": b"1"}
    store.close()


def test_a_memory_broker_refuses_to_serve_a_forked_child() -> None:
    broker = transport.open("memory://fork")
    broker.publish_one("q", b"x")

    def work() -> None:
        with pytest.raises(TransportError, match="sqlite:///"):
            broker.publish_one("q", b"y")

    assert in_child(work) == 0
    assert broker.queues()["q"].ready == 1
    broker.close()


def test_transports_and_stores_of_one_file_share_it_until_the_last_is_closed(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/tasks.db"
    one, two, store = transport.open(url), transport.open(url), backends.open(url)
    one.publish_one("q", b"x")
    one.close()
    two.publish_one("q", b"x")
    two.close()
    assert store.get(["a"]) == {}
    store.close()
    assert not (tmp_path / "tasks.db-wal").exists(), "the log is folded in when the last one leaves"
