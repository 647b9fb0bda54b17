"""Addresses of Redis."""

from __future__ import annotations

import pytest

from fastq.exceptions import ConfigError
from fastq.transport.redis_target import Target, mask, parse, parse_many


@pytest.mark.parametrize(("url", "expected"), [
    ("redis://", Target()),
    ("redis://host", Target("host")),
    ("redis://host:6380/3", Target("host", 6380, db=3)),
    ("redis://host//3", Target("host", db=3)),
    ("redis://:se%2Fcret@host", Target("host", password="se/cret")),
    ("redis://me:secret@host/1", Target("host", db=1, username="me", password="secret")),
    ("redis://[::1]:6380", Target("::1", 6380)),
    ("REDIS://host?db=2", Target("host", db=2)),
    ("redis://host?global_keyprefix=app:", Target("host", prefix="app:")),
    ("rediss://host", Target("host", ssl=True)),
    ("rediss://host?ssl_cert_reqs=CERT_NONE", Target("host", ssl={"ssl_cert_reqs": "CERT_NONE"})),
    ("redis+socket:///run/redis.sock", Target(path="/run/redis.sock")),
    ("redis+socket:///run/redis.sock?virtual_host=4", Target(path="/run/redis.sock", db=4)),
    ("unix:///run/redis.sock?db=4&password=x", Target(path="/run/redis.sock", db=4, password="x")),
    ("unix://me:x@/run/redis.sock", Target(path="/run/redis.sock", username="me", password="x")),
    ("redis+socket://%2Frun%2Fredis.sock", Target(path="/run/redis.sock")),
    ("redis://host?socket_timeout=3", Target("host", options={"socket_timeout": "3"})),
])
def test_an_address_says_where_and_as_whom(url: str, expected: Target) -> None:
    assert parse(url) == expected


def test_sentinels_make_one_target() -> None:
    (target,) = parse_many("sentinel://a:26380;sentinel://:secret@b/2?master_name=mymaster")
    assert target.sentinels == (("a", 26380), ("b", 26379))
    assert (target.master, target.password, target.db) == ("mymaster", "secret", 2)
    assert target.where == "mymaster of sentinel a:26380, b:26379"


def test_several_servers_are_several_targets() -> None:
    assert [target.where for target in parse_many(["redis://a", "redis://b/1"])] == ["a:6379/0", "b:6379/1"]


def test_settings_say_how_to_do_tls_where_the_address_does_not() -> None:
    given = {"ssl_ca_certs": "ca.pem"}
    assert parse("redis://host", given).ssl == given
    assert parse("rediss://host?ssl_cert_reqs=none", given).ssl == {**given, "ssl_cert_reqs": "none"}
    assert parse("unix:///run/redis.sock", given).ssl is None


@pytest.mark.parametrize(("url", "text"), [
    ("http://host", "is no address of Redis"),
    ("redis://host:port", "the port is no number"),
    ("redis://host:0", "port 0"),
    ("redis://host/name", "a database of Redis is a number"),
    ("redis://host/-1", "a database of Redis is a number"),
    ("redis://host?ssl_ca_certs=x", "write rediss://"),
    ("redis://host?ssl=false", "can only be true"),
    ("unix://", "names no socket"),
])
def test_a_wrong_address_names_what_is_wrong(url: str, text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        parse(url)


@pytest.mark.parametrize("url", ["redis://me:secret@host:port", "redis://:secret@host/x", "rediss://:secret@h?ssl=0",
                                 "unix://?password=secret&db=x", "redis://host?password=secret&db=x"])
def test_no_error_tells_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(url)
    assert "secret" not in str(caught.value)


def test_no_text_of_a_target_tells_the_password() -> None:
    target = parse("redis://me:secret@host")
    assert "secret" not in f"{target!r} {target} {target.where}"
    assert mask("redis://me:secret@host?password=secret") == "redis://me:**@host?password=**"
