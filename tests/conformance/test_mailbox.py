"""What every mailbox of remote control does, over each broker that has one."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from urllib.parse import urlsplit

import pytest
from redis import Redis

from fastq import control
from fastq._ext import envelope
from fastq.control.mailbox import Mailbox, Revoked
from fastq.exceptions import ConfigError
from tests.conformance.engine import ENGINES, Engine, params
from tests.deadline import wait_until
from tests.servers.proxy import Manner, Proxy

WITH_MAILBOX = [ENGINES[name] for name in ("sqlite", "memory", "redis", "amqp-classic")]


@pytest.fixture(params=params(WITH_MAILBOX))
def engine(request: pytest.FixtureRequest) -> Engine:
    return request.param  # type: ignore[no-any-return]


@pytest.fixture
def open_mailbox(address: str) -> Iterator[Callable[..., Mailbox]]:
    with ExitStack() as stack:
        def open_one(url: str = address) -> Mailbox:
            mailbox = control.open([url], {})
            stack.callback(mailbox.close)
            return mailbox

        yield open_one


def received(mailbox: Mailbox, n: int = 1) -> list[bytes]:
    found: list[bytes] = []
    wait_until(lambda: found.extend(mailbox.receive(0.05)) or len(found) >= n)
    return found


def test_a_request_reaches_every_worker_in_order(open_mailbox: Callable[[], Mailbox]):
    workers = [open_mailbox(), open_mailbox()]
    for number, worker in enumerate(workers):
        worker.listen(f"w{number}@host")
        worker.receive()
    client = open_mailbox()
    packed = [pack(f"{number}") for number in range(3)]
    for content in packed:
        client.request(content)
    for worker in workers:
        assert [body(content) for content in received(worker, 3)] == ["0", "1", "2"]


def test_an_answer_reaches_whoever_asked_and_nobody_else(open_mailbox: Callable[[], Mailbox]):
    clients = [open_mailbox(), open_mailbox()]
    for number, asker in enumerate(clients):
        asker.expect(f"address-{number}")
    worker = open_mailbox()
    worker.listen("w@host")
    worker.answer("reply.celery.pidbox", "address-1", pack("answer"))
    assert [body(content) for content in received(clients[1])] == ["answer"]
    assert clients[0].receive(0.05) == []


def test_the_descriptor_wakes_who_sleeps(open_mailbox: Callable[[], Mailbox]):
    worker, client = open_mailbox(), open_mailbox()
    worker.listen("w@host")
    # What the broker says at the beginning, such as that one listens, comes first.
    wait_until(lambda: not select.select([worker.fileno()], [], [], 0.1)[0] or worker.receive())
    client.request(pack("x"))
    assert select.select([worker.fileno()], [], [], 10)[0]
    assert [body(content) for content in received(worker)] == ["x"]


@pytest.mark.parametrize("engine", params([ENGINES[name] for name in ("redis", "amqp-classic")]), indirect=True)
def test_who_listens_hears_all_that_is_sent_from_then_on(open_mailbox: Callable[..., Mailbox], address: str):
    with Proxy(urlsplit(address).port or 0) as proxy:
        proxy.behave(Manner(delay_s=0.05), down=False)
        worker, client = open_mailbox(proxy.url(address)), open_mailbox()
        worker.listen("w@host")
        client.request(pack("x"))
        assert [body(content) for content in worker.receive(10)] == ["x"]


def test_what_comes_while_something_else_is_asked_is_received_at_once(open_mailbox: Callable[[], Mailbox]):
    worker, client = open_mailbox(), open_mailbox()
    worker.listen("w@host")
    client.request(pack("x"))
    client.revoked()
    worker.revoked()
    assert [body(content) for content in worker.receive(10)] == ["x"]


def test_what_was_sent_before_is_not_heard(open_mailbox: Callable[[], Mailbox]):
    client, worker = open_mailbox(), open_mailbox()
    client.request(pack("early"))
    worker.listen("w@host")
    worker.receive()
    client.request(pack("late"))
    assert [body(content) for content in received(worker)] == ["late"]


def test_revocations_are_kept_until_they_expire(open_mailbox: Callable[[], Mailbox]):
    now = time.time()
    one, stamped = Revoked("id-1", "", now + 60), Revoked("acme", "customer", now + 60)
    old = Revoked("id-0", "", now - 1)
    worker, client = open_mailbox(), open_mailbox()
    client.revoke([one, stamped])
    client.revoke([old])
    client.close()
    assert key_of(worker.revoked()) == key_of(open_mailbox().revoked()) == [("", "id-1"), ("customer", "acme")]


def test_revocations_are_read_again_and_again_and_by_several(open_mailbox: Callable[[], Mailbox]):
    client, worker = open_mailbox(), open_mailbox()
    assert worker.revoked() == []
    for number in range(700):
        client.revoke([Revoked(f"id-{number}", "", time.time() + 60)])
    assert len(worker.revoked()) == len(client.revoked()) == 700


@pytest.mark.redis
def test_the_set_of_revocations_ends_with_the_last_of_them(redis_url: str):
    now = time.time()
    with Redis.from_url(redis_url) as look, closing(control.open([redis_url], {})) as mailbox:
        for until in (now + 60, now + 600, now + 120):
            mailbox.revoke([Revoked(f"id-{until}", "", until)])
        assert 590 < look.ttl("fastq.revoked") <= 602


def test_a_cluster_has_none():
    assert not control.is_possible("redis+cluster://localhost:7000")
    with pytest.raises(ConfigError, match="cluster of Redis"):
        control.open(["redis+cluster://localhost:7000"], {})


def key_of(revoked: list[Revoked]) -> list[tuple[str, str]]:
    return sorted((each.header, each.value) for each in revoked)


def pack(text: str) -> bytes:
    return envelope.pack({"content_type": "text/plain", "delivery_mode": 1}, {}, text.encode())


def body(content: bytes) -> str:
    return envelope.unpack(content)[2].decode()
