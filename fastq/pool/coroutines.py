"""`async def` tasks in children that are no event loop: where their loops live.

asyncio takes 15 ms and 4 MiB; it is loaded where there are such tasks.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("celery.pool")
Made = Callable[..., Coroutine[Any, Any, Any]]
_own = threading.local()
_loops: dict[int, asyncio.AbstractEventLoop] = {}
_common: list[asyncio.AbstractEventLoop] = []


def in_thread(call: Made) -> Callable[..., Any]:
    """Return what runs *call* in an event loop of the thread that it is called in."""
    import asyncio  # noqa: PLC0415

    def run(*args: Any, **kwargs: Any) -> Any:
        loop: asyncio.AbstractEventLoop | None = getattr(_own, "loop", None)
        if loop is None:
            loop = _own.loop = _loops[threading.get_ident()] = asyncio.new_event_loop()
        task = loop.create_task(call(*args, **kwargs))
        try:
            return loop.run_until_complete(task)
        finally:
            if not task.done():
                # It was interrupted from outside. Left as it is, it would go on beside the next one.
                task.cancel()
                loop.run_until_complete(asyncio.wait([task]))
                if not task.cancelled() and (error := task.exception()) is not None:
                    logger.warning("a coroutine that was interrupted failed in its clean-up: %r", error)

    return run


def wake(thread: int) -> None:
    """Let the event loop of *thread* notice what is to be raised there: until something happens it sleeps in C."""
    loop = _loops.get(thread)
    if loop is not None and loop.is_running():
        loop.call_soon_threadsafe(_look_up)


def _look_up() -> None:
    """Do nothing, in Python."""


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
