"""Results on one Redis, between Celery's own backend and ours, in both directions."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import celery
import pytest

import fastq
from fastq.transport.redis_link import Link
from tests.deadline import wait_until
from tests.unit.backends.redisstore import channels

# Celery calls what redis-py has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Call to deprecated setex:DeprecationWarning")

SERIALIZERS = ("json", "msgpack", "yaml", "pickle")
VALUES: list[Any] = [5, None, {"a": [1, 2.5, "\u2603"]}, "x" * 300_000]


@pytest.fixture(params=[*SERIALIZERS, "json zlib", "pickle zstd"])
def make(request: pytest.FixtureRequest, redis_url: str) -> Callable[[Any], Any]:
    serializer, _, compression = request.param.partition(" ")
    return lambda cls: cls(
        "both", broker="memory://both", backend=redis_url, set_as_current=False, result_serializer=serializer,
        result_compression=compression or None, accept_content=list(SERIALIZERS),
        result_backend_transport_options={"global_keyprefix": "shop"}, result_failure_expires=100)


@pytest.fixture
def ours(make: Callable[[Any], Any]) -> Iterator[Any]:
    with make(fastq.Celery) as app:
        yield app


@pytest.fixture
def theirs(make: Callable[[Any], Any]) -> Iterator[Any]:
    app = make(celery.Celery)
    yield app
    app.backend.result_consumer.stop()
    app.backend.client.close()
    app.close()


def in_a_thread(result: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(result.get(timeout=20))
        except Exception as error:
            found.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    return thread, found


def test_we_read_what_celery_stores_and_are_woken_by_it(ours: Any, theirs: Any, link: Link) -> None:
    for number, value in enumerate(VALUES):
        theirs.backend.store_result(f"kept-{number}", value, "SUCCESS")
        assert ours.AsyncResult(f"kept-{number}").get(timeout=20) == value
        thread, found = in_a_thread(ours.AsyncResult(f"awaited-{number}"))
        wait_until(lambda number=number: f"awaited-{number}" in ours.backend._waits._ear._channels)  # type: ignore[misc]
        theirs.backend.store_result(f"awaited-{number}", {"at": 1}, "PROGRESS")
        theirs.backend.store_result(f"awaited-{number}", value, "SUCCESS")
        thread.join(20)
        assert found == [value]
    theirs.backend.store_result("failed", KeyError("missing"), "FAILURE", traceback="Traceback ...")
    failed = ours.AsyncResult("failed")
    with pytest.raises(KeyError, match="missing"):
        failed.get(timeout=20)
    assert failed.traceback == "Traceback ..."


def test_celery_reads_what_we_store_and_is_woken_by_it(ours: Any, theirs: Any, link: Link) -> None:
    for number, value in enumerate(VALUES):
        ours.store_result(f"kept-{number}", value, "SUCCESS")
        assert theirs.AsyncResult(f"kept-{number}").get(timeout=20) == value
        before = channels(link)
        thread, found = in_a_thread(theirs.AsyncResult(f"awaited-{number}"))
        wait_until(lambda before=before: channels(link) > before)  # type: ignore[misc]
        ours.store_result(f"awaited-{number}", {"at": 1}, "PROGRESS")
        ours.store_result(f"awaited-{number}", value, "SUCCESS")
        thread.join(20)
        assert found == [value]
    ours.store_result("failed", KeyError("missing"), "FAILURE", "Traceback ...")
    failed = theirs.AsyncResult("failed")
    with pytest.raises(KeyError, match="missing"):
        failed.get(timeout=20)
    assert failed.traceback == "Traceback ..."
    assert 90 < link.call("TTL", "shop_celery-task-meta-failed") <= 100  # type: ignore[operator]


def test_a_success_of_either_stays_whatever_the_other_says(ours: Any, theirs: Any) -> None:
    ours.store_result("ours", 1, "SUCCESS")
    theirs.backend.store_result("ours", ValueError("late"), "FAILURE")
    theirs.backend.store_result("theirs", 2, "SUCCESS")
    ours.store_result("theirs", ValueError("late"), "FAILURE")
    for app in (ours, theirs):
        assert [app.AsyncResult(name).get(timeout=20) for name in ("ours", "theirs")] == [1, 2]


def test_what_either_forgets_is_gone_for_both(ours: Any, theirs: Any) -> None:
    ours.store_result("a", 1, "SUCCESS")
    theirs.backend.store_result("b", 2, "SUCCESS")
    theirs.AsyncResult("a").forget()
    ours.AsyncResult("b").forget()
    for app in (ours, theirs):
        assert [app.AsyncResult(name).state for name in "ab"] == ["PENDING", "PENDING"]
