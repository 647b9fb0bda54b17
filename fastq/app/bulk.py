"""Sending in bulk: what is sent inside ``with app.batch():`` is stored in few large steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextvars import Token
from types import TracebackType
from typing import Any, TypeVar, overload

from fastq import points
from fastq.app import send
from fastq.result import AsyncResult
from fastq.types import Message

R = TypeVar("R")

_FLUSH_AT = 10_000


class Batch:
    """Gathers the messages that are sent in its block, and stores them when the block ends.

    If the block raises, what was gathered is dropped: nothing was promised yet. More than 10,000
    messages are stored as they come, to bound the memory. Storing is not tried again when it
    fails, since a part may be stored by then. In a forked child the messages are the parent's to store.
    """

    def __init__(self, app: Any) -> None:
        self.app = app
        self._messages: list[Message] = []
        self._is_open = False
        self._token: Token[Any] | None = None

    def add(self, message: Message) -> None:
        """Take a message; store it at once if the block has ended, as a coroutine may outlive it."""
        if not self._is_open:
            self.app.transport.publish_one(*message)
            return
        self._messages.append(message)
        if len(self._messages) >= _FLUSH_AT:
            self.flush()

    def extend(self, messages: list[Message]) -> None:
        """Take messages, in their order, while the block is open."""
        self._messages += messages
        if len(self._messages) >= _FLUSH_AT:
            self.flush()

    def forget(self) -> None:
        """Drop what was gathered so far."""
        self._messages = []

    def flush(self) -> None:
        """Store what was gathered so far. Raises OperationalError."""
        messages, self._messages = self._messages, []
        if messages:
            points.around(self.app.transport.publish)(messages)

    def __enter__(self) -> Batch:
        self._is_open = True
        self.app.open_batches.append(self)
        self._token = send.batch.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._is_open = False
        self.app.open_batches.remove(self)
        if self._token is not None:
            send.batch.reset(self._token)
        if kind is None:
            self.flush()
        self.forget()



class Sent(Sequence["AsyncResult[R]"]):
    """The results of a bulk send, in its order. A handle is made when it is looked at: most never are."""

    __slots__ = ("_ids", "_make")

    def __init__(self, ids: list[str], make: Callable[[str], AsyncResult[R]]) -> None:
        self._ids = ids
        self._make = make

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, at: int) -> AsyncResult[R]: ...
    @overload
    def __getitem__(self, at: slice) -> Sent[R]: ...
    def __getitem__(self, at: int | slice) -> AsyncResult[R] | Sent[R]:
        return Sent(self._ids[at], self._make) if isinstance(at, slice) else self._make(self._ids[at])

    def __iter__(self) -> Iterator[AsyncResult[R]]:
        return map(self._make, self._ids)

    def __repr__(self) -> str:
        return f"<{len(self)} results>"
