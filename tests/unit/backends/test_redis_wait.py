"""Waiting for results on Redis: one connection for all who wait, whatever happens to it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastq.app import waiter
from fastq.backends import redis_ear
from fastq.backends.redis import RedisStore
from fastq.bench.servers.redis import Redis
from fastq.exceptions import BackendError
from fastq.transport.redis_link import Link
from fastq.transport.redis_way import Way
from fastq.types import Result
from tests.deadline import wait_until
from tests.unit.backends.redisstore import DONE, KEY, channels, document, done, ended, listeners, waiting

MANY = 5000


def kill_listeners(link: Link) -> None:
    link.call("CLIENT", "KILL", "TYPE", "pubsub")


# Channels

def test_a_wait_subscribes_and_looks_in_one_packet(store: RedisStore, worker: RedisStore, link: Link) -> None:
    worker.put([done("a")])
    assert store.wait(["a"], 5) == {"a": DONE}
    sent: list[bytes] = []
    send = store._waits._ear._send
    store._waits._ear._send = lambda data: sent.append(data) or send(data)  # type: ignore[method-assign,func-returns-value]
    worker.put([done("b")])
    assert store.wait(["b"], 5) == {"b": DONE}
    assert len(sent) == 1
    assert sent[0].index(b"SUBSCRIBE") < sent[0].index(b"MGET")


def test_one_connection_hears_for_all_and_none_is_left_behind(store: RedisStore, worker: RedisStore,
                                                              link: Link) -> None:
    waits = [waiting(store, [f"id-{number}"]) for number in range(50)]
    assert (channels(link), len(listeners(link))) == (50, 1)
    worker.put([done(f"id-{number}") for number in range(50)])
    assert [ended(*each) for each in waits] == [{f"id-{number}": DONE} for number in range(50)]
    assert channels(link) <= redis_ear.STALE
    assert store.wait(["nobody"], 0.01) == {}
    wait_until(lambda: channels(link) == 0, what="the channels to go")
    assert not listeners(link)


def test_who_gives_up_leaves_no_channel(store: RedisStore, link: Link) -> None:
    for _ in range(3):
        assert store.wait(["a", "b"], 0.01) == {}
    wait_until(lambda: channels(link) == 0, what="the channels to go")


def test_who_waits_for_the_same_task_shares_a_channel(store: RedisStore, worker: RedisStore, link: Link) -> None:
    first, second = waiting(store, ["a"]), waiting(store, ["a", "b"], 20)
    assert channels(link) == 2
    hasty = waiting(store, ["a"], 0.01)
    assert ended(*hasty) == {}
    assert channels(link) == 2
    worker.put([done("a")])
    assert ended(*first) == ended(*second) == {"a": DONE}


def test_a_result_that_came_while_nobody_listened_is_found(store: RedisStore, worker: RedisStore) -> None:
    for number in range(3 * redis_ear.STALE):
        worker.put([done(f"id-{number}")])
        assert store.wait([f"id-{number}"], 20) == {f"id-{number}": DONE}
        assert store.wait([f"id-{number}"], 20) == {f"id-{number}": DONE}
    assert store._waits._ear.subscriptions <= redis_ear.STALE


def test_who_waits_for_the_first_of_many_asks_for_each_once(store: RedisStore, worker: RedisStore) -> None:
    ids = [f"many-{number}" for number in range(20)]
    assert store.wait(["none"], 0.01) == {}     # there is a connection
    sent: list[bytes] = []
    send = store._waits._ear._send
    store._waits._ear._send = lambda data: sent.append(data) or send(data)  # type: ignore[method-assign,func-returns-value]
    for number, task_id in enumerate(ids):
        later = threading.Timer(0.01, worker.put, ([done(task_id)],))
        later.start()
        assert store.wait(ids[number:], 10) == {task_id: DONE}
        later.join()
    assert sum(data.partition(b"MGET")[2].count(b"many-") for data in sent) == len(ids)
    # Who comes when a document is there has to ask, though its channel is there too.
    assert store.wait(ids[-1:], 10) == {ids[-1]: DONE}


def test_states_in_between_wake_nobody(store: RedisStore, worker: RedisStore) -> None:
    wait = waiting(store, ["a"])
    for state in ("STARTED", "RETRY", "PROGRESS"):
        worker.put([Result("a", state, document(state))])
    worker.put([done("a")])
    assert ended(*wait) == {"a": DONE}


def test_nothing_is_left_after_a_hundred_thousand_results(store: RedisStore, worker: RedisStore, link: Link) -> None:
    def round_of(numbers: range) -> None:
        ids = [f"id-{number}" for number in numbers]
        found: dict[str, Any] = {}
        for task_id in ids:
            store.listen(task_id, lambda answer, task_id=task_id: found.update({task_id: answer}))  # type: ignore[misc]
        worker.put([done(task_id, time.time() + 3600) for task_id in ids])
        wait_until(lambda: len(found) == len(ids), 30, what="all results")
        store.forget(ids)

    round_of(range(1000))
    gc.collect()
    before = len(gc.get_objects())
    for start in range(1000, 101_000, 2000):
        round_of(range(start, start + 2000))
    gc.collect()
    assert len(gc.get_objects()) - before < 500
    assert not [*store._waits._readers, *store._waits._listeners]
    assert store._waits._ear.subscriptions <= redis_ear.STALE
    assert channels(link) <= redis_ear.STALE
    assert not store._waits._ear._looks
    assert link.call("DBSIZE") == 0


# Many

def test_five_thousand_waits_share_a_connection(store: RedisStore, worker: RedisStore, link: Link) -> None:
    async def all_of_them() -> list[bytes | None]:
        waits = [asyncio.ensure_future(waiter.wait(store, f"id-{number}", 30)) for number in range(MANY)]
        while store._waits._ear.subscriptions < MANY:
            await asyncio.sleep(0)
        assert len(listeners(link)) == 1
        await asyncio.to_thread(worker.put, [done(f"id-{number}") for number in range(MANY)])
        return await asyncio.gather(*waits)

    assert asyncio.run(all_of_them()) == [DONE] * MANY
    assert channels(link) <= redis_ear.STALE


def test_many_threads_come_and_go(store: RedisStore, worker: RedisStore) -> None:
    found: dict[str, bytes] = {}

    def ask(number: int) -> None:
        for turn in range(20):
            task_id = f"{number}-{turn}"
            store.wait([f"never-{task_id}"], 0.001)
            worker.put([done(task_id)])
            found.update(store.wait([task_id], 20))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 800


def test_coroutines_and_threads_wait_side_by_side(store: RedisStore, worker: RedisStore) -> None:
    async def both() -> bytes | None:
        coroutine = asyncio.ensure_future(waiter.wait(store, "a", 20))
        thread = await asyncio.to_thread(waiting, store, ["b"])
        await asyncio.to_thread(worker.put, [done("a"), done("b")])
        assert await asyncio.to_thread(ended, *thread) == {"b": DONE}
        return await coroutine

    assert asyncio.run(both()) == DONE


def test_a_coroutine_that_gives_up_leaves_no_channel(store: RedisStore, link: Link) -> None:
    assert asyncio.run(waiter.wait(store, "a", 0.1)) is None
    wait_until(lambda: channels(link) == 0, what="the channel to go")


# What happens to connections and servers

def test_a_wait_outlives_its_connection(store: RedisStore, worker: RedisStore, link: Link) -> None:
    waits = [waiting(store, [f"id-{number}"]) for number in range(20)]
    for _ in range(3):
        before = listeners(link)
        kill_listeners(link)
        wait_until(lambda before=before: listeners(link) not in ([], before) and channels(link) == 20,  # type: ignore[misc]
                   what="the channels on a new connection")
    worker.put([done(f"id-{number}") for number in range(20)])
    assert [ended(*each) for each in waits] == [{f"id-{number}": DONE} for number in range(20)]


def test_a_result_that_came_while_the_connection_was_away_is_found(
        open_redis: Callable[..., RedisStore], worker: RedisStore, link: Link, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_redis()
    wait = waiting(store, ["a"])
    connect, may_connect = Way.connect, threading.Event()

    def held_up(way: Way, *args: Any, **options: Any) -> Link:
        may_connect.wait(20)
        return connect(way, *args, **options)

    monkeypatch.setattr(Way, "connect", held_up)
    kill_listeners(link)
    wait_until(lambda: not listeners(link))
    link.call("SET", f"{KEY}a", DONE)
    link.call("PUBLISH", f"{KEY}a", DONE)
    may_connect.set()
    assert ended(*wait) == {"a": DONE}


def test_a_coroutine_outlives_its_connection(store: RedisStore, worker: RedisStore, link: Link) -> None:
    found: list[Any] = []
    store.listen("a", found.append)
    wait_until(lambda: channels(link) == 1)
    kill_listeners(link)
    worker.put([done("a")])
    wait_until(lambda: found == [DONE], what="the result")


def test_a_wait_outlives_the_server(open_redis: Callable[..., RedisStore], own_redis: Callable[..., Redis]) -> None:
    server = own_redis()
    store, worker = open_redis(server.url), open_redis(server.url)
    wait = waiting(store, ["a"])
    server.kill()
    wait_until(lambda: not store._waits._ear.is_open, what="the store to notice")
    server.start()
    wait_until(lambda: store._waits._ear.is_open, what="a new connection")
    worker.put([done("a")])
    assert ended(*wait) == {"a": DONE}


def test_who_waits_is_told_when_the_server_stays_away(open_redis: Callable[..., RedisStore],
                                                      own_redis: Callable[..., Redis]) -> None:
    server = own_redis()
    store = open_redis(server.url, patience_s=0.3)
    heard: list[Any] = []
    store.listen("b", heard.append)
    wait = waiting(store, ["a"], None)
    server.kill()
    assert "refused" in str(ended(*wait))
    wait_until(lambda: heard, what="the coroutine's error")
    assert isinstance(heard[0], BackendError)
    with pytest.raises(BackendError, match="refused"):
        store.wait(["a"], 20)


@pytest.mark.parametrize("is_connected", [True, False])
def test_a_server_that_is_paused_keeps_nobody_beyond_his_deadline(
        open_redis: Callable[..., RedisStore], own_redis: Callable[..., Redis], is_connected: bool) -> None:
    server = own_redis()
    store = open_redis(server.url)
    if is_connected:
        assert store.wait(["a"], 0.001) == {}
    server.ask("CLIENT", "PAUSE", 60_000, "ALL")
    began = time.monotonic()
    for _ in range(3):
        assert store.wait(["a"], 0.1) == {}
    assert time.monotonic() - began < 5


def test_a_server_that_refuses_channels_is_told(open_redis: Callable[..., RedisStore],
                                                own_redis: Callable[..., Redis]) -> None:
    server = own_redis()
    server.ask("ACL", "SETUSER", "shy", "on", ">pw", "~*", "+@all", "resetchannels")
    store = open_redis(f"redis://shy:pw@127.0.0.1:{server.port}/0")
    with pytest.raises(BackendError, match=r"NOPERM.*ACL SETUSER"):
        store.wait(["a"], 20)
    server.ask("ACL", "SETUSER", "shy", "allchannels")
    store.put([done("a")])
    assert store.wait(["a"], 20) == {"a": DONE}


# Ends and forks

def test_closing_ends_every_wait(store: RedisStore) -> None:
    heard: list[Any] = []
    store.listen("c", heard.append)
    waits = [waiting(store, [name], None) for name in "ab"]
    store.close()
    for each in waits:
        assert "closed" in str(ended(*each))
    wait_until(lambda: heard)
    assert isinstance(heard[0], BackendError)


def test_a_child_of_a_fork_makes_connections_of_its_own(store: RedisStore, worker: RedisStore, link: Link) -> None:
    wait = waiting(store, ["a"])
    store.get(["a"])
    pid = os.fork()
    if pid == 0:
        try:
            store.put([done("from-child")])
            os._exit(0 if store.wait(["from-parent"], 20) == {"from-parent": DONE} else 1)
        except BaseException:
            os._exit(2)
    assert store.wait(["from-child"], 20) == {"from-child": DONE}
    worker.put([done("from-parent"), done("a")])
    assert ended(*wait) == {"a": DONE}
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_an_interrupt_leaves_the_place_to_the_next(store: RedisStore, worker: RedisStore) -> None:
    came = threading.Event()

    def interrupt(signum: int, frame: object) -> None:
        if not came.is_set():
            came.set()
            raise KeyboardInterrupt

    def interrupt_the_wait() -> None:
        wait_until(lambda: store._waits._ear.subscriptions == 1)
        while not came.wait(0.01):  # a signal that comes just before the system call does not end it
            signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)  # type: ignore[arg-type]

    old = signal.signal(signal.SIGUSR1, interrupt)
    try:
        thread = threading.Thread(target=interrupt_the_wait)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            store.wait(["a"], 20)
        thread.join(10)
    finally:
        signal.signal(signal.SIGUSR1, old)
    wait = waiting(store, ["a"])
    worker.put([done("a")])
    assert ended(*wait) == {"a": DONE}


@pytest.mark.parametrize("size, count", [(12 << 20, 4), (40 << 20, 1)], ids=["together", "alone"])
@pytest.mark.parametrize("is_there", [True, False])
def test_more_than_a_subscriber_may_have_outstanding_comes_all_the_same(
        store: RedisStore, worker: RedisStore, size: int, count: int, is_there: bool) -> None:
    results = [Result(f"id-{number}", "SUCCESS", document("SUCCESS", "x" * size)) for number in range(count)]
    waits = [] if is_there else [waiting(store, [result.task_id]) for result in results]
    worker.put(results)
    if is_there:
        assert set(store.wait([result.task_id for result in results], 30)) <= {result.task_id for result in results}
    for result, wait in zip(results, waits, strict=False):
        assert ended(*wait, timeout=30) == {result.task_id: result.meta}
    for result in results:
        assert store.wait([result.task_id], 30) == {result.task_id: result.meta}
