from __future__ import annotations

import pytest
from kombu.utils.url import parse_url

from fastq.amqp.target import Target, mask, parse, parse_many
from fastq.exceptions import ConfigError


@pytest.mark.parametrize(("url", "expected"), [
    ("amqp://", ("localhost", 5672, "guest", "guest", "/")),
    ("amqp://rabbit", ("rabbit", 5672, "guest", "guest", "/")),
    ("amqp://rabbit/", ("rabbit", 5672, "guest", "guest", "/")),
    ("amqp://rabbit//", ("rabbit", 5672, "guest", "guest", "/")),
    ("amqp://rabbit/%2F", ("rabbit", 5672, "guest", "guest", "/")),
    ("amqp://rabbit/tasks", ("rabbit", 5672, "guest", "guest", "tasks")),
    ("amqp://rabbit//tasks", ("rabbit", 5672, "guest", "guest", "/tasks")),
    ("amqp://rabbit/a%2Fb", ("rabbit", 5672, "guest", "guest", "a/b")),
    ("amqp://rabbit:1234", ("rabbit", 1234, "guest", "guest", "/")),
    ("amqp://me@rabbit", ("rabbit", 5672, "me", "guest", "/")),
    ("amqp://me:secret@rabbit:1/v", ("rabbit", 1, "me", "secret", "v")),
    ("amqp://m%40e:s%2Fe%3Ac%23@rabbit", ("rabbit", 5672, "m@e", "s/e:c#", "/")),
    ("amqp://[::1]:5673/v", ("::1", 5673, "guest", "guest", "v")),
    ("pyamqp://rabbit", ("rabbit", 5672, "guest", "guest", "/")),
    ("librabbitmq://rabbit", ("rabbit", 5672, "guest", "guest", "/")),
    ("AMQP://rabbit", ("rabbit", 5672, "guest", "guest", "/")),
    ("amqps://rabbit", ("rabbit", 5671, "guest", "guest", "/")),
])
def test_address_is_read_as_kombu_reads_it(url: str, expected: tuple[object, ...]) -> None:
    assert parse(url)[:5] == expected


def test_every_part_of_an_address_agrees_with_kombu() -> None:
    for url in ("amqp://me:pa%20ss@rabbit:5673/v%2Fw", "amqp://rabbit//x", "pyamqp://me@rabbit/x?heartbeat=5"):
        theirs, ours = parse_url(url), parse(url)
        assert (ours.host, ours.user, ours.vhost) == (theirs["hostname"], theirs["userid"] or "guest",
                                                      theirs["virtual_host"] or "/")


def test_ipv6_host_stands_in_brackets_where_it_is_shown() -> None:
    assert parse("amqp://[::1]:5673").where == "[::1]:5673"


@pytest.mark.parametrize(("url", "part"), [
    ("redis://rabbit", "begins with one of amqp://"),
    ("rabbit:5672", "begins with one of amqp://"),
    ("", "begins with one of amqp://"),
    ("amqp://rabbit:port", "the port is no number"),
    ("amqp://rabbit:70000", "the port is no number"),
    ("amqp://rabbit:0", "port 0"),
    ("amqp://[::1", "host name is malformed"),
    ("amqp://rabbit?ssl=maybe", "ssl='maybe'"),
])
def test_wrong_address_says_which_part_is_wrong(url: str, part: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(url)
    assert part in str(error.value)


@pytest.mark.parametrize("url", [
    "amqp://me:hush/hush@rabbit", "amqp://me:hush?hush@rabbit", "amqp://me:hush#@rabbit", "redis://me:hush@rabbit",
    "amqp://me:hu@sh@rabbit:x", "amqp://me:hush[@rabbit",
])
def test_password_is_in_no_error(url: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(url)
    assert "hush" not in str(error.value).replace("%", "")
    assert "hu@" not in str(error.value)


def test_password_is_in_no_picture_of_a_target() -> None:
    target = parse("amqp://me:hush@rabbit/v")
    assert "hush" not in repr(target) + str(target) + f"{target}" + repr([target])
    assert mask("amqp://me:hush@rabbit/v") == "amqp://me:**@rabbit/v"


def test_list_of_addresses_comes_in_its_order() -> None:
    assert [one.host for one in parse_many("amqp://a;amqp://b:1/v; amqps://c")] == ["a", "b", "c"]
    assert [one.host for one in parse_many(["amqp://a;amqp://b", "amqp://c"])] == ["a", "b", "c"]


@pytest.mark.parametrize("nothing", ["", ";", []])
def test_list_without_an_address_is_refused(nothing: str) -> None:
    with pytest.raises(ConfigError, match="no broker address"):
        parse_many(nothing)


def test_query_is_kept_and_its_tls_options_are_taken_out() -> None:
    target = parse("amqps://rabbit/v?heartbeat=10&ssl_cert_reqs=none&ssl_ca_certs=%2Fca.pem")
    assert target.options == {"heartbeat": "10"}
    assert target.ssl == {"cert_reqs": "none", "ca_certs": "/ca.pem"}
    assert target.port == 5671


def test_tls_comes_from_the_scheme_the_query_or_the_settings() -> None:
    assert parse("amqp://rabbit").ssl is None
    assert parse("amqps://rabbit").ssl is True
    assert parse("amqp://rabbit?ssl=true").ssl is True
    assert parse("amqp://rabbit", True).ssl is True
    assert parse("amqps://rabbit", {"ca_certs": "a"}).ssl == {"ca_certs": "a"}
    assert parse("amqps://rabbit?ssl_ca_certs=b", {"ca_certs": "a", "certfile": "c"}).ssl == {
        "ca_certs": "b", "certfile": "c"}


def test_target_has_the_defaults_of_an_empty_address() -> None:
    assert Target() == parse("amqp://")
