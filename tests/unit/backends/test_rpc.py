"""Results as messages, over a real broker; what holds for every store stands in tests/conformance/test_store.py."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from fastq import backends
from fastq._ext import amqp, envelope
from fastq._ext.amqp import METHODS
from fastq.amqp.link import Link
from fastq.amqp.target import parse
from fastq.backends import rpc
from fastq.backends.meta import MetaCodec
from fastq.backends.rpc import RpcOptions, RpcStore
from fastq.bench.servers.rabbitmq import RabbitMQ
from fastq.exceptions import BackendError, ConfigError, ContentDisallowed, OperationalError
from fastq.types import Result
from fastq.wire import serializers
from tests.deadline import wait_until
from tests.reference import recorded

DONE = b'{"status": "SUCCESS", "result": 5}'


def document(state: str, word: object = None) -> bytes:
    return json.dumps({"status": state, "result": word}).encode()


@pytest.fixture
def open_store(amqp_url: str) -> Iterator[Callable[..., RpcStore]]:
    opened: list[RpcStore] = []

    def open_one(**options: Any) -> RpcStore:
        opened.append(RpcStore(RpcOptions(**{"brokers": amqp_url, **options})))
        return opened[-1]

    yield open_one
    for one in opened:
        one.close()


@pytest.fixture
def store(open_store: Callable[..., RpcStore]) -> RpcStore:
    return open_store()


@pytest.fixture
def worker(open_store: Callable[..., RpcStore]) -> RpcStore:
    return open_store()


@pytest.fixture
def link(amqp_url: str) -> Iterator[Link]:
    made = Link.open(parse(amqp_url))
    yield made
    made.close()


def publish(link: Link, queue: str, content: bytes) -> None:
    channel = link.open_channel()
    link.send(amqp.publish(amqp.publisher(channel, "", queue), content, link.frame_max))
    link.close_channel(channel)


def waiting(store: RpcStore, *task_ids: str, timeout: float | None = 20) -> tuple[threading.Thread, list[Any]]:
    """Wait in a thread; the list gets what came of it."""
    ended: list[Any] = []

    def wait() -> None:
        try:
            ended.append(store.wait(task_ids, timeout))
        except BackendError as error:
            ended.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    wait_until(lambda: store._readers._waiters)
    return thread, ended


# The queue

def test_nothing_is_opened_before_it_is_needed(rabbitmq: RabbitMQ, open_store: Callable[..., RpcStore]) -> None:
    before = rabbitmq.eval("length(rabbit_networking:connections_local())")
    store = open_store()
    assert store.address
    assert rabbitmq.eval("length(rabbit_networking:connections_local())") == before


def test_the_queue_is_there_before_a_task_is_sent_and_is_only_ours(store: RpcStore, link: Link) -> None:
    assert store.expect() == store.expect() == store.address
    channel = link.open_channel()
    with pytest.raises(OperationalError, match="405"):
        link.call(channel, METHODS["queue.declare"], store.address, True, False, False, False, False, {})


def test_the_queue_ends_with_its_process(amqp_url: str, link: Link) -> None:
    store = RpcStore(RpcOptions(brokers=amqp_url))
    name = store.expect()
    store.close()

    def is_gone() -> bool:
        channel = link.open_channel()
        try:
            link.call(channel, METHODS["queue.declare"], name, True, False, False, False, False, {})
        except OperationalError as error:
            return "404" in str(error)
        link.close_channel(channel)
        return False

    wait_until(is_gone)


@pytest.mark.parametrize(("expires_s", "arguments"), [
    (3600.0, {"x-expires": 3_600_000}), (None, {}), (1e9, {"x-expires": 2**32 - 1}),
])
def test_the_queue_expires_as_results_do(
    rabbitmq: RabbitMQ, amqp_url: str, expires_s: float | None, arguments: dict[str, int],
) -> None:
    store = RpcStore(RpcOptions(brokers=amqp_url, expires_s=expires_s))
    name = store.expect()
    vhost = amqp_url.rpartition("/")[2]
    said = rabbitmq.eval(f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{name}">>)), '
                         "[element(3, A) || A <- amqqueue:get_arguments(Q)]")
    assert said == f"[{', '.join(str(value) for value in arguments.values())}]"
    store.close()


def test_results_go_to_whoever_is_named_and_else_nowhere(store: RpcStore, worker: RpcStore) -> None:
    address = store.expect()
    worker.put([Result("a", "SUCCESS", DONE), Result("b", "SUCCESS", DONE, reply_to=""),
                Result("c", "SUCCESS", DONE, reply_to="no-such-queue"), Result("d", "SUCCESS", DONE, reply_to=address)])
    assert store.wait(["a", "b", "c", "d"], 20) == {"d": DONE}
    assert store.get(["a", "b", "c"]) == {}
    assert not worker._inbox.is_open, "a worker needs no queue"


def test_a_result_is_sent_as_celery_sends_it(link: Link, worker: RpcStore) -> None:
    channel = link.open_channel()
    got: list[Any] = []
    link.handlers[channel] = got.append
    _, _, (queue, *_), _ = link.call(channel, METHODS["queue.declare"], "", False, False, True, True, False, {})
    link.call(channel, METHODS["basic.consume"], queue, "c", False, True, False, False, {})
    worker.put([Result("a", "SUCCESS", DONE, reply_to=queue)])

    def came() -> list[Any]:
        link.fill(0.1)
        link.pump()
        return got

    (_, _, (_, _, _, exchange, key), content), = wait_until(came)
    properties, headers, body = envelope.unpack(content)
    theirs = recorded.messages("rpc_result_success")[0]
    assert (exchange, key) == ("", queue)
    wanted = {**theirs.properties, "correlation_id": "a"}
    del wanted["priority"]  # 0, which is what its absence says
    assert (properties, headers, body) == (wanted, theirs.headers, DONE)


RECORDED = {
    "rpc_result_success": ["SUCCESS"], "rpc_result_failure": ["FAILURE"], "rpc_result_retry": ["RETRY", "SUCCESS"],
    "rpc_result_started": ["STARTED", "SUCCESS"], "rpc_result_revoked": ["REVOKED"],
    "rpc_result_not_registered": ["FAILURE"],
}


@pytest.mark.parametrize("case", RECORDED)
def test_what_celery_sends_is_understood(store: RpcStore, link: Link, case: str) -> None:
    address, codec = store.expect(), MetaCodec()
    messages = [found for found in recorded.messages(case)
                if isinstance(found.decoded, dict) and "status" in found.decoded]
    for message in messages:
        task_id = message.properties["correlation_id"]
        state = message.decoded["status"]
        publish(link, address, message.content)
        wait_until(lambda task_id=task_id, state=state: store.get([task_id]) and codec.decode(
            store.get([task_id])[task_id])["status"] == state)
    assert [message.decoded["status"] for message in messages] == RECORDED[case]


# Documents

def test_a_state_that_is_final_stays(store: RpcStore, worker: RpcStore) -> None:
    address = store.expect()
    states = ("STARTED", "PROGRESS", "FAILURE", "STARTED", "SUCCESS")
    worker.put([Result("a", state, document(state), reply_to=address) for state in states])
    assert store.wait(["a"], 20) == {"a": document("FAILURE")}
    worker.put([Result("b", "SUCCESS", DONE, reply_to=address)])
    store.wait(["b"], 20)
    assert store.get(["a"]) == {"a": document("FAILURE")}


def test_a_document_of_another_serializer_is_read_if_it_is_accepted(
    open_store: Callable[..., RpcStore], worker: RpcStore,
) -> None:
    theirs = open_store(serializer="msgpack")
    meta = {"status": "SUCCESS", "result": [1, b"\xff"], "task_id": "a"}
    for accept, is_accepted in ((("json", "msgpack"), True), (("json",), False)):
        store = open_store(accept=accept)
        theirs.put([Result("a", "SUCCESS", serializers.dumps(meta, "msgpack")[2], reply_to=store.expect())])
        codec = MetaCodec("json", accept)
        raw = store.wait(["a"], 20)["a"]
        if is_accepted:
            assert codec.decode(raw) == meta
        else:
            with pytest.raises(ContentDisallowed, match="msgpack"):
                codec.decode(raw)


def test_a_compressed_document_is_opened(store: RpcStore, link: Link) -> None:
    import zlib  # noqa: PLC0415

    properties = {"content_type": "application/json", "content_encoding": "utf-8", "correlation_id": "a"}
    publish(link, store.expect(), envelope.pack(properties, {"compression": "application/x-gzip"}, zlib.compress(DONE)))
    assert store.wait(["a"], 20) == {"a": DONE}


@pytest.mark.parametrize("content", [
    envelope.pack({"content_type": "application/json"}, {}, DONE),
    envelope.pack({"correlation_id": "x"}, {"compression": "application/x-gzip"}, b"no zip"),
])
def test_a_message_that_is_no_result_is_dropped_and_named(
    store: RpcStore, worker: RpcStore, link: Link, caplog: pytest.LogCaptureFixture, content: bytes,
) -> None:
    address = store.expect()
    publish(link, address, content)
    wait_until(lambda: store.get([]) == {} and caplog.records)
    assert "is dropped" in caplog.text
    worker.put([Result("a", "SUCCESS", DONE, reply_to=address)])
    assert store.wait(["a"], 20)


def test_results_that_nobody_reads_are_bounded(
    store: RpcStore, worker: RpcStore, caplog: pytest.LogCaptureFixture,
) -> None:
    store._unread._most = 100
    address = store.expect()
    worker.put([Result(f"{n}", "SUCCESS", DONE, reply_to=address) for n in range(301)])
    assert store.wait(["300"], 20)
    assert len(store._unread) == 100
    assert caplog.text.count("nobody asked for") == 1


def test_results_are_taken_in_while_tasks_are_sent(
    store: RpcStore, worker: RpcStore, monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rpc, "LOOK_S", 0.0)
    address = store.expect()
    worker.put([Result(f"{n}", "SUCCESS", DONE, reply_to=address) for n in range(5000)])

    def are_here() -> bool:
        store.expect()
        return len(store._unread) == 5000

    wait_until(are_here)


def test_results_that_were_read_take_no_room_for_long(store: RpcStore, worker: RpcStore) -> None:
    store._known._most = 10
    address = store.expect()
    for n in range(30):
        worker.put([Result(f"{n}", "SUCCESS", DONE, reply_to=address)])
        assert store.wait([f"{n}"], 20)
    assert (len(store._unread), len(store._known)) == (0, 10)


# Coroutines

def test_who_listens_hears_once(store: RpcStore, worker: RpcStore) -> None:
    heard: list[Any] = []
    address = store.expect()
    for name in ("a", "b"):
        store.listen(name, heard.append)
    store.unlisten("b", heard.append)
    worker.put([Result("b", "SUCCESS", DONE, reply_to=address), Result("a", "STARTED", document("STARTED"),
               reply_to=address), Result("a", "SUCCESS", DONE, reply_to=address)])
    wait_until(lambda: heard)
    store.listen("a", heard.append)
    assert heard == [DONE, DONE]
    store.unlisten("never", heard.append)


def test_threads_wait_while_others_listen(store: RpcStore, worker: RpcStore) -> None:
    heard: list[Any] = []
    store.listen("a", heard.append)
    wait_until(store._readers._reading.locked)
    thread, ended = waiting(store, "b")
    address = store.address
    wait_until(lambda: store._inbox.is_open)
    worker.put([Result(name, "SUCCESS", DONE, reply_to=address) for name in "ba"])
    thread.join(10)
    assert ended == [{"b": DONE}]
    wait_until(lambda: heard == [DONE])


# Losses

def test_a_connection_that_is_lost_is_made_again_and_the_wait_goes_on(
    rabbitmq: RabbitMQ, store: RpcStore, open_store: Callable[..., RpcStore], caplog: pytest.LogCaptureFixture,
) -> None:
    address = store.expect()
    began = time.monotonic()
    thread, ended = waiting(store, "a")
    assert store.lost_since(began) is None
    assert rabbitmq.close_all_connections("closed by hand") >= 1
    wait_until(lambda: store.lost_since(began) and store._inbox.is_open)
    assert "closed by hand" in caplog.text
    open_store().put([Result("a", "SUCCESS", DONE, reply_to=address)])
    thread.join(10)
    assert ended == [{"a": DONE}]
    assert "lost" in store.lost_since(began)
    assert store.lost_since(time.monotonic()) is None


def test_a_loss_is_seen_by_whoever_sends_next(rabbitmq: RabbitMQ, store: RpcStore,
                                              open_store: Callable[..., RpcStore]) -> None:
    address = store.expect()
    rabbitmq.close_all_connections()

    def is_seen() -> bool:
        assert store.expect() == address
        return store._lost_at is not None

    wait_until(is_seen)
    assert store._inbox.is_open
    open_store().put([Result("a", "SUCCESS", DONE, reply_to=address)])
    assert store.wait(["a"], 20)


def test_a_worker_whose_connection_was_lost_sends_over_a_new_one(
    rabbitmq: RabbitMQ, amqp_url: str, worker: RpcStore,
) -> None:
    worker.put([Result("x", "SUCCESS", DONE, reply_to="nobody")])
    rabbitmq.close_all_connections()
    store = RpcStore(RpcOptions(brokers=amqp_url))
    worker.put([Result("a", "SUCCESS", DONE, reply_to=store.expect())])
    assert store.wait(["a"], 20)
    store.close()


def test_a_queue_that_a_dead_connection_still_holds_is_waited_for(amqp_url: str, link: Link,
                                                                  store: RpcStore, worker: RpcStore) -> None:
    link.call(link.open_channel(), METHODS["queue.declare"], store.address, False, False, True, True, False, {})
    sent: list[str] = []
    sender = threading.Thread(target=lambda: sent.append(store.expect()))
    sender.start()
    thread, ended = waiting(store, "a")
    assert store.wait(["b"], 0.3) == {} and not sent
    link.close()
    sender.join(10)
    assert sent == [store.address]
    worker.put([Result("a", "SUCCESS", DONE, reply_to=store.address)])
    thread.join(10)
    assert ended == [{"a": DONE}]


def test_a_queue_that_is_deleted_is_declared_again(rabbitmq: RabbitMQ, amqp_url: str, store: RpcStore,
                                                   worker: RpcStore) -> None:
    address, vhost = store.expect(), amqp_url.rpartition("/")[2]
    thread, ended = waiting(store, "a")
    rabbitmq.eval(f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost}">>, queue, <<"{address}">>)), '
                  'rabbit_amqqueue:delete(Q, false, false, <<"tests">>), ok')
    wait_until(lambda: store._lost_at is not None and store._inbox.is_open)
    worker.put([Result("a", "SUCCESS", DONE, reply_to=address)])
    thread.join(10)
    assert ended == [{"a": DONE}]


def test_a_broker_that_is_gone_ends_every_wait(rabbitmq: RabbitMQ, open_store: Callable[..., RpcStore]) -> None:
    store = open_store(connect_timeout_s=0.5)
    address = store.expect()
    heard: list[Any] = []
    waits = [waiting(store, name, timeout=60) for name in ("a", "b")]
    store.listen("c", heard.append)
    rabbitmq.stop()
    for thread, _ in waits:
        thread.join(30)
    assert [type(ended[0]) for _, ended in waits] == [BackendError] * 2
    assert "cannot reach RabbitMQ at 127.0.0.1:" in str(waits[0][1][0])
    wait_until(lambda: heard)
    assert isinstance(heard[0], BackendError)
    with pytest.raises(OperationalError, match="cannot reach RabbitMQ"):
        store.expect()
    with pytest.raises(BackendError, match="cannot reach RabbitMQ"):
        store.put([Result("a", "SUCCESS", DONE, reply_to=address)])
    with pytest.raises(BackendError, match="cannot reach RabbitMQ"):
        store.wait(["a"], 60)
    rabbitmq.start()
    assert store.expect() == address
    store.put([Result("a", "SUCCESS", DONE, reply_to=address)])
    assert store.wait(["a"], 20) == {"a": DONE}


def test_a_short_wait_ends_in_time_while_the_broker_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"amqp://127.0.0.1:{server.getsockname()[1]}"
    store = RpcStore(RpcOptions(brokers=url, connect_timeout_s=30))
    began = time.monotonic()
    assert store.wait(["a"], 0.2) == {}
    assert time.monotonic() - began < 5


def test_a_password_that_is_wrong_is_told_at_once(amqp_url: str) -> None:
    store = RpcStore(RpcOptions(brokers=amqp_url.replace("guest:guest", "guest:wrong"), connect_timeout_s=30))
    began = time.monotonic()
    with pytest.raises(BackendError, match="403"):
        store.wait(["a"], 60)
    with pytest.raises(OperationalError, match="403"):
        store.expect()
    assert time.monotonic() - began < 15


def test_the_next_broker_of_the_list_is_tried(amqp_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        dead = f"amqp://127.0.0.1:{server.getsockname()[1]}"
    for failover in ("round-robin", "shuffle", reversed):
        store = RpcStore(RpcOptions(brokers=[dead, amqp_url], failover=failover))
        store.put([Result("a", "SUCCESS", DONE, reply_to=store.expect())])
        assert store.wait(["a"], 20)
        store.close()


# Ends and beginnings

def test_closing_ends_every_wait(store: RpcStore) -> None:
    thread, ended = waiting(store, "a", timeout=None)
    wait_until(lambda: store._inbox.is_open)
    other, also = waiting(store, "b", timeout=None)
    store.close()
    for each in (thread, other):
        each.join(10)
    assert [str(error) for error in ended + also] == ["the store of results was closed"] * 2
    with pytest.raises(BackendError, match="closed"):
        store.wait(["a"], 60)
    with pytest.raises(OperationalError, match="closed"):
        store.expect()


def test_a_forked_child_has_a_queue_of_its_own(store: RpcStore, worker: RpcStore) -> None:
    address = store.expect()
    worker.put([Result("a", "SUCCESS", DONE, reply_to=address)])
    pid = os.fork()
    if pid == 0:
        try:
            own = store.expect()
            worker.put([Result("b", "SUCCESS", DONE, reply_to=own), Result("c", "SUCCESS", DONE, reply_to=address)])
            os._exit(0 if own != address and store.wait(["b"], 20) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert store.wait(["a"], 20) and store.wait(["c"], 20)
    assert store._lost_at is None


def test_a_process_that_is_killed_leaves_no_queue(rabbitmq: RabbitMQ, amqp_url: str) -> None:
    code = ("import sys, time; from fastq import backends; store = backends.open('rpc://', {'brokers': sys.argv[1]});"
            "print(store.expect(), flush=True); time.sleep(60)")
    with subprocess.Popen([sys.executable, "-c", code, amqp_url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name, vhost = process.stdout.readline().strip(), amqp_url.rpartition("/")[2]
        count = f'length([Q || Q <- rabbit_amqqueue:list(<<"{vhost}">>)])'
        assert name and rabbitmq.eval(count) == "1"
        process.send_signal(signal.SIGKILL)
    wait_until(lambda: rabbitmq.eval(count) == "0")


# Addresses

def test_the_store_is_opened_by_its_scheme() -> None:
    store = backends.open("rpc://", {"serializer": "json"})
    assert isinstance(store, RpcStore)
    assert store.prune() == 0
    store.close()


@pytest.mark.parametrize("url", ["amqp://guest@localhost//", "pyamqp://", "AMQPS://h"])
def test_results_under_amqp_are_refused_with_the_right_word(url: str) -> None:
    with pytest.raises(ConfigError, match="'rpc://'"):
        backends.open(url)


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'brokers'"):
        backends.open("rpc://", {"broker": "amqp://"})
