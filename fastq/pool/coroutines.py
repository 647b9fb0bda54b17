"""`async def` tasks in children that are no event loop: where their loops live.

asyncio takes 15 ms and 4 MiB; it is loaded where there are such tasks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

Made = Callable[..., Coroutine[Any, Any, Any]]
_own = threading.local()
_common: list[asyncio.AbstractEventLoop] = []


def in_thread(call: Made) -> Callable[..., Any]:
    """Return what runs *call* in an event loop of the thread that it is called in."""
    import asyncio  # noqa: PLC0415

    def run(*args: Any, **kwargs: Any) -> Any:
        loop: asyncio.AbstractEventLoop | None = getattr(_own, "loop", None)
        if loop is None:
            loop = _own.loop = asyncio.new_event_loop()
        return loop.run_until_complete(call(*args, **kwargs))

    return run


def in_greenlet(call: Made) -> Callable[..., Any]:
    """Return what runs *call* in the one event loop of this child, and lets other greenlets run meanwhile."""
    import asyncio  # noqa: PLC0415

    def run(*args: Any, **kwargs: Any) -> Any:
        if not _common:
            # Kept before its thread is started, which lets others run: threads are greenlets here.
            _common.append(asyncio.new_event_loop())
            threading.Thread(target=_common[0].run_forever, name="coroutines", daemon=True).start()
        future = asyncio.run_coroutine_threadsafe(call(*args, **kwargs), _common[0])
        try:
            return future.result()
        except BaseException:
            future.cancel()     # the greenlet was told to end; a future that is done is not changed by this
            raise

    return run
