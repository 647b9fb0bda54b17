"""A TCP proxy that misbehaves on order: cut, half-open, stalled, slow, split and late connections.

One thread owns every socket; orders are carried out by it between two events, so that each has taken effect when its
call returns, for the connections that stand and for those to come.
"""

from __future__ import annotations

import random
import re
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

RESET = struct.pack("ii", 1, 0)
FULL = 1 << 18
"""A direction that holds this much reads no more, so that a slow one slows its sender."""


class Manner(NamedTuple):
    """How one direction treats bytes."""

    swallows: bool = False
    """Reads everything and passes nothing on, not even the end: the other side has silently gone."""
    stalls: bool = False
    """Reads nothing: the sender runs against a full window."""
    bytes_per_ms: float = 0.0
    """The most that passes; 0: all."""
    piece: int = 0
    """Bytes pass in pieces of 1 to this many; 0: as they came."""
    delay_s: float = 0.0
    """How late each byte is."""


PASSING = Manner()
STRANDED = Manner(swallows=True)


class Flow:
    """One direction of one connection."""

    def __init__(self, source: socket.socket, sink: socket.socket, is_up: bool) -> None:
        self.source, self.sink, self.is_up = source, sink, is_up
        self.waiting: deque[tuple[float, bytes]] = deque()
        self.size = 0
        self.free_at = 0.0
        self.has_read_all = self.has_sent_all = False
        self.is_stranded = False

    def reads(self, manner: Manner) -> bool:
        return not self.has_read_all and not manner.stalls and self.size < FULL

    def read(self, now: float, manner: Manner) -> int:
        """Take what came; returns how much."""
        data = self.source.recv(65536)
        self.has_read_all = not data
        if not manner.swallows:
            self.waiting.append((now + manner.delay_s, data))
            self.size += len(data)
        return len(data)

    def due_at(self, manner: Manner) -> float | None:
        """When the next bytes may pass; None: none wait."""
        return max(self.waiting[0][0], self.free_at) if self.waiting and not manner.stalls else None

    def write(self, now: float, manner: Manner, chance: random.Random) -> None:
        """Pass on one piece, or the end."""
        data = self.waiting[0][1]
        if not data:
            self.sink.shutdown(socket.SHUT_WR)
            self.has_sent_all = True
        most = chance.randint(1, manner.piece) if manner.piece else len(data)
        if manner.bytes_per_ms:
            most = min(most, max(1, int(manner.bytes_per_ms)))
        sent = self.sink.send(data[:most]) if data else 0
        due, data = self.waiting.popleft()
        self.size -= sent
        if sent < len(data):
            self.waiting.appendleft((due, data[sent:]))
        if manner.bytes_per_ms:
            self.free_at = max(now - 0.001, self.free_at) + sent / manner.bytes_per_ms / 1000

    def forget(self) -> None:
        """Lose what waits."""
        self.waiting.clear()
        self.size = 0


