"""The addresses of a host within a deadline, which getaddrinfo itself does not know.

A name is looked up in a thread. One that is still at it when time is up is left behind, since nobody can end it: it
ends when the resolver gives up. Who asks for the same name meanwhile waits for the same thread: a name has one at most.
A process may fork while it waits: the resolver holds no lock then, and the child looks up the name itself.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from contextlib import suppress

from fastq.net.meanwhile import STEP_S, duty, relieve

Address = tuple[socket.AddressFamily, socket.SocketKind, int, str, "tuple[str, int] | tuple[str, int, int, int]"]


class SlowName(TimeoutError):
    """The name servers did not answer in time."""


class _Lookup:
    def __init__(self, host: str, port: int) -> None:
        self.is_done = threading.Event()
        self.found: list[Address] = []
        self.error: OSError | UnicodeError | None = None
        self._asked = host, port
        threading.Thread(target=self._run, name=f"look up {host}", daemon=True).start()

    def _run(self) -> None:
        try:
            self.found = socket.getaddrinfo(*self._asked, type=socket.SOCK_STREAM)  # type: ignore[assignment]
        except (OSError, UnicodeError) as error:
            self.error = error
        finally:
            _under_way.pop(self._asked, None)
            self.is_done.set()


_under_way: dict[tuple[str, int], _Lookup] = {}

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_under_way.clear)


def addresses_of(host: str, port: int, deadline: float) -> list[Address]:
    """Return the addresses of *host*, found until *deadline* of the monotonic clock; one in numbers needs no look-up.

    Raises SlowName, socket.gaierror, UnicodeError. A thread that has a duty `meanwhile` does it.
    """
    with suppress(socket.gaierror):
        return socket.getaddrinfo(  # type: ignore[return-value]
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    lookup = _under_way.get((host, port))
    if lookup is None:
        lookup = _under_way[host, port] = _Lookup(host, port)
    of_loop = duty.get()
    while not lookup.is_done.wait(min(STEP_S, max(0.0, deadline - time.monotonic()))):
        if time.monotonic() >= deadline:
            raise SlowName(f"no answer to the question for the address of {host}")
        if of_loop is not None:
            relieve(of_loop, None)
    if lookup.error is not None:
        # One for each who waits: what is raised grows a traceback.
        raise type(lookup.error)(*lookup.error.args)
    return lookup.found
