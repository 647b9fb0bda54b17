"""Runs the calls of asyncio's peers: one loop for the whole process, entered once for many calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from itertools import repeat
from typing import Any, TypeVar

T = TypeVar("T")


class Caller:
    """The loop; *open* makes the connections, before the first call."""

    def __init__(self, open: Callable[[], Coroutine[Any, Any, object]]) -> None:
        self._loop = asyncio.new_event_loop()
        self._open = open
        self._is_open = False

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if not self._is_open:
            self._is_open = True
            self._loop.run_until_complete(self._open())
        return self._loop.run_until_complete(work)

    def each(self, call: Callable[[], Awaitable[object]], n: int) -> None:
        """Await *n* calls, one after the other."""

        async def work() -> None:
            for _ in repeat(None, n):
                await call()

        self.run(work())
