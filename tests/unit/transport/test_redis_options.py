"""Options of a broker on Redis, in Celery's words and in ours."""

from __future__ import annotations

from pathlib import Path

import pytest
from kombu.transport.redis import SentinelChannel

from fastq import transport
from fastq.exceptions import ConfigError
from fastq.transport.redis_keys import Keys
from fastq.transport.redis_options import OF_CELERY, RENAMED, RedisOptions
from fastq.transport.redis_target import parse, parse_many

KOMBU_OPTIONS = SentinelChannel.from_transport_options


def read(**options: object) -> RedisOptions:
    return RedisOptions.read("redis://host", {}, options)


def test_every_option_of_kombu_is_known() -> None:
    for name in KOMBU_OPTIONS:
        assert name in RedisOptions._fields or name in OF_CELERY or RedisOptions.read("redis://", {}, {name: 1})


def test_celerys_words_win_over_what_the_app_adds() -> None:
    assert read(connect_timeout_s=4, socket_connect_timeout=2.5).connect_timeout_s == 2.5
    assert read(socket_timeout=9, health_check_interval=0) == RedisOptions(reply_timeout_s=9, health_check_s=0)
    assert read(socket_timeout=None).reply_timeout_s == 5


def test_options_of_an_address_are_text_and_win() -> None:
    target = parse("redis://host?visibility_timeout=60&fanout_patterns=no&priority_steps=0,5")
    found = RedisOptions.read("redis://host", target.options, {"visibility_timeout": 10})
    assert (found.visibility_timeout, found.fanout_patterns, found.priority_steps) == (60, False, (0, 5))


@pytest.mark.parametrize(("options", "text"), [
    ({"visibilty_timeout": 1}, "did you mean 'visibility_timeout'"),
    ({"priority_steps": [1, 2]}, "of which one is 0"),
    ({"priority_steps": "high"}, "of which one is 0"),
    ({"queue_order_strategy": "random"}, "queue_order_strategy"),
    ({"visibility_timeout": "soon"}, "must be a number"),
    ({"sep": 3}, "must be text"),
    ({"credential_provider": "module.Class"}, "get_credentials"),
])
def test_a_wrong_option_is_named(options: dict[str, object], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        read(**options)


def test_what_means_nothing_here_is_taken_and_dropped() -> None:
    assert read(unacked_mutex_key="m", unacked_mutex_expire=1, unacked_restore_limit=10) == RedisOptions()


def test_a_cluster_has_no_order_of_queues() -> None:
    with pytest.raises(ConfigError, match="queue_order_strategy' cannot be 'sorted' on a cluster"):
        transport.open("redis+cluster://host", {"queue_order_strategy": "sorted"})


@pytest.mark.parametrize(("value", "channel"), [
    (True, b"p:/3.news/a.b"), (False, b"p:news/a.b"), ("/x{db}.", b"p:/x3.news/a.b"), ("no", b"p:news/a.b"),
])
def test_channels_have_kombus_names(value: object, channel: bytes) -> None:
    options = read(fanout_prefix=value, global_keyprefix="p:")
    assert options.keys(parse_many("redis://host/3")).channel("news", "a.b") == channel


def test_lists_have_kombus_names() -> None:
    keys = Keys(prefix="p:")
    assert [keys.list_of("q", priority) for priority in (-1, 0, 2, 3, 5, 6, 9, 12)] == [
        b"p:q", b"p:q", b"p:q", b"p:q\x06\x163", b"p:q\x06\x163", b"p:q\x06\x166", b"p:q\x06\x169", b"p:q\x06\x169"]
    assert keys.lists_of("q") == [b"p:q", b"p:q\x06\x163", b"p:q\x06\x166", b"p:q\x06\x169"]
    assert keys.binding("news") == b"p:_kombu.binding.news"


def test_every_option_is_on_its_page() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/redis.md").read_text()
    told_by_the_app = {"queue_of", "bound_to", "known", "failover", "ssl", "result_prefix"}
    names = {*RedisOptions._fields, *OF_CELERY, *RENAMED} - told_by_the_app
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
