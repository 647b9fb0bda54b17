"""What every result store promises, run against every implementation.

Where documents travel as messages they come a moment later, and only the process that is named in them gets them; so
what is put here, is put as a worker elsewhere does it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from fastq import backends, transport
from fastq._ext import envelope
from fastq.backends.base import ResultStore
from fastq.types import Endings, Result
from tests.deadline import wait_until

_marks = count()


class Kept:
    """The store of a client, and a worker's way to it."""

    def __init__(self, open_store: Callable[[], Any]) -> None:
        self.store: ResultStore = open_store()
        self._elsewhere: ResultStore = open_store()
        self._address = self.store.expect() if hasattr(self.store, "expect") else None

    def send(self, *results: Result) -> None:
        """Store documents as a worker does; they may come a moment later."""
        self._elsewhere.put([result._replace(reply_to=self._address) for result in results])

    def put(self, *results: Result) -> None:
        """Store documents, and see them come."""
        mark = f"mark-{next(_marks)}"
        self.send(*results, Result(mark, "SUCCESS", _document("SUCCESS", mark)))
        assert self.store.wait([mark], 20)

    def close(self) -> None:
        self.store.close()
        self._elsewhere.close()


@pytest.fixture(params=["sqlite", "memory", pytest.param("rpc", marks=pytest.mark.rabbitmq),
                        *(pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("redis", "cluster"))])
def kept(request: pytest.FixtureRequest) -> Iterator[Kept]:
    if request.param == "rpc":
        options = {"brokers": request.getfixturevalue("amqp_url")}
        one = Kept(lambda: backends.open("rpc://", options))
    elif request.param in ("redis", "cluster"):
        url = request.getfixturevalue(f"{request.param}_url")
        one = Kept(lambda: backends.open(url))
    else:
        one = Kept(lambda: backends.open(f"{request.param}:///{request.node.name}.db"))
    yield one
    one.close()


def _document(state: str, word: object = "") -> bytes:
    return f'{{"status": "{state}", "result": "{word}"}}'.encode()


def of(task_id: str, state: str, word: object = "") -> Result:
    return Result(task_id, state, _document(state, word))


def test_a_document_is_found_again(kept: Kept) -> None:
    kept.put(of("a", "SUCCESS"), Result("b", "FAILURE", b"\0\xff"))
    assert kept.store.get(["a", "b", "c"]) == {"a": _document("SUCCESS"), "b": b"\0\xff"}
    assert kept.store.get([]) == {}


def test_the_last_document_of_a_task_counts(kept: Kept) -> None:
    for state in ("STARTED", "RETRY", "FAILURE"):
        kept.put(of("a", state))
        assert kept.store.get(["a"]) == {"a": _document(state)}


def test_nothing_overwrites_a_success(kept: Kept) -> None:
    kept.put(of("a", "SUCCESS", 1))
    kept.put(of("a", "FAILURE", 2), of("b", "STARTED", 3))
    kept.put(of("a", "SUCCESS", 4))
    assert kept.store.get(["a", "b"]) == {"a": _document("SUCCESS", 1), "b": _document("STARTED", 3)}


def test_many_documents_are_fetched_at_once(kept: Kept) -> None:
    kept.put(*(of(f"id-{n}", "SUCCESS", n) for n in range(3000)))
    found = kept.store.get([f"id-{n}" for n in range(3100)])
    assert found == {f"id-{n}": _document("SUCCESS", n) for n in range(3000)}


def test_an_expired_document_is_not_found_and_can_be_pruned(store: ResultStore) -> None:
    past, future = time.time() - 1, time.time() + 60
    store.put([Result(f"old-{n}", "SUCCESS", b"", past) for n in range(5)] + [Result("new", "SUCCESS", b"", future),
                                                                           Result("kept", "SUCCESS", b"", None)])
    assert store.get(["old-1", "new", "kept"]) == {"new": b"", "kept": b""}
    # A server that drops what has expired has nothing left to prune.
    assert [store.prune(3), store.prune(3), store.prune(3)] in ([3, 2, 0], [0, 0, 0])
    assert set(store.get(["new", "kept"])) == {"new", "kept"}


def test_an_expired_success_gives_way_to_a_new_document(store: ResultStore) -> None:
    store.put([Result("a", "SUCCESS", b"old", time.time() - 1)])
    store.put([Result("a", "STARTED", b"new")])
    assert store.get(["a"]) == {"a": b"new"}


