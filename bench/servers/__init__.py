"""Servers that benchmarks and tests start for themselves: their own ports, folder and end.

Whoever starts one ends it, and it ends by itself when its starter dies. Everything listens on 127.0.0.1 only.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

PORTS = range(10240, 32768)
"""Below those that a system hands out to clients: one that connects again and again to a server which is down would
otherwise be given the server's own port one day, and find itself at the other end."""


class ServerMissing(Exception):
    """The server is not installed; the message names the package."""


class ServerFailed(Exception):
    """The server did not start, ended, or refused an order; the message has the last words of its log."""


def free_ports(count: int) -> list[int]:
    """Return *count* ports of the loopback interface that nobody uses."""
    ports: list[int] = []
    with ExitStack() as held:  # so that none is found twice
        while len(ports) < count:
            port = random.SystemRandom().choice(PORTS)
            trial = held.enter_context(socket.socket())
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            ports.append(port)
    return ports


def wait_for(ready: Callable[[], object], deadline_s: float, failure: Callable[[], str]) -> None:
    """Ask until *ready* is true. Raises ServerFailed with *failure* after *deadline_s* seconds."""
    deadline, pause_s = time.monotonic() + deadline_s, 0.001
    while not ready():
        if time.monotonic() > deadline:
            raise ServerFailed(failure())
        time.sleep(pause_s)
        pause_s = min(pause_s * 2, 0.02)


def says(port: int, greeting: bytes, answer: bytes) -> bool:
    """Whether a server on *port* answers *greeting* with something that begins with *answer*."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as client:
            client.settimeout(5)
            client.sendall(greeting)
            return client.recv(len(answer)).startswith(answer) if answer else True
    except OSError:
        return False
