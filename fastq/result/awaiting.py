"""Waiting for results in event loops, where several are waited for at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from fastq.result.tree import parents_of

AT_ONCE = 500
"""So many members of a set are awaited at the same time."""


async def await_with_parents(result: Any, deadline: float | None) -> None:
    """Wait until *result* has ended, or raise what one before it in its chain has failed with."""
    parents = await asyncio.to_thread(parents_of, result)
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


async def await_all(members: Sequence[Any], timeout: float | None, propagate: bool) -> list[Any]:
    """Return the values of *members* in their order; the first failure that is seen is raised, with *propagate*."""
    deadline = None if timeout is None else time.monotonic() + timeout
    values: list[Any] = []
    for start in range(0, len(members), AT_ONCE):
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        waits = [asyncio.ensure_future(member.aget(left, propagate)) for member in members[start:start + AT_ONCE]]
        try:
            values += await asyncio.gather(*waits)
        finally:
            for wait in waits:
                wait.cancel()
    return values
