"""Results over one broker, between Celery's own rpc backend and ours, in both directions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import celery
import celery.app.task
import pytest

import fastq
from fastq.request import Request

SERIALIZERS = ("json", "msgpack", "yaml", "pickle")
VALUES: list[Any] = [5, None, {"a": [1, 2.5, "\u2603"]}, "x" * 300_000]


@pytest.fixture(params=SERIALIZERS)
def make(request: pytest.FixtureRequest, amqp_url: str) -> Callable[[Any], Any]:
    return lambda cls: cls("both", broker=amqp_url, backend="rpc://", set_as_current=False,
                           result_serializer=request.param, accept_content=list(SERIALIZERS))


@pytest.fixture
def ours(make: Callable[[Any], Any]) -> Iterator[Any]:
    with make(fastq.Celery) as app:
        yield app


@pytest.fixture
def theirs(make: Callable[[Any], Any]) -> Iterator[Any]:
    app = make(celery.Celery)
    yield app
    if app.backend.result_consumer._connection:
        app.backend.result_consumer.stop()  # app.close() leaves this connection to the garbage collector
    app.close()


def test_a_client_of_ours_reads_what_their_worker_sends(ours: Any, theirs: Any) -> None:
    address = ours.replies.expect()

    def send(task_id: str, value: Any, state: str, **more: Any) -> Any:
        asked = celery.app.task.Context(reply_to=address, correlation_id=task_id, id=task_id)
        theirs.backend.store_result(task_id, value, state, request=asked, **more)
        return ours.AsyncResult(task_id)

    for number, value in enumerate(VALUES):
        send(f"{number}", {"at": 1}, "PROGRESS")
        result = send(f"{number}", value, "SUCCESS")
        assert result.get(timeout=20) == value
        assert (result.state, result.children) == ("SUCCESS", [])
    failed = send("failed", KeyError("missing"), "FAILURE", traceback="Traceback ...")
    with pytest.raises(KeyError, match="missing"):
        failed.get(timeout=20)
    assert failed.traceback == "Traceback ..."


def test_their_client_reads_what_a_worker_of_ours_sends(ours: Any, theirs: Any) -> None:
    for number, value in enumerate(VALUES):
        result = theirs.send_task("nobody.runs.it", queue="nobody")
        asked = Request(id=result.id, reply_to=theirs.thread_oid)
        if number == 0:
            ours.store_result(result.id, {"at": 1}, "PROGRESS", request=asked)
        ours.store_result(result.id, value, "SUCCESS", request=asked)
        assert result.get(timeout=20) == value
        assert result.state == "SUCCESS"
    failed = theirs.send_task("nobody.runs.it", queue="nobody")
    asked = Request(id=failed.id, reply_to=theirs.thread_oid)
    ours.store_result(failed.id, KeyError("missing"), "FAILURE", "Traceback ...", request=asked)
    with pytest.raises(KeyError, match="missing"):
        failed.get(timeout=20)
    assert failed.traceback == "Traceback ..."
