"""Documents on Redis; what holds for every store stands in tests/conformance/test_store.py."""

from __future__ import annotations

import base64
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from fastq import backends, states
from fastq.backends.meta import MetaCodec
from fastq.backends.redis import RedisStore
from fastq.bench.servers.redis import Redis
from fastq.exceptions import BackendError, ConfigError
from fastq.transport.redis_link import Link
from fastq.types import Result
from tests.reference import recorded
from tests.unit.backends.redisstore import DONE, KEY, document, done

CASES = ("result_success", "result_redis_msgpack", "result_redis_yaml", "result_redis_pickle", "result_redis_extended",
         "result_redis_compressed", "result_redis_no_expiry", "result_success_types")
SERIALIZERS = ("json", "msgpack", "yaml", "pickle")


def stored(case: str) -> list[tuple[str, bytes]]:
    """The keys and documents that Celery stored."""
    found: list[tuple[str, bytes]] = []

    def search(node: Any) -> None:
        if isinstance(node, dict):
            if str(node.get("key", "")).startswith(KEY) and "raw_b64" in node:
                found.append((node["key"], base64.b64decode(node["raw_b64"])))
            for name, value in node.items():
                if name.startswith(KEY) and isinstance(value, dict):
                    found.append((name, base64.b64decode(value["raw_b64"])))
                search(value)
        elif isinstance(node, list):
            for value in node:
                search(value)

    search(recorded.load(case))
    assert found
    return found


# What is stored

def test_a_document_has_celerys_key_and_expiry_and_is_published_on_its_channel(store: RedisStore, link: Link) -> None:
    store.put([done("first")])
    link.call("CONFIG", "RESETSTAT")
    store.put([done("a", time.time() + 86_400), done("b")])
    assert link.call("GET", f"{KEY}a") == DONE
    assert 86_390 < link.call("TTL", f"{KEY}a") <= 86_400  # type: ignore[operator]
    assert link.call("TTL", f"{KEY}b") == -1
    text = bytes(link.call("INFO", "commandstats")).decode()  # type: ignore[call-overload]
    assert "cmdstat_publish:calls=2," in text
    assert "cmdstat_evalsha:calls=1," in text


def test_a_batch_is_one_round_trip(store: RedisStore, link: Link) -> None:
    store.put([done("first")])
    link.call("CONFIG", "RESETSTAT")
    store.put([done(f"id-{number}") for number in range(500)])
    text = bytes(link.call("INFO", "commandstats")).decode()  # type: ignore[call-overload]
    assert "cmdstat_evalsha:calls=1," in text


@pytest.mark.parametrize("given, key", [("shop", "shop_celery-task-meta-a"), ("shop:", "shop:celery-task-meta-a")])
def test_a_prefix_of_the_settings_stands_before_keys_and_channels(
        open_redis: Callable[..., RedisStore], link: Link, given: str, key: str) -> None:
    store = open_redis(global_keyprefix=given)
    store.put([done("a")])
    assert link.call("KEYS", "*") == [key.encode()]
    assert store.wait(["a"], 5) == {"a": DONE}


def test_an_expired_document_is_not_stored_and_takes_the_place_of_what_was_there(store: RedisStore) -> None:
    store.put([Result("a", "STARTED", document("STARTED"))])
    store.put([done("a", time.time() - 1)])
    assert store.get(["a"]) == {}


def test_the_script_is_loaded_again_when_the_server_forgot_it(store: RedisStore, link: Link) -> None:
    store.put([done("a")])
    link.call("SCRIPT", "FLUSH")
    store.put([done("b")])
    assert store.get(["a", "b"]) == {"a": DONE, "b": DONE}


# A success stays

