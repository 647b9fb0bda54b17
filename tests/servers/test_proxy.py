"""The proxy misbehaves exactly as it is told."""

from __future__ import annotations

import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from tests.deadline import wait_until
from tests.servers.proxy import Manner, Proxy

SEGS_IN = 140
"""Where `struct tcp_info` of Linux has the count of segments received."""


class Echo:
    """A server that sends back what it gets."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.ends: list[socket.socket] = []
        self.errors: list[OSError] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                end, _ = self.listener.accept()
            except OSError:
                return
            self.ends.append(end)
            threading.Thread(target=self._answer, args=[end], daemon=True).start()

    def _answer(self, end: socket.socket) -> None:
        try:
            while data := end.recv(65536):
                end.sendall(data)
        except OSError as error:
            self.errors.append(error)
        end.close()

    def close(self) -> None:
        if self.listener.fileno() >= 0:
            self.listener.shutdown(socket.SHUT_RDWR)  # or `accept` would wait on
            self.listener.close()


@pytest.fixture
def echo() -> Iterator[Echo]:
    server = Echo()
    yield server
    server.close()


@pytest.fixture
def proxy(echo: Echo) -> Iterator[Proxy]:
    with Proxy(echo.port) as opened:
        yield opened


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as opened:
        yield opened


def ask(client: socket.socket, data: bytes) -> bytes:
    """What comes back for *data*, all of it."""
    threading.Thread(target=client.sendall, args=[data], daemon=True).start()
    answer = b""
    while len(answer) < len(data):
        answer += client.recv(len(data) - len(answer))
    return answer


def is_refused(port: int) -> bool:
    try:  # the reset may come before or after the client knows that it is connected
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            return client.recv(1) != b""
    except ConnectionResetError:
        return True


def is_silent(client: socket.socket) -> bool:
    return not select.select([client], [], [], 0.05)[0]


def test_it_passes_bytes_and_ends(proxy: Proxy, client: socket.socket) -> None:
    data = bytes(range(256)) * 20_000
    assert ask(client, data) == data
    assert proxy.passed == 2 * len(data)
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    wait_until(lambda: proxy.open == 0)
    assert proxy.accepted == 1


def test_it_takes_the_place_of_the_server_in_an_address(proxy: Proxy) -> None:
    port = proxy.port
    assert proxy.url("amqp://guest:guest@localhost:5672/v") == f"amqp://guest:guest@127.0.0.1:{port}/v"
    assert proxy.url("redis://127.0.0.1:6379/0?x=127.0.0.1:1") == f"redis://127.0.0.1:{port}/0?x=127.0.0.1:1"


def test_a_cut_resets_both_ends(proxy: Proxy, client: socket.socket, echo: Echo) -> None:
    assert ask(client, b"x") == b"x"
    assert proxy.cut() == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert isinstance(wait_until(lambda: echo.errors)[0], ConnectionResetError)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as again:
        assert ask(again, b"y") == b"y"


def test_it_refuses_until_it_behaves(proxy: Proxy, client: socket.socket) -> None:
    proxy.cut(refuse=True)
    assert is_refused(proxy.port)
    proxy.behave()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as again:
        assert ask(again, b"y") == b"y"


def test_a_client_is_reset_where_there_is_no_server(proxy: Proxy, echo: Echo) -> None:
    echo.close()
    assert is_refused(proxy.port)


@pytest.mark.parametrize(("up", "down"), [(True, False), (False, True), (True, True)])
def test_half_open_swallows_bytes_and_the_end(proxy: Proxy, client: socket.socket, echo: Echo, up: bool,
                                              down: bool) -> None:
    assert ask(client, b"x") == b"x"
    proxy.half_open(up=up, down=down)
    client.sendall(b"lost")
    wait_until(lambda: proxy.passed == 2 + 4 * (2 - up))
    assert is_silent(client)
    echo.ends[0].shutdown(socket.SHUT_WR)
    assert is_silent(client) == down


def test_a_stall_fills_the_sender_and_loses_nothing(proxy: Proxy, client: socket.socket) -> None:
    proxy.stall()
    data = bytes(range(256)) * 100_000
    client.setblocking(False)
    sent = 0
    while select.select([], [client], [], 0.05)[1]:
        sent += client.send(data[sent:])
    assert 0 < sent < len(data)
    proxy.behave()
    client.setblocking(True)
    client.settimeout(10)
    answer = b""
    while len(answer) < sent:
        answer += client.recv(sent - len(answer))
    assert answer == data[:sent]


def test_slow_bytes_take_their_time(proxy: Proxy, client: socket.socket) -> None:
    proxy.behave(Manner(bytes_per_ms=10), up=False)
    started = time.monotonic()
    assert ask(client, bytes(2_000)) == bytes(2_000)
    assert time.monotonic() - started > 0.18


def test_late_bytes_come_whole_and_in_order(proxy: Proxy, client: socket.socket) -> None:
    proxy.behave(Manner(delay_s=0.05))
    started = time.monotonic()
    assert ask(client, b"first") == b"first"
    assert time.monotonic() - started >= 0.1


def test_split_bytes_come_in_pieces(proxy: Proxy, client: socket.socket) -> None:
    proxy.behave(Manner(piece=3), up=False)
    data = bytes(range(256)) * 4
    client.sendall(data)
    pieces = []
    while sum(map(len, pieces)) < len(data):
        pieces.append(client.recv(65536))
    assert b"".join(pieces) == data
    # A reader that is late finds many in one: the kernel has counted them.
    arrived = struct.unpack_from("I", client.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 144), SEGS_IN) \
        if sys.platform == "linux" else (len(pieces),)
    assert arrived[0] > 10


def test_an_order_holds_for_connections_that_stand_and_for_later_ones(proxy: Proxy, client: socket.socket) -> None:
    assert ask(client, b"x") == b"x"
    proxy.half_open()
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as later:
        for one in (client, later):
            one.sendall(b"lost")
            assert is_silent(one)
    assert proxy.accepted == 2


def test_its_end_ends_every_connection(echo: Echo) -> None:
    proxy = Proxy(echo.port)
    with socket.create_connection(("127.0.0.1", proxy.port), 10) as client:
        assert ask(client, b"x") == b"x"
        proxy.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    proxy.close()
