"""Waiting for results in event loops: one helper thread per store, however many coroutines wait.

A store that can be listened to has such a thread of its own. For any other one of ours sleeps in ``store.wait``, on
every id that somebody awaits and on one id of its own: to make it look at new ids, a document is put under that one.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fastq import states
from fastq._ext.envelope import new_id
from fastq.backends.base import Listened, ResultStore
from fastq.types import Result

if TYPE_CHECKING:
    import asyncio

logger = logging.getLogger("fastq.results")

_KEPT_S = 60.0
_waiters: weakref.WeakKeyDictionary[ResultStore, Waiter] = weakref.WeakKeyDictionary()
_lock = threading.Lock()
Call = Callable[["bytes | Exception"], object]


async def wait(store: ResultStore, task_id: str, timeout: float | None) -> bytes | None:
    """Return the document of *task_id* once its state is final, or None after *timeout* seconds."""
    import asyncio  # noqa: PLC0415 - costs 15 ms, which only programs with an event loop should pay

    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def call(answer: bytes | Exception) -> None:
        _call_soon(future, lambda: _settle(future, answer))

    wake = _listen(store, task_id, call)
    if wake is not None:
        await asyncio.to_thread(wake)
    try:
        return await asyncio.wait_for(future, timeout)
    except asyncio.TimeoutError:
        return None
    finally:
        unlisten(store, task_id, call)


def listen(store: ResultStore, task_id: str, call: Call) -> None:
    """Call *call* once with the document of *task_id* when its state is final, or the error, from any thread."""
    wake = _listen(store, task_id, call)
    if wake is not None:
        wake()


def unlisten(store: ResultStore, task_id: str, call: Call) -> None:
    """Forget what `listen` was told."""
    if isinstance(store, Listened):
        store.unlisten(task_id, call)
    else:
        _waiter_of(store).discard(task_id, call)


def _listen(store: ResultStore, task_id: str, call: Call) -> Callable[[], object] | None:
    """Note that *call* waits; returns what must be called then, which takes a moment."""
    if isinstance(store, Listened):
        store.listen(task_id, call)
        return None
    waiter = _waiter_of(store)
    return waiter.wake if waiter.add(task_id, call) else None


def _settle(future: asyncio.Future[bytes], answer: bytes | Exception) -> None:
    if future.done():
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)


class Waiter:
    """The thread of one store, and who waits for what."""

    def __init__(self, store: ResultStore) -> None:
        self.pid = os.getpid()
        self._store = store
        self._own_id = f"fastq-wake-{new_id()}"
        self._lock = threading.Lock()
        self._calls: dict[str, list[Call]] = {}
        self._is_running = False
        self._is_woken = False

    def add(self, task_id: str, call: Call) -> bool:
        """Let *call* have the document of *task_id*; return whether the thread must be woken for it."""
        with self._lock:
            is_known = task_id in self._calls
            self._calls.setdefault(task_id, []).append(call)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="fastq-results", daemon=True).start()
                return False
            must_wake = not is_known and not self._is_woken
            self._is_woken = self._is_woken or must_wake
            return must_wake

    def discard(self, task_id: str, call: Call) -> None:
        """Forget *call*. The thread learns of it when it next wakes: it is a daemon and costs nothing asleep."""
        with self._lock:
            left = [other for other in self._calls.get(task_id, ()) if other is not call]
            if left:
                self._calls[task_id] = left
            else:
                self._calls.pop(task_id, None)

    def wake(self) -> None:
        """Make the thread look at who waits."""
        self._store.put((Result(self._own_id, states.SUCCESS, b"{}", time.time() + _KEPT_S),))

    def _run(self) -> None:
        while True:
            with self._lock:
                self._is_woken = False
                task_ids = list(self._calls)
                if not task_ids:
                    self._is_running = False
                    return
            try:
                found = self._store.wait((*task_ids, self._own_id), None)
                if found.pop(self._own_id, None) is not None:
                    self._store.forget((self._own_id,))
            except Exception as exc:
                with self._lock:
                    told = [(call, exc) for calls in self._calls.values() for call in calls]
                    self._calls.clear()
                _tell(told)
                continue
            with self._lock:
                heard = [(call, raw) for task_id, raw in found.items() for call in self._calls.pop(task_id, ())]
            _tell(heard)


def _tell(told: Sequence[tuple[Call, bytes | Exception]]) -> None:
    for call, answer in told:
        try:
            call(answer)
        except Exception:
            # It is a user's, and those behind it wait for theirs.
            logger.exception("what was to be called with a result raised")


def _waiter_of(store: ResultStore) -> Waiter:
    with _lock:
        waiter = _waiters.get(store)
        if waiter is None or waiter.pid != os.getpid():
            # The thread of a parent process did not come along over the fork.
            waiter = _waiters[store] = Waiter(store)
        return waiter


def _call_soon(future: asyncio.Future[bytes], call: Any) -> None:
    try:
        future.get_loop().call_soon_threadsafe(call)
    except RuntimeError:
        pass  # the loop is closed, and with it went whoever waited