def test_a_forgotten_document_is_gone(kept: Kept) -> None:
    kept.put(of("a", "SUCCESS"), of("b", "SUCCESS"))
    kept.store.forget(["a", "unknown"])
    assert kept.store.get(["a", "b"]) == {"b": _document("SUCCESS")}
    kept.put(of("a", "FAILURE", "again"))
    assert kept.store.get(["a"]) == {"a": _document("FAILURE", "again")}


def test_wait_returns_at_once_what_is_ready(kept: Kept) -> None:
    kept.put(of("a", "SUCCESS"), of("b", "STARTED"))
    assert kept.store.wait(["a", "b"], 5) == {"a": _document("SUCCESS")}
    assert kept.store.wait(["a", "b"], 5) == {"a": _document("SUCCESS")}


@pytest.mark.parametrize("timeout", [0, 0.02, -1])
def test_wait_returns_nothing_when_the_time_is_over(kept: Kept, timeout: float) -> None:
    kept.put(of("a", "STARTED"))
    began = time.monotonic()
    assert kept.store.wait(["a"], timeout) == {}
    assert time.monotonic() - began >= timeout
    assert kept.store.wait([], 1) == {}


def test_wait_without_patience_sees_what_has_come(kept: Kept, eventually: Callable[..., None]) -> None:
    kept.send(of("a", "SUCCESS"))
    eventually(lambda: kept.store.wait(["a"], 0) == {"a": _document("SUCCESS")})


def test_wait_wakes_when_the_document_becomes_ready(kept: Kept) -> None:
    found: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(kept.store.wait(["a", "b"], 20)))
    thread.start()
    for state in ("STARTED", "RETRY", "SUCCESS"):
        kept.send(of("b", state))
    thread.join(15)
    assert found == [{"b": _document("SUCCESS")}]


def test_many_threads_wait_at_once_and_each_gets_its_own(kept: Kept) -> None:
    found: dict[str, bytes] = {}

    def wait(name: str) -> None:
        found.update(kept.store.wait([name], 20))

    threads = [threading.Thread(target=wait, args=(f"id-{n}",)) for n in range(30)]
    for thread in threads:
        thread.start()
    for n in reversed(range(30)):
        kept.send(of(f"id-{n}", "SUCCESS", n))
    for thread in threads:
        thread.join(15)
    assert found == {f"id-{n}": _document("SUCCESS", n) for n in range(30)}


def test_no_result_is_slept_through(kept: Kept) -> None:
    turn = threading.Semaphore(0)

    def produce() -> None:
        for n in range(500):
            kept.send(of(f"id-{n}", "SUCCESS"))
            turn.acquire()

    thread = threading.Thread(target=produce)
    thread.start()
    slowest = 0.0
    for n in range(500):
        began = time.monotonic()
        assert kept.store.wait([f"id-{n}"], 20)
        slowest = max(slowest, time.monotonic() - began)
        turn.release()
    thread.join()
    assert slowest < 4, "it was the safety net that found a result, not the bell"


def test_results_that_leave_with_the_acks_wake_those_who_wait(store: ResultStore, broker_url: str) -> None:
    worker = transport.open(broker_url)
    assert worker.caps.stores_results
    worker.attach("w", ["q"])
    worker.publish_one("q", envelope.pack({}, {}, b"x"))
    (_, rows), = wait_until(lambda: worker.turn(Endings(), 1))
    tag = rows[0][0]
    found: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(store.wait(["a"], 20)))
    thread.start()
    worker.turn(Endings(ack=[(tag, tag)], results=[of("a", "SUCCESS", 4), of("a", "FAILURE", 5)]), 0)
    thread.join(15)
    worker.close()
    assert found == [{"a": _document("SUCCESS", 4)}]


def test_a_worker_prunes_expired_results(store: ResultStore, broker_url: str) -> None:
    store.put([Result(f"{n}", "SUCCESS", b"", time.time() - 1) for n in range(10)])
    worker = transport.open(broker_url)
    worker.attach("w", ["q"])
    worker.keep()
    worker.close()
    assert store.prune() == 0


def test_closing_twice_is_fine(kept: Kept) -> None:
    kept.close()
    kept.close()


def test_a_store_may_be_closed_while_another_thread_waits(file_url: str, eventually: Callable[..., None]) -> None:
    store = backends.open(file_url)
    file = store._file  # type: ignore[attr-defined]
    found: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(store.wait(["never"], 0.2)))
    thread.start()
    eventually(lambda: file._users == 2)
    store.close()
    thread.join(10)
    assert found == [{}]


def test_a_waiting_thread_leaves_its_place_to_the_next(kept: Kept) -> None:
    for _ in range(600):  # more than there are places
        assert kept.store.wait(["never"], 0.0001) == {}
