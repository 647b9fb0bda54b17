"""Questions to the server of results, one at a time, on a connection of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar, cast

from fastq.exceptions import ConnectionLost, TransportError
from fastq.transport.redis_link import Link
from fastq.transport.redis_script import Argument, Script

Answer = TypeVar("Answer")


class Documents(Protocol):
    """Where documents are, by their keys: on one server, or on the nodes of a cluster."""

    def find(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The documents of *keys*, None where there is none. Raises TransportError."""

    def drop(self, keys: Sequence[bytes]) -> None:
        """Drop documents. Raises TransportError."""

    def store(self, keys: Sequence[bytes], arguments: Sequence[Argument]) -> list[int]:
        """Store documents, *arguments* being three for each (put_results.lua); returns which were not, from 1.

        Raises TransportError.
        """

    def ask_for(self, key: bytes, question: Callable[[Link], Any]) -> Any:
        """Return what *question* returns for a link to where *key* is; it may be put twice. Raises TransportError."""

    def close(self) -> None:
        """Close the connections. Safe to call twice."""

    def abandon(self) -> None:
        """Begin anew after a fork: connections and lock are the parent's."""


class Asker:
    """Has questions put to the server. Thread-safe; connects when it is first used.

    Example::

        asker = Asker(lambda: way.connect(timeout_s=4), script)
        document = asker.ask(lambda link: link.call("GET", key))
    """

    def __init__(self, connect: Callable[[], Link], script: Script) -> None:
        self._connect = connect
        self._script = script
        self._lock = threading.Lock()
        self._link: Link | None = None
        self._closed = False

    def find(self, keys: Sequence[bytes]) -> list[bytes | None]:
        """The documents of *keys*, None where there is none. Raises TransportError."""
        return cast("list[bytes | None]", self.ask(lambda link: link.call("MGET", *keys)))

    def drop(self, keys: Sequence[bytes]) -> None:
        """Drop documents. Raises TransportError."""
        self.ask(lambda link: link.call("DEL", *keys))

    def store(self, keys: Sequence[bytes], arguments: Sequence[Argument]) -> list[int]:
        """Store documents, *arguments* being three for each (put_results.lua); returns which were not, from 1.

        Raises TransportError.
        """
        return cast("list[int]", self.ask(lambda link: self._script.call(link, keys, arguments)))

    def ask_for(self, key: bytes, question: Callable[[Link], Any]) -> Any:
        """Return what *question* returns for a link of its own; all keys are there. Raises TransportError."""
        return self.ask(question)

    def ask(self, question: Callable[[Link], Answer]) -> Answer:
        """Return what *question* returns for a link of its own. Raises TransportError.

        It is put once more, on a new connection, when that turns out to be lost: the server may have closed it long
        ago. So what it asks for may be done twice.
        """
        with self._lock:
            link = self._link
            if link is not None and link.is_open:
                try:
                    return question(link)
                except ConnectionLost:
                    pass  # what follows says why, if it is still so
            if self._closed:
                raise TransportError("the store of results is closed")
            self._link = link = self._connect()
            return question(link)

    def close(self) -> None:
        """Close the connection. Safe to call twice."""
        self._closed = True
        with self._lock:
            if self._link is not None:
                self._link.close()

    def abandon(self) -> None:
        """Begin anew after a fork: connection and lock are the parent's."""
        self._lock = threading.Lock()
        if self._link is not None:
            self._link.abandon()