@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("compressed", [None, "zlib", "zstd"])
def test_a_success_stays_in_every_serializer(open_redis: Callable[..., RedisStore], serializer: str,
                                             compressed: str | None) -> None:
    store = open_redis(serializer=serializer, accept=SERIALIZERS)
    codec = MetaCodec(serializer, SERIALIZERS, compressed=compressed)
    values: list[Any] = [1, "SUCCESS", "\nstatus: SUCCESS\n", {"status": "SUCCESS"}, None]
    for number, value in enumerate(values):
        task_id = f"id-{number}"
        for state in ("STARTED", "RETRY", "SUCCESSFUL", "FAILURE", "SUCCESS"):
            raw = codec.encode(task_id, state, value)
            store.put([Result(task_id, state, raw)])
            assert store.get([task_id]) == {task_id: raw}, f"{state} did not take the place of what was before"
        store.put([Result(task_id, state, codec.encode(task_id, state, "late")) for state in states.ALL_STATES])
        assert store.get([task_id]) == {task_id: raw}


@pytest.mark.parametrize("case", CASES)
def test_a_success_of_celery_stays(open_redis: Callable[..., RedisStore], link: Link, case: str) -> None:
    serializer = case.rpartition("_")[2] if case.rpartition("_")[2] in SERIALIZERS else "json"
    store = open_redis(serializer=serializer, accept=SERIALIZERS)
    codec = MetaCodec(serializer, SERIALIZERS)
    for key, raw in stored(case):
        link.call("SET", key, raw)
        task_id = key.removeprefix(KEY)
        late = codec.encode(task_id, "FAILURE", ValueError("late"))
        store.put([Result(task_id, "FAILURE", late)])
        is_success = codec.decode(raw)["status"] == "SUCCESS"
        assert store.get([task_id])[task_id] == (raw if is_success else late)


def test_json_of_another_order_or_none_is_understood_too(store: RedisStore, link: Link) -> None:
    for raw, is_kept in ((b'{"result": 1, "status": "SUCCESS"}', True), (b'{"result": "SUCCESS"}', False),
                         (b'{"status":"SUCCESS"}', True), (b"{", False), (b"", False), (b"\x80", False), (b"x", False)):
        link.call("SET", f"{KEY}a", raw)
        store.put([Result("a", "FAILURE", document("FAILURE"))])
        assert (store.get(["a"])["a"] == raw) is is_kept


def test_a_compressed_document_that_nobody_can_read_gives_way(store: RedisStore, link: Link) -> None:
    link.call("SET", f"{KEY}a", b"\0celery-compressed\0nothing\0x")
    store.put([done("a")])
    assert store.get(["a"]) == {"a": DONE}


def test_of_one_task_twice_in_a_batch_the_success_stays(open_redis: Callable[..., RedisStore]) -> None:
    store = open_redis()
    codec = MetaCodec(compressed="zlib")
    rows = [Result("a", state, codec.encode("a", state, 1)) for state in ("STARTED", "SUCCESS", "FAILURE")]
    store.put(rows)
    assert store.get(["a"]) == {"a": rows[1].meta}


# What goes wrong

def uses_of(store: RedisStore) -> list[Callable[[], object]]:
    return [lambda: store.put([done("a")]), lambda: store.get(["a"]), lambda: store.wait(["a"], 20)]


def test_a_full_server_is_told_as_such(open_redis: Callable[..., RedisStore], own_redis: Callable[..., Redis]) -> None:
    store = open_redis(own_redis(memory="1kb").url)
    with pytest.raises(BackendError, match=r"OOM.*raise maxmemory"):
        store.put([done("a")])


def test_a_wrong_password_is_told_at_once(open_redis: Callable[..., RedisStore],
                                          own_redis: Callable[..., Redis]) -> None:
    server = own_redis(password="right")
    for login, word in (("", "NOAUTH"), (":wrong@", "WRONGPASS")):
        store = open_redis(f"redis://{login}127.0.0.1:{server.port}/0")
        for use in uses_of(store):
            with pytest.raises(BackendError, match=word):
                use()
    assert open_redis(f"redis://127.0.0.1:{server.port}", password="right").get(["a"]) == {}


