"""What every result store promises, run against every implementation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from fastq import backends, transport
from fastq.backends.base import ResultStore
from fastq.types import Endings, Result


def test_a_document_is_found_again(store: ResultStore) -> None:
    store.put([Result("a", "SUCCESS", b"1"), Result("b", "FAILURE", b"\0\xff")])
    assert store.get(["a", "b", "c"]) == {"a": b"1", "b": b"\0\xff"}
    assert store.get([]) == {}


def test_the_last_document_of_a_task_counts(store: ResultStore) -> None:
    for state, meta in (("STARTED", b"1"), ("RETRY", b"2"), ("FAILURE", b"3")):
        store.put([Result("a", state, meta)])
        assert store.get(["a"]) == {"a": meta}


def test_nothing_overwrites_a_success(store: ResultStore) -> None:
    store.put([Result("a", "SUCCESS", b"1")])
    store.put([Result("a", "FAILURE", b"2"), Result("b", "STARTED", b"3")])
    store.put([Result("a", "SUCCESS", b"4")])
    assert store.get(["a", "b"]) == {"a": b"1", "b": b"3"}


def test_many_documents_are_fetched_at_once(store: ResultStore) -> None:
    store.put([Result(f"id-{n}", "SUCCESS", b"%d" % n) for n in range(3000)])
    found = store.get([f"id-{n}" for n in range(3100)])
    assert found == {f"id-{n}": b"%d" % n for n in range(3000)}


def test_an_expired_document_is_not_found_and_can_be_pruned(store: ResultStore) -> None:
    past, future = time.time() - 1, time.time() + 60
    store.put([Result(f"old-{n}", "SUCCESS", b"", past) for n in range(5)] + [Result("new", "SUCCESS", b"", future),
                                                                           Result("kept", "SUCCESS", b"", None)])
    assert store.get(["old-1", "new", "kept"]) == {"new": b"", "kept": b""}
    assert [store.prune(3), store.prune(3), store.prune(3)] == [3, 2, 0]
    assert set(store.get(["new", "kept"])) == {"new", "kept"}


def test_an_expired_success_gives_way_to_a_new_document(store: ResultStore) -> None:
    store.put([Result("a", "SUCCESS", b"old", time.time() - 1)])
    store.put([Result("a", "STARTED", b"new")])
    assert store.get(["a"]) == {"a": b"new"}


def test_a_forgotten_document_is_gone(store: ResultStore) -> None:
    store.put([Result("a", "SUCCESS", b""), Result("b", "SUCCESS", b"")])
    store.forget(["a", "unknown"])
    assert store.get(["a", "b"]) == {"b": b""}
    store.put([Result("a", "FAILURE", b"again")])
    assert store.get(["a"]) == {"a": b"again"}


def test_wait_returns_at_once_what_is_ready(store: ResultStore) -> None:
    store.put([Result("a", "SUCCESS", b"1"), Result("b", "STARTED", b"2")])
    assert store.wait(["a", "b"], 5) == {"a": b"1"}


@pytest.mark.parametrize("timeout", [0, 0.02, -1])
def test_wait_returns_nothing_when_the_time_is_over(store: ResultStore, timeout: float) -> None:
    store.put([Result("a", "STARTED", b"")])
    began = time.monotonic()
    assert store.wait(["a"], timeout) == {}
    assert time.monotonic() - began >= timeout
    assert store.wait([], 1) == {}


def test_wait_wakes_when_the_document_becomes_ready(store: ResultStore, broker_url: str) -> None:
    other = backends.open(broker_url)
    found: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(store.wait(["a", "b"], 20)))
    thread.start()
    for state in ("STARTED", "RETRY", "SUCCESS"):
        other.put([Result("b", state, state.encode())])
    thread.join(15)
    other.close()
    assert found == [{"b": b"SUCCESS"}]


def test_many_threads_wait_at_once_and_each_gets_its_own(store: ResultStore, broker_url: str) -> None:
    other = backends.open(broker_url)
    found: dict[str, bytes] = {}

    def wait(name: str) -> None:
        found.update(store.wait([name], 20))

    threads = [threading.Thread(target=wait, args=(f"id-{n}",)) for n in range(30)]
    for thread in threads:
        thread.start()
    for n in reversed(range(30)):
        other.put([Result(f"id-{n}", "SUCCESS", b"%d" % n)])
    for thread in threads:
        thread.join(15)
    other.close()
    assert found == {f"id-{n}": b"%d" % n for n in range(30)}


def test_no_result_is_slept_through(store: ResultStore, broker_url: str) -> None:
    other = backends.open(broker_url)
    turn = threading.Semaphore(0)

    def produce() -> None:
        for n in range(500):
            other.put([Result(f"id-{n}", "SUCCESS", b"")])
            turn.acquire()

    thread = threading.Thread(target=produce)
    thread.start()
    slowest = 0.0
    for n in range(500):
        began = time.monotonic()
        assert store.wait([f"id-{n}"], 20)
        slowest = max(slowest, time.monotonic() - began)
        turn.release()
    thread.join()
    other.close()
    assert slowest < 4, "it was the safety net that found a result, not the bell"


def test_results_that_leave_with_the_acks_wake_those_who_wait(store: ResultStore, broker_url: str) -> None:
    worker = transport.open(broker_url)
    assert worker.caps.stores_results
    worker.attach("w", ["q"])
    worker.publish_one("q", b"x")
    (_, rows), = worker.turn(Endings(), 1)
    tag = rows[0][0]
    found: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(store.wait(["a"], 20)))
    thread.start()
    worker.turn(Endings(ack=[(tag, tag)], results=[Result("a", "SUCCESS", b"4"), Result("a", "FAILURE", b"5")]), 0)
    thread.join(15)
    worker.close()
    assert found == [{"a": b"4"}]


def test_a_worker_prunes_expired_results(store: ResultStore, broker_url: str) -> None:
    store.put([Result(f"{n}", "SUCCESS", b"", time.time() - 1) for n in range(10)])
    worker = transport.open(broker_url)
    worker.attach("w", ["q"])
    worker.keep()
    worker.close()
    assert store.prune() == 0


def test_closing_twice_is_fine(broker_url: str) -> None:
    store = backends.open(broker_url)
    store.close()
    store.close()


def test_a_store_may_be_closed_while_another_thread_waits(broker_url: str,
                                                          eventually: Callable[..., None]) -> None:
    store = backends.open(broker_url)
    file = store._file  # type: ignore[attr-defined]
    found: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: found.append(store.wait(["never"], 0.2)))
    thread.start()
    eventually(lambda: file._users == 2)
    store.close()
    thread.join(10)
    assert found == [{}]


def test_a_waiting_thread_leaves_its_place_to_the_next(store: ResultStore) -> None:
    for _ in range(600):  # more than there are places
        assert store.wait(["never"], 0.0001) == {}
