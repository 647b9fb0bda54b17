"""An app whose broker is Redis, as far as its messages go."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from fastq import Celery, Fastq, transport
from fastq.exceptions import ConfigError, OperationalError
from fastq.transport.redis_link import Link
from fastq.transport.redis_options import RedisOptions
from fastq.wire.entity import Exchange, Queue
from tests.unit.transport.redisroom import RedisRoom, free_port


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisRoom]:
    with RedisRoom(tmp_path_factory.mktemp("redis"), "--requirepass", "secret") as server:
        yield server


@pytest.fixture
def probe(room: RedisRoom) -> Iterator[Link]:
    link = room.link(password="secret", db=2)
    link.call("FLUSHALL")
    yield link
    link.close()


@pytest.fixture
def url(room: RedisRoom) -> str:
    return f"redis://:secret@127.0.0.1:{room.port}/2"


def envelopes(probe: Link, key: str) -> list[dict[str, dict[str, object]]]:
    found = probe.call("LRANGE", key, 0, -1)
    assert isinstance(found, list)
    return [json.loads(each) for each in reversed(found)]


@pytest.mark.parametrize("kind", [Celery, Fastq])
def test_a_task_goes_to_kombus_list(kind: type[Celery], url: str, probe: Link) -> None:
    with kind("shop", broker=url) as app:

        @app.task(name="shop.add", priority=4)
        def add(x: int, y: int) -> int:
            return x + y

        first = add.delay(2, 3)
        second = add.apply_async((4, 5), priority=0, queue="other", countdown=60)
        with app.batch():
            third = [add.delay(6, number) for number in range(300)]
    found = envelopes(probe, "celery\x06\x163")
    assert [each["headers"]["id"] for each in found] == [first.id, *(each.id for each in third)]
    assert found[0]["properties"]["delivery_info"] == {"exchange": "", "routing_key": "celery"}
    (later,) = envelopes(probe, "other")
    assert later["headers"]["id"] == second.id
    assert later["headers"]["eta"]
    assert probe.call("SMEMBERS", "_kombu.binding.celery") == [b"celery\x06\x16\x06\x16celery"]


def test_a_topic_of_the_app_is_routed(url: str, probe: Link) -> None:
    queues = [Queue("video", Exchange("media", type="topic"), "video.#")]
    with Celery("shop", broker=url, task_queues=queues) as app:
        app.send_task("shop.cut", exchange="media", routing_key="video.short", exchange_type="topic")
        app.send_task("shop.cut", queue="video")
    assert len(envelopes(probe, "video")) == 2


def test_the_settings_reach_the_connection(url: str, probe: Link) -> None:
    told = {"global_keyprefix": "app:", "client_name": "till", "priority_steps": [0, 5]}
    with Celery("shop", broker=[f"redis://127.0.0.1:{free_port()}", url], broker_transport_options=told) as app:
        app.send_task("shop.cut", priority=7)
        clients = probe.call("CLIENT", "LIST")
    assert isinstance(clients, bytes)
    assert b"name=till " in clients
    assert probe.call("LLEN", "app:celery\x06\x165") == 1


def test_a_unix_socket_is_a_broker(room: RedisRoom, probe: Link) -> None:
    with Celery("shop", broker=f"redis+socket://:secret@{room.socket}?virtual_host=2") as app:
        app.send_task("shop.cut")
    assert len(envelopes(probe, "celery")) == 1


def test_a_forked_child_of_an_app_publishes(url: str, probe: Link) -> None:
    with Celery("shop", broker=url) as app:
        app.send_task("shop.cut")
        child = os.fork()
        if child == 0:
            try:
                app.send_task("shop.cut")
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        app.send_task("shop.cut")
    assert len(envelopes(probe, "celery")) == 3


def test_a_dead_broker_is_named_without_its_password() -> None:
    port = free_port()
    with Celery("shop", broker=f"redis://:secret@127.0.0.1:{port}/0", task_publish_retry=False) as app:
        began = time.monotonic()
        with pytest.raises(OperationalError, match=f"127.0.0.1:{port}") as caught:
            app.send_task("shop.cut")
        assert time.monotonic() - began < 5
    assert "secret" not in str(caught.value)


def test_an_unknown_option_is_refused_when_the_broker_is_opened(url: str) -> None:
    with pytest.raises(ConfigError, match="did you mean 'visibility_timeout'") as caught:
        transport.open(url, {"visibilty_timeout": 5})
    assert "secret" not in str(caught.value)


def test_an_app_tells_only_what_a_transport_takes() -> None:
    for scheme in ("redis", "rediss", "redis+socket", "unix", "sentinel"):
        assert set(transport.TOLD[scheme]) <= set(RedisOptions._fields)


def test_without_the_packages_it_says_which_to_install() -> None:
    code = ("import sys; sys.modules['hiredis'] = None\n"
            "from fastq import transport\n"
            "from fastq.exceptions import ConfigError\n"
            "try: transport.open('redis://localhost')\n"
            "except ConfigError as error: print(error)\n")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "pip install 'fastq[redis]'" in told


def test_importing_fastq_loads_no_redis() -> None:
    code = "import fastq, sys; print([name for name in ('redis', 'hiredis') if name in sys.modules])"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