def test_credentials_are_asked_for_at_each_connection(open_redis: Callable[..., RedisStore],
                                                      own_redis: Callable[..., Redis]) -> None:
    class Provider:
        asked = 0

        def get_credentials(self) -> tuple[str, ...]:
            self.asked += 1
            return ("right",)

    provider = Provider()
    server = own_redis(password="right")
    store = open_redis(f"redis://127.0.0.1:{server.port}", credential_provider=provider)
    store.put([done("a")])
    assert store.wait(["a"], 5) == {"a": DONE}
    assert provider.asked == 2


def test_a_server_that_is_not_there_is_named(open_redis: Callable[..., RedisStore]) -> None:
    store = open_redis("redis://127.0.0.1:1/0", patience_s=0.2)
    for use in uses_of(store):
        with pytest.raises(BackendError, match=r"127\.0\.0\.1:1/0.*refused"):
            use()


def test_a_question_survives_a_connection_that_the_server_closed(store: RedisStore, link: Link) -> None:
    store.put([done("a")])
    link.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert store.get(["a"]) == {"a": DONE}


def test_a_closed_store_says_so(store: RedisStore) -> None:
    store.put([done("a")])
    store.close()
    for use in uses_of(store):
        with pytest.raises(BackendError, match="closed"):
            use()


# Addresses and options

@pytest.mark.parametrize("options, word", [
    ({"global_keyprefx": "x"}, "did you mean 'global_keyprefix'"), ({"global_keyprefix": 1}, "must be text"),
    ({"patience_s": "long"}, "must be a number"), ({"retry_policy": {"max_retries": -1}}, "must be a number"),
])
def test_a_wrong_option_is_told_when_the_store_is_opened(options: dict[str, object], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        backends.open("redis://", options)


def test_options_that_celerys_users_have_are_taken(redis_url: str) -> None:
    store = backends.open(redis_url, {
        "visibility_timeout": 3600, "retry_policy": {"timeout": 5.0}, "socket_timeout": 3, "socket_keepalive": True,
        "master_name": "main", "sentinel_kwargs": {}, "additional_connection_errors": ()})
    assert (store._options.patience_s, store._way.reply_timeout_s) == (5.0, 3.0)  # type: ignore[attr-defined]
    store.close()


@pytest.mark.parametrize("policy, seconds", [
    ({}, 19), ({"max_retries": 3}, 2), ({"max_retries": 0}, 0), ({"interval_start": 2, "max_retries": 2}, 4),
    ({"interval_step": 0.2, "interval_max": 0.5, "max_retries": 5}, 1.6), ({"max_retries": None}, 2**31),
])
def test_celerys_retry_policy_says_how_long_a_server_is_waited_for(policy: dict[str, Any], seconds: float) -> None:
    store = backends.open("redis://", {"retry_policy": policy})
    assert store._options.patience_s == pytest.approx(seconds)  # type: ignore[attr-defined]
    store.close()


@pytest.mark.parametrize("make", ["redis+socket://{}?virtual_host=3", "unix://{}?db=3"])
def test_a_unix_socket_will_do(own_redis: Callable[..., Redis], open_redis: Callable[..., RedisStore],
                               make: str) -> None:
    server = own_redis(has_socket=True)
    store = open_redis(make.format(server.socket))
    store.put([done("a")])
    assert store.wait(["a"], 5) == {"a": DONE}
    assert server.ask("EXISTS", f"{KEY}a", database=3) == 1


def test_without_hiredis_the_words_say_what_to_install() -> None:
    code = ("import sys; sys.modules['hiredis'] = None\n"
            "from fastq import Fastq\n"
            "app = Fastq('shop', backend='redis://')\n"
            "app.result_url, app.backend")
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ConfigError" in ended.stderr.splitlines()[-1]
    assert "pip install 'fastq[redis]'" in ended.stderr
