"""A thread with a duty does it while it waits for a server that takes connections and says nothing."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator

import pytest

from fastq.amqp.link import Link
from fastq.amqp.target import parse
from fastq.net import sock
from fastq.net.meanwhile import meanwhile
from fastq.transport import redis_link, redis_target

CONNECT_S = 60.0
Connect = Callable[[int], object]


class Enough(Exception):
    """Ends a wait."""


def to_rabbitmq(port: int) -> object:
    return Link.open(parse(f"amqp://guest:guest@127.0.0.1:{port}//"), connect_timeout_s=CONNECT_S)


def to_rabbitmq_with_tls(port: int) -> object:
    return Link.open(parse(f"amqps://guest:guest@127.0.0.1:{port}//"), connect_timeout_s=CONNECT_S)


def to_redis(port: int) -> object:
    return redis_link.connect(redis_target.parse(f"redis://127.0.0.1:{port}/0"), CONNECT_S)


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """A server that takes connections, and no more."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def enough(times: int, seen: list[bool]) -> Callable[[bool], None]:
    """A duty that ends the wait after so many *times*."""
    def duty(is_opening: bool) -> None:
        seen.append(is_opening)
        if len(seen) == times:
            raise Enough

    return duty


@pytest.mark.parametrize("connect", [to_rabbitmq, to_rabbitmq_with_tls, to_redis])
def test_a_duty_is_done_while_the_greeting_is_awaited_and_may_end_it(silent: socket.socket, connect: Connect) -> None:
    seen = list[bool]()
    with meanwhile(enough(3, seen)), pytest.raises(Enough):
        connect(silent.getsockname()[1])
    assert seen == [True] * 3
    accepted, _ = silent.accept()
    with accepted:
        accepted.settimeout(10)
        while accepted.recv(4096):
            pass    # the end: it was closed


def test_a_child_that_is_forked_meanwhile_lets_go_of_what_its_parent_waits_for(silent: socket.socket) -> None:
    children = list[int]()
    pipe_in, pipe_out = os.pipe()

    def fork(is_opening: bool) -> None:
        if (pid := os.fork()) == 0:
            os.close(pipe_out)
            os.read(pipe_in, 1)     # until the parent has looked
            os._exit(0)
        children.append(pid)
        raise Enough

    with meanwhile(fork), pytest.raises(Enough):
        to_rabbitmq(silent.getsockname()[1])
    accepted, _ = silent.accept()
    with accepted:
        accepted.settimeout(10)
        try:
            while accepted.recv(4096):
                pass    # an end, though the child lives
        finally:
            os.close(pipe_out)
            os.close(pipe_in)
            os.waitpid(children[0], 0)


def test_what_is_awaited_on_a_connection_that_stands_is_not_called_opening() -> None:
    one, other = socket.socketpair()
    seen = list[bool]()
    with one, other, meanwhile(enough(2, seen)), pytest.raises(Enough):
        sock.wait(one, sock.READ, CONNECT_S)
    assert seen == [False] * 2


def test_nothing_is_done_out_of_its_block_nor_in_a_short_wait() -> None:
    one, other = socket.socketpair()
    with one, other:
        with meanwhile(enough(1, [])):
            assert sock.wait(one, sock.READ, 0.01) == 0
            assert sock.wait(one, sock.WRITE, CONNECT_S) == sock.WRITE
        assert sock.wait(one, sock.READ, 0.06) == 0
