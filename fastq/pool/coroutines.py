"""`async def` tasks in children that are no event loop: where their loops live."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from typing import Any

Made = Callable[..., Coroutine[Any, Any, Any]]
_own = threading.local()


def in_thread(call: Made) -> Callable[..., Any]:
    """Return what runs *call* in an event loop of the thread that it is called in."""
    def run(*args: Any, **kwargs: Any) -> Any:
        loop: asyncio.AbstractEventLoop | None = getattr(_own, "loop", None)
        if loop is None:
            loop = _own.loop = asyncio.new_event_loop()
        return loop.run_until_complete(call(*args, **kwargs))

    return run


def in_greenlet(call: Made) -> Callable[..., Any]:
    """Return what runs *call* in the one event loop of this child, and lets other greenlets run meanwhile."""
    def run(*args: Any, **kwargs: Any) -> Any:
        future = asyncio.run_coroutine_threadsafe(call(*args, **kwargs), _common_loop())
        try:
            return future.result()
        except BaseException:
            future.cancel()     # the greenlet was told to end; a future that is done is not changed by this
            raise

    return run


_common: list[asyncio.AbstractEventLoop] = []


def _common_loop() -> asyncio.AbstractEventLoop:
    if not _common:
        # Kept before its thread is started, which lets others run: threads are greenlets here.
        _common.append(asyncio.new_event_loop())
        threading.Thread(target=_common[0].run_forever, name="coroutines", daemon=True).start()
    return _common[0]
