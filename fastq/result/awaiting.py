"""Waiting for results in event loops, where several are waited for at once."""

from __future__ import annotations

import asyncio
import time
from asyncio import to_thread as in_thread
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from fastq.exceptions import TimeoutError
from fastq.result import Callback
from fastq.result.group import ResultSet, look_at, value_of
from fastq.result.tree import parents_of, unknown_below
from fastq.result.watch import Watching

AT_ONCE = 500
"""So many members of a set are awaited at the same time."""


async def await_with_parents(result: Any, deadline: float | None) -> None:
    """Wait until *result* has ended, or raise what one before it in its chain has failed with."""
    parents = await in_thread(parents_of, result)
    if not parents or result._meta is not None:
        return
    app, store = result.app, result._store()
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    waits = {asyncio.ensure_future(app.wait_for_result(store, node.id, left)): node
             for node in (result, *parents.values())}
    own = next(iter(waits))
    try:
        under_way = set(waits)
        while own in under_way:
            done, under_way = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
            for wait in done:
                raw = wait.result()
                if raw is not None:
                    waits[wait]._keep(raw)
                    if wait is not own:
                        waits[wait].maybe_throw()
    finally:
        for wait in waits:
            wait.cancel()


async def arrivals(
    members: Sequence[Any], timeout: float | None, on_message: Callable[[Any], object] | None,
) -> AsyncGenerator[Any, None]:
    """Yield each of *members* once it has ended; of those that have, in order. Raises TimeoutError."""
    deadline = None if timeout is None else time.monotonic() + timeout
    await in_thread(look_at, members)
    left: list[Any] = []
    for member in members:
        if isinstance(member, ResultSet) or (member._meta is None and not member.ignored):
            left.append(member)
        else:
            yield member
    left.reverse()
    ended: asyncio.Queue[asyncio.Task[bool]] = asyncio.Queue()
    waits: dict[asyncio.Task[bool], Any] = {}
    try:
        while left or waits:
            while left and len(waits) < AT_ONCE:
                member = left.pop()
                wait = asyncio.create_task(_end(member, deadline, on_message))
                wait.add_done_callback(ended.put_nowait)
                waits[wait] = member
            wait = await ended.get()
            member = waits.pop(wait)
            if not wait.result():
                raise TimeoutError(f"{len(waits) + len(left) + 1} of {len(members)} tasks have not ended in time, one "
                                   f"of them {member.id}")
            yield member
    finally:
        for wait in waits:
            wait.cancel()


async def _end(member: Any, deadline: float | None, on_message: Callable[[Any], object] | None) -> bool:
    """Wait until *member* has ended; return whether it has in time."""
    left = None if deadline is None else max(0.0, deadline - time.monotonic())
    if isinstance(member, ResultSet):
        async for _ in arrivals(list(member.results), left, on_message):
            pass
        return True
    raw = await member.app.wait_for_result(member._store(), member.id, left)
    if raw is None:
        return False
    member._keep(raw)
    if on_message is not None:
        on_message(dict(member._meta))
    return True


async def get_all(results: Any, timeout: float | None, propagate: bool, callback: Callback | None,
                  on_message: Callable[[Any], object] | None) -> Any:
    """See `ResultSet.aget`."""
    members = list(results.results)
    async with aclosing(arrivals(members, timeout, on_message)) as ended:
        async for member in ended:
            if propagate and not isinstance(member, ResultSet):
                member.maybe_throw()
            if callback is not None:
                callback(member.id, value_of(member, propagate))
    return None if callback is not None else [value_of(member, propagate) for member in members]


async def tree_below(top: Any, intermediate: bool) -> AsyncIterator[Any]:
    """Go through *top* and all below it, as `iterdeps` does."""
    level = [top]
    while level:
        await in_thread(look_at, level)
        below: list[Any] = []
        for node in level:
            yield node
            if getattr(node, "_meta", None) is not None or await in_thread(node.ready):
                below += node.children or ()
            elif not intermediate:
                raise unknown_below(node)
        level = below


async def watch(result: Any, timeout: float | None, file: Any) -> Any:
    """See `AsyncResult.watch`."""
    # Drawing asks the store, so it is done in a thread.
    watching = await in_thread(Watching, result, timeout, file)
    with watching.bar:
        while (member := await in_thread(watching.look)) is not None:
            await member.app.wait_for_result(member._store(), member.id, watching.left(member))
    return await result.aget()