class Proxy:
    """Stands before the server at 127.0.0.1:*port*. Example::

        with Proxy(server.port) as proxy:
            connect(proxy.url(server.url))
            proxy.half_open()
    """

    def __init__(self, port: int, *, seed: int = 0) -> None:
        self.accepted = 0
        """How many connections there were in all."""
        self.passed = 0
        """How many bytes were read, of both directions."""
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._chance = random.Random(seed)
        self._manners = [Manner(), Manner()]
        self._flows: list[Flow] = []
        self._refuses = self._is_closing = False
        self._orders: deque[tuple[Callable[[], object], threading.Event]] = deque()
        self._bell, self._rope = socket.socketpair()
        self._rope.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def url(self, address: str) -> str:
        """*address*, with this proxy in the place of its host and port."""
        return re.sub(r"(?<=[@/])(127\.0\.0\.1|localhost):\d+", f"127.0.0.1:{self.port}", address, count=1)

    @property
    def open(self) -> int:
        """How many connections stand."""
        return len(self._flows) // 2

    # -- orders --------------------------------------------------------------------------------------------------------

    def behave(self, manner: Manner = PASSING, *, up: bool = True, down: bool = True) -> None:
        """Treat bytes to the server (*up*) and from it (*down*) so from now on; without arguments: pass them."""
        def order() -> None:
            self._refuses = False
            self._manners = [manner if wanted else old for wanted, old in zip((up, down), self._manners, strict=True)]
            for flow in self._flows:
                if self._manner(flow).swallows:
                    flow.forget()

        self._carry_out(order)

    def cut(self, *, refuse: bool = False) -> int:
        """Reset every connection at both ends, and with *refuse* each that comes, until `behave`; returns how many."""
        def order() -> None:
            nonlocal count
            self._refuses, count = refuse, self.open
            self._drop_all()

        count = 0
        self._carry_out(order)
        return count

    def half_open(self, *, up: bool = True, down: bool = True) -> None:
        """Swallow what is sent, without a word and without an end."""
        self.behave(Manner(swallows=True), up=up, down=down)

    def strand(self) -> int:
        """Swallow for ever what the connections that stand send, and pass those to come; returns how many stand.

        So it is with a router that forgot them: each end has to find out by itself.
        """
        def order() -> None:
            for flow in self._flows:
                flow.is_stranded = True
                flow.forget()

        self._carry_out(order)
        return self.open

    def stall(self, *, up: bool = True, down: bool = True) -> None:
        """Take nothing more: senders run full. What they sent passes after the next `behave`."""
        self.behave(Manner(stalls=True), up=up, down=down)

    def close(self) -> None:
        """Reset what stands, and stop listening. Safe to call twice."""
        if self._thread.is_alive():
            self._carry_out(lambda: setattr(self, "_is_closing", True))
            self._thread.join()
            self._bell.close()

    def _carry_out(self, order: Callable[[], object]) -> None:
        done = threading.Event()
        self._orders.append((order, done))
        try:
            self._bell.send(b"!")
        except BrokenPipeError:  # the order was to close, and it is done already
            return
        if not done.wait(10):
            raise TimeoutError("the proxy does not answer")

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_closing:
            ready = self._wait()
            now = time.monotonic()
            if ready.get(self._rope.fileno()):
                self._rope.recv(4096)
            while self._orders:
                order, done = self._orders.popleft()
                order()
                done.set()
            if ready.get(self._listener.fileno()):
                self._accept()
            for flow in list(self._flows):
                self._turn(flow, now, ready)
        self._drop_all()
        self._listener.close()
        self._rope.close()

    def _wait(self) -> dict[int, int]:
        """Wait for bytes, room, orders, or the time of what is late; return what is ready."""
        now = time.monotonic()
        wait_ms, poll = None, select.poll()
        wanted: dict[int, int] = {self._rope.fileno(): select.POLLIN, self._listener.fileno(): select.POLLIN}
        for flow in self._flows:
            manner = self._manner(flow)
            if flow.reads(manner):
                wanted[flow.source.fileno()] = wanted.get(flow.source.fileno(), 0) | select.POLLIN
            if (due := flow.due_at(manner)) is not None:
                if due <= now:
                    wanted[flow.sink.fileno()] = wanted.get(flow.sink.fileno(), 0) | select.POLLOUT
                else:
                    wait_ms = min(wait_ms or 1e9, (due - now) * 1000)
        for number, events in wanted.items():
            poll.register(number, events)
        return dict(poll.poll(None if wait_ms is None else max(1, wait_ms)))

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        self.accepted += 1
        try:
            if self._refuses:
                raise ConnectionRefusedError
            server = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            _close(client, RESET)
            return
        for end in (client, server):
            end.setblocking(False)
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._flows += [Flow(client, server, True), Flow(server, client, False)]

    def _turn(self, flow: Flow, now: float, ready: dict[int, int]) -> None:
        if flow not in self._flows:  # dropped with its other direction
            return
        manner = self._manner(flow)
        try:
            if flow.reads(manner) and ready.get(flow.source.fileno(), 0) & ~select.POLLOUT:
                self.passed += flow.read(now, manner)
            due = flow.due_at(manner)
            if due is not None and due <= now and ready.get(flow.sink.fileno(), 0) & ~select.POLLIN:
                flow.write(now, manner, self._chance)
        except BlockingIOError:
            return
        except OSError:  # one end was reset: so is the other, unless it is not to learn of it
            flow.has_read_all = True
            if not manner.swallows:
                self._drop(flow, RESET)
                return
        if all(one.has_sent_all for one in self._flows if one.source in (flow.source, flow.sink)):
            self._drop(flow)

    def _manner(self, flow: Flow) -> Manner:
        return STRANDED if flow.is_stranded else self._manners[0 if flow.is_up else 1]

    def _drop_all(self) -> None:
        while self._flows:
            self._drop(self._flows[0], RESET)

    def _drop(self, flow: Flow, linger: bytes = b"") -> None:
        ends = (flow.source, flow.sink)
        self._flows = [one for one in self._flows if one.source not in ends]
        for end in ends:
            _close(end, linger)


def _close(end: socket.socket, linger: bytes) -> None:
    if linger:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    end.close()
