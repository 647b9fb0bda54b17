"""An app whose results come back as messages: what its messages say, and who waits."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastq import Celery, current
from fastq.app import send
from fastq.backends.rpc import RpcStore
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import BackendError, TimeoutError
from fastq.request import Request
from fastq.transport.base import Caps
from fastq.wire.message import Content
from tests.deadline import wait_until
from tests.reference import recorded

CAPS = Caps(stores_results=True, routes=True)


@pytest.fixture
def app(amqp_url: str) -> Iterator[Any]:
    with Celery("shop", broker=amqp_url, backend="rpc://") as app:
        yield app


@pytest.fixture
def add(app: Any) -> Any:
    @app.task(name="shop.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    return add


@pytest.fixture
def answer(amqp_url: str) -> Iterator[Callable[..., None]]:
    """Store a result as a worker of the same app does."""
    with Celery("worker", broker=amqp_url, backend="rpc://", set_as_current=False) as worker:
        def store(task_id: str, value: Any, state: str = "SUCCESS", *, reply_to: str | None) -> None:
            worker.store_result(task_id, value, state, request=Request(id=task_id, reply_to=reply_to))

        yield store


def test_a_message_names_the_queue_of_its_sender(app: Any, add: Any) -> None:
    out = send.compose(app, add, add.name, (1,), {}, {})
    assert Content.parse(out.encode(CAPS).content).properties["reply_to"] == app.replies.address
    assert out.replies is app.backend is app.replies
    theirs = recorded.messages("task_v2_rpc_backend")[0]
    assert set(Content.parse(out.encode(CAPS).content).properties) == set(theirs.properties)


def test_a_task_whose_result_is_not_wanted_opens_no_queue(app: Any, add: Any) -> None:
    ignored = send.compose(app, add, add.name, (1,), {}, {"ignore_result": True})
    assert (ignored.properties["reply_to"], ignored.replies) == (app.replies.address, None)
    told = send.compose(app, add, add.name, (1,), {}, {"reply_to": "another"})
    assert (told.properties["reply_to"], told.replies) == ("another", None)


def test_other_stores_put_no_queue_into_the_message() -> None:
    with Celery("shop", broker="amqp://nowhere", backend="sqlite:///results.db") as app:
        assert app.replies is None
        assert "reply_to" not in send.compose(app, None, "task", (), {}, {}).properties


def test_a_store_that_changes_is_noticed(amqp_url: str) -> None:
    with Celery("shop", broker=amqp_url) as app:
        assert app.replies is None
        app.conf.result_backend = "rpc://"
        assert isinstance(app.replies, RpcStore)


def test_what_follows_a_task_goes_back_to_whoever_sent_it(app: Any, add: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Transport:
        caps = CAPS

        def close(self) -> None:
            """Nothing is open."""

    app._wires._transport = Transport()
    for asked in ("queue-of-the-client", None):
        running = Request(id="1", task=add.name, called_directly=False, reply_to=asked)
        monkeypatch.setattr(current, "running", lambda task, running=running: running)
        message = app.message_of(add.s(1))
        assert Content.parse(message.content).properties.get("reply_to") == asked
    own = app.message_of(add.s(1).set(reply_to="mine"))
    assert Content.parse(own.content).properties["reply_to"] == "mine"
    assert not app.replies._inbox.is_open


def test_a_result_comes_back(app: Any, answer: Callable[..., None]) -> None:
    address = app.replies.expect()
    result = app.AsyncResult("a")
    assert result.state == "PENDING"
    answer("a", {"done": 3}, "PROGRESS", reply_to=address)
    wait_until(lambda: result.state == "PROGRESS")
    assert result.info == {"done": 3}
    answer("a", 5, reply_to=address)
    assert result.get(timeout=20) == 5
    assert app.AsyncResult("a").get(timeout=20) == 5
    result.forget()
    assert app.AsyncResult("a").state == "PENDING"


def test_an_error_comes_back_as_itself(app: Any, answer: Callable[..., None]) -> None:
    answer("a", ValueError("boom"), "FAILURE", reply_to=app.replies.expect())
    with pytest.raises(ValueError, match="boom"):
        app.AsyncResult("a").get(timeout=20)


def test_a_result_that_nobody_asked_to_have_sent_is_not_sent(app: Any, answer: Callable[..., None]) -> None:
    app.replies.expect()
    answer("a", 5, reply_to=None)
    with pytest.raises(TimeoutError):
        app.AsyncResult("a").get(timeout=0.2)


def test_coroutines_wait_by_the_thousand(app: Any, answer: Callable[..., None]) -> None:
    address, count = app.replies.expect(), 2000
    for number in range(0, count, 2):
        answer(f"{number}", number, reply_to=address)

    async def main() -> list[int]:
        waiting = [asyncio.ensure_future(app.AsyncResult(f"{number}").aget(timeout=60)) for number in range(count)]
        await asyncio.sleep(0)
        for number in range(1, count, 2):
            answer(f"{number}", number, reply_to=address)
        return await asyncio.gather(*waiting)

    assert asyncio.run(main()) == list(range(count))
    assert not app.replies._listeners


def test_a_coroutine_waits_as_long_as_it_is_told(app: Any) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await app.AsyncResult("never").aget(timeout=0.05)

    asyncio.run(main())
    assert not app.replies._listeners


def test_a_wait_over_a_loss_says_what_may_be_lost(rabbitmq: RabbitMQ, app: Any) -> None:
    app.replies.expect()
    seen: list[int] = []

    def interfere() -> None:
        if not seen:
            rabbitmq.close_all_connections()
        seen.append(1)

    with pytest.raises(BackendError, match="the result of task a has not come in time, and may never come"):
        app.AsyncResult("a").get(timeout=1, interval=0.1, on_interval=interfere)
    assert len(seen) > 2, "the loss alone does not end the wait"
    with pytest.raises(TimeoutError):
        app.AsyncResult("a").get(timeout=0.1)


def test_a_coroutine_that_waits_over_a_loss_is_told_too(rabbitmq: RabbitMQ, app: Any) -> None:
    app.replies.expect()

    async def main() -> None:
        waiting = asyncio.ensure_future(app.AsyncResult("a").aget(timeout=1))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        rabbitmq.close_all_connections()
        await asyncio.to_thread(wait_until, lambda: app.replies.lost_since(began - 1))
        with pytest.raises(BackendError, match="may never come"):
            await waiting

    asyncio.run(main())


def test_a_forked_child_asks_for_its_own_results(app: Any, add: Any, answer: Callable[..., None]) -> None:
    address = app.replies.expect()
    pid = os.fork()
    if pid == 0:
        try:
            out = send.compose(app, add, add.name, (1,), {}, {})
            own = out.replies.expect()
            answer("a", 5, reply_to=own)
            os._exit(0 if own != address and app.AsyncResult("a").get(timeout=20) == 5 else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    answer("a", 6, reply_to=address)
    assert app.AsyncResult("a").get(timeout=20) == 6


def test_results_leave_with_the_acks_of_a_worker_on_the_same_broker(app: Any) -> None:
    class Transport:
        caps = CAPS

    assert app.store_beside(Transport()) is None
    app.conf.broker_read_url = "amqp://another"
    assert app.store_beside(Transport()) is app.replies


def test_the_store_is_told_what_the_settings_say(amqp_url: str) -> None:
    with Celery("shop", broker=amqp_url, backend="rpc://", result_expires=90, result_serializer="msgpack",
                broker_connection_timeout=7, accept_content=["json", "msgpack"],
                broker_transport_options={"client_properties": {"name": "shop"}}) as app:
        told = app.replies._options
        assert (told.expires_s, told.serializer, told.connect_timeout_s) == (90, "msgpack", 7)
        assert (told.accept, told.client_properties) == (["json", "msgpack"], {"name": "shop"})
