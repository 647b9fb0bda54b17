"""A task that waits a second, as for another machine, and rings when it is the last of so many in this process."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import asyncio

from bell import ring

NAP_S = 1.0
_ended = 0


async def nap(total: int) -> None:
    global _ended
    await asyncio.sleep(NAP_S)
    _ended += 1
    if _ended == total:
        ring("last")
