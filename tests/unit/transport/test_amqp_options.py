"""The options of an AMQP address: every one of them, and what is said about a wrong one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from fastq import transport
from fastq.exceptions import ConfigError, TransportError
from fastq.transport.amqp import AmqpTransport, open_url
from fastq.transport.amqp_options import OF_CELERY, AmqpOptions
from fastq.wire.entity import Queue

URL = "amqp://me:hunter2@rabbit.example.org/tasks"


def options_of(url: str = URL, **options: Any) -> AmqpOptions:
    return open_url(url, options)._options


def test_without_a_word_the_defaults_hold() -> None:
    options = options_of()
    assert options == AmqpOptions()
    assert (options.connect_timeout_s, options.publish_timeout_s, options.death_limit) == (4.0, 5.0, 3)
    assert options.queue_of("q") == Queue("q", "q", "q")
    assert (list(options.bound_to("x")), list(options.known())) == ([], [])


@pytest.mark.parametrize(("name", "given", "meant"), [
    ("death_limit", 5, 5), ("death_limit", "7", 7), ("death_limit", None, 3),
    ("heartbeat_s", 0, 0.0), ("heartbeat_s", "2.5", 2.5), ("heartbeat_s", None, 60.0),
    ("connect_timeout_s", 0.1, 0.1), ("publish_timeout_s", "30", 30.0),
    ("confirm_publish", True, True), ("confirm_publish", "on", True), ("confirm_publish", "False", False),
    ("confirm_publish", "0", False), ("confirm_publish", 1, True),
    ("failover", "Shuffle", "shuffle"), ("failover", reversed, reversed),
    ("delayed_queue_type", "classic", "classic"), ("dead_queue_type", "QUORUM", "quorum"),
    ("login_method", "amqplain", "AMQPLAIN"), ("login_method", "External", "EXTERNAL"),
    ("client_properties", {"app": "shop"}, {"app": "shop"}),
    ("result_content", ("application/x-msgpack", "binary"), ("application/x-msgpack", "binary")),
])
def test_an_option_is_read(name: str, given: object, meant: object) -> None:
    assert getattr(options_of(**{name: given}), name) == meant


def test_options_in_the_address_win() -> None:
    options = options_of(f"{URL}?publish_timeout_s=1.5&confirm_publish=yes", publish_timeout_s=9, death_limit=2)
    assert (options.publish_timeout_s, options.confirm_publish, options.death_limit) == (1.5, True, 2)


@pytest.mark.parametrize(("name", "given", "why"), [
    ("death_limit", 0, "at least 1"), ("death_limit", True, "must be a number"), ("death_limit", "many", "'many'"),
    ("heartbeat_s", -1, "at least 0"), ("heartbeat_s", float("nan"), "nan"), ("heartbeat_s", float("inf"), "inf"),
    ("connect_timeout_s", 0, "at least 0.1"), ("publish_timeout_s", "soon", "'soon'"),
    ("confirm_publish", "maybe", "cannot be 'maybe'"), ("confirm_publish", 2, "cannot be 2"),
    ("failover", "random", "cannot be 'random'"), ("failover", 3, "cannot be 3"),
    ("delayed_queue_type", "stream", "known: classic, quorum"), ("dead_queue_type", "quorom", "did you mean 'quorum'"),
    ("login_method", "kerberos", "cannot be 'kerberos'"),
    ("client_properties", ["app"], "must be a mapping"),
    ("queue_of", "celery", "must be a function"), ("bound_to", {}, "must be a function"),
    ("known", ["q"], "must be a function"),
])
def test_a_wrong_option_is_named_with_what_is_wrong(name: str, given: object, why: str) -> None:
    with pytest.raises(ConfigError, match=name) as caught:
        options_of(**{name: given})
    assert why in str(caught.value)


@pytest.mark.parametrize(("name", "meant"), [("heartbeat", "heartbeat_s"), ("confirm_publishes", "confirm_publish")])
def test_an_unknown_option_is_named_with_the_nearest_and_its_place(name: str, meant: str) -> None:
    for url, given in ((URL, {name: 1}), (f"{URL}?{name}=1", {})):
        with pytest.raises(ConfigError) as caught:
            options_of(url, **given)
        assert f"unknown option {name!r}" in str(caught.value)
        assert f"did you mean {meant!r}?" in str(caught.value)
        assert "me:**@rabbit.example.org" in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_options_of_celery_that_mean_nothing_here_pass() -> None:
    assert options_of(**dict.fromkeys(OF_CELERY, 1)) == AmqpOptions()


def test_what_an_app_tells_is_known() -> None:
    for scheme in ("amqp", "amqps", "pyamqp", "librabbitmq"):
        assert set(transport.TOLD[scheme]) <= set(AmqpOptions._fields)


@pytest.mark.parametrize("scheme", ["amqp", "amqps", "pyamqp", "librabbitmq"])
def test_every_scheme_opens_and_connects_to_nothing_yet(scheme: str) -> None:
    opened = transport.open(f"{scheme}://me:hunter2@no.such.host.invalid//")
    assert isinstance(opened, AmqpTransport)
    opened.close()
    opened.close()


def test_the_password_is_never_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    opened = open_url(["amqp://me:hunter2@127.0.0.1:1//", "amqps://me:hunter2@127.0.0.1:1//"], {})
    with pytest.raises(TransportError) as caught:
        opened.publish_one("q", b"\0\0\0\2\0\0")
    shown = [str(caught.value), repr(caught.value), repr(opened), repr(opened._brokers), repr(opened._options),
             repr(opened._brokers.targets), repr(opened._publisher), caplog.text]
    assert "127.0.0.1:1" in shown[0]
    assert not [text for text in shown if "hunter2" in text]


@pytest.mark.parametrize("url", [
    "amqp://me:hunter2@host:notaport//", "amqp://me:hunter2@[::1//", "amqp://me:hunter2@host:0//",
    "amqp://me:hunter2@host//?ssl=perhaps", "amqp://me:hun/ter2@host//",
])
def test_a_wrong_address_does_not_tell_the_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        open_url(url, {})
    assert "ter2" not in str(caught.value)


def test_every_option_is_on_its_page() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs/rabbitmq.md").read_text()
    told_by_the_app = {"queue_of", "bound_to", "known", "children", "ssl", "result_content"}
    names = {*AmqpOptions._fields, *OF_CELERY} - told_by_the_app
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []
