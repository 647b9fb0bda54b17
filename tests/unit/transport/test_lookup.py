"""Names of hosts, looked up within a deadline."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from fastq.amqp.error import ConnectionFailed
from fastq.amqp.link import Link
from fastq.amqp.target import parse
from fastq.net.lookup import addresses_of
from fastq.net.meanwhile import meanwhile
from tests.deadline import wait_until


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Name servers that answer when this is set: how late they are is all that is made up."""
    real, late = socket.getaddrinfo, threading.Event()

    def look_up(host: str, *args: Any, flags: int = 0, **kwargs: Any) -> Any:
        if not flags & socket.AI_NUMERICHOST:
            late.wait(60)
            host = "localhost"
        return real(host, *args, flags=flags, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    yield late
    late.set()
    wait_until(lambda: not at_it())


def at_it() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "look up rabbit.example"]


def test_a_name_server_that_answers_nothing_costs_the_time_to_connect_and_no_more(answer: threading.Event,
                                                                                  amqp_url: str) -> None:
    target = parse(amqp_url)._replace(host="rabbit.example")
    began = time.monotonic()
    for _ in range(3):
        with pytest.raises(ConnectionFailed, match=r"'rabbit.example' was not resolved in \d\.\d s; check the name"):
            Link.open(target, connect_timeout_s=0.2)
    assert time.monotonic() - began < 10
    assert len(at_it()) == 1
    answer.set()
    Link.open(target, connect_timeout_s=20).close()


def test_an_address_in_numbers_needs_no_name_server(answer: threading.Event) -> None:
    assert [found[4][0] for found in addresses_of("127.0.0.1", 80, time.monotonic())] == ["127.0.0.1"]
    assert [found[4][0] for found in addresses_of("::1", 80, time.monotonic())] == ["::1"]


def test_a_loop_does_its_duty_while_a_name_is_looked_up(answer: threading.Event) -> None:
    done: list[bool] = []

    def duty(is_opening: bool) -> None:
        done.append(is_opening)
        if len(done) == 3:
            answer.set()

    with meanwhile(duty):
        assert addresses_of("rabbit.example", 80, time.monotonic() + 60)
    assert len(done) >= 3


def test_a_name_that_does_not_exist_is_told_to_each_who_asks() -> None:
    for _ in range(2):
        with pytest.raises(socket.gaierror):
            addresses_of("no.such.name.invalid", 80, time.monotonic() + 60)
