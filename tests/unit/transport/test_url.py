"""Addresses of embedded brokers and their options."""

from __future__ import annotations

import pytest

from fastq import backends, transport
from fastq.exceptions import ConfigError
from fastq.transport.url import Address, choice, merge_options, number, parse_url, scheme_of, split_urls


@pytest.mark.parametrize(("url", "address"), [
    ("sqlite:///tasks.db", Address("sqlite", "tasks.db", {})),
    ("sqlite:////var/lib/tasks.db", Address("sqlite", "/var/lib/tasks.db", {})),
    ("SQLite:///a%20b/c%3Fd.db", Address("sqlite", "a b/c?d.db", {})),
    ("sqlite:///t.db?timeout=2&synchronous=full", Address("sqlite", "t.db", {"timeout": "2", "synchronous": "full"})),
    ("memory://", Address("memory", "", {})),
    ("memory://name?death_limit=2", Address("memory", "name", {"death_limit": "2"})),
])
def test_an_address_is_taken_apart(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize(("url", "reason"), [
    ("sqlite://tasks.db", "three slashes: sqlite:///tasks.db"),
    ("sqlite://", "names no file|three slashes"),
    ("sqlite:///", "names no file"),
    ("sqlite:////tmp/", "names no file"),
    ("sqlite:///a%00b", "NUL"),
])
def test_an_address_that_names_no_file_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        parse_url(url)


@pytest.mark.parametrize(("url", "hint"), [
    ("sqlit:///t.db", "did you mean 'sqlite'"),
    ("memry://", "did you mean 'memory'"),
    ("zzzz://x", "known: .*memory, .*sqlite"),
    ("tasks.db", "no '://'"),
])
def test_an_unknown_scheme_is_refused_with_the_nearest_known_one(url: str, hint: str) -> None:
    for open_url in (transport.open, backends.open):
        with pytest.raises(ConfigError, match=hint):
            open_url(url)


@pytest.mark.parametrize(("url", "found"), [
    ("amqp://a", ("amqp://a",)),
    ("amqp://a;amqp://b:1// ; AMQPS://c;", ("amqp://a", "amqp://b:1//", "AMQPS://c")),
    (["amqp://a", "amqp://b;amqp://c"], ("amqp://a", "amqp://b", "amqp://c")),
    ("amqp://me:p;w@a;amqp://b", ("amqp://me:p;w@a", "amqp://b")),
])
def test_several_addresses_are_a_list_or_one_text(url: str | list[str], found: tuple[str, ...]) -> None:
    assert split_urls(url) == found


@pytest.mark.parametrize("url", ["", [], ["amqp://a", ""]])
def test_no_address_is_refused(url: str | list[str]) -> None:
    with pytest.raises(ConfigError, match="names no broker"):
        split_urls(url)


@pytest.mark.parametrize(("url", "hint"), [
    ("amqp://a;memory://", "one kind.*amqp, memory"),
    (["sqlite:///a.db", "sqlite:///b.db"], "in a file or in memory"),
])
def test_brokers_that_cannot_stand_in_for_each_other_are_refused(url: str | list[str], hint: str) -> None:
    with pytest.raises(ConfigError, match=hint):
        transport.open(url)


def test_an_unknown_scheme_shows_no_password() -> None:
    with pytest.raises(ConfigError) as caught:
        transport.open("amqq://me:secret@host")
    assert "secret" not in str(caught.value)


def test_the_app_tells_every_scheme_something() -> None:
    assert transport.TOLD.keys() == transport.SCHEMES.keys()


def test_the_scheme_is_found_in_any_case() -> None:
    assert scheme_of("MEMORY://x", ["memory"]) == "memory"


def test_options_in_the_address_win_over_those_given() -> None:
    assert merge_options("u", {"timeout": "1"}, {"timeout": 2, "synchronous": "full"}, ("timeout", "synchronous")) == {
        "timeout": "1", "synchronous": "full"}


def test_an_unknown_option_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'timeout'"):
        transport.open("sqlite:///t.db?timeuot=3")
    with pytest.raises(ConfigError, match="unknown option 'timeout'"):
        transport.open("memory://x?timeout=3")


@pytest.mark.parametrize("value", ["", "x", "-1", "inf", "nan", True, None])
def test_a_number_must_be_one(value: object) -> None:
    with pytest.raises(ConfigError, match="'timeout'"):
        number("timeout", value, 0)


def test_a_choice_is_one_of_few_words() -> None:
    assert choice("synchronous", "FULL", ("normal", "full")) == "full"
    with pytest.raises(ConfigError, match="did you mean 'full'"):
        choice("synchronous", "ful", ("normal", "full"))
