"""Waiting for results in event loops: one helper thread per store, however many coroutines wait.

A store that can be listened to has such a thread of its own. For any other one of ours sleeps in ``store.wait``, on
every id that somebody awaits and on one id of its own: to make it look at new ids, a document is put under that one.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

from fastq import states
from fastq._ext.envelope import new_id
from fastq.backends.base import ResultStore
from fastq.types import Result

if TYPE_CHECKING:
    import asyncio

_KEPT_S = 60.0
_waiters: weakref.WeakKeyDictionary[ResultStore, Waiter] = weakref.WeakKeyDictionary()
_lock = threading.Lock()


async def wait(store: ResultStore, task_id: str, timeout: float | None) -> bytes | None:
    """Return the document of *task_id* once its state is final, or None after *timeout* seconds."""
    import asyncio  # noqa: PLC0415 - costs 15 ms, which only programs with an event loop should pay

    loop = asyncio.get_running_loop()
    future: asyncio.Future[bytes] = loop.create_future()
    if hasattr(store, "listen"):
        return await _listen(store, task_id, future, timeout)
    waiter = _waiter_of(store)
    if waiter.add(task_id, future):
        await asyncio.to_thread(waiter.wake)
    try:
        return await asyncio.wait_for(future, timeout)
    except asyncio.TimeoutError:
        return None
    finally:
        waiter.discard(task_id, future)


async def _listen(store: Any, task_id: str, future: asyncio.Future[bytes], timeout: float | None) -> bytes | None:
    import asyncio  # noqa: PLC0415 - as above

    def call(answer: bytes | Exception) -> None:
        _call_soon(future, lambda: _settle(future, answer))

    store.listen(task_id, call)
    try:
        return await asyncio.wait_for(future, timeout)
    except asyncio.TimeoutError:
        return None
    finally:
        store.unlisten(task_id, call)


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
        self._futures: dict[str, list[asyncio.Future[bytes]]] = {}
        self._is_running = False
        self._is_woken = False

    def add(self, task_id: str, future: asyncio.Future[bytes]) -> bool:
        """Let *future* have the document of *task_id*; return whether the thread must be woken for it."""
        with self._lock:
            is_known = task_id in self._futures
            self._futures.setdefault(task_id, []).append(future)
            if not self._is_running:
                self._is_running = True
                threading.Thread(target=self._run, name="fastq-results", daemon=True).start()
                return False
            must_wake = not is_known and not self._is_woken
            self._is_woken = self._is_woken or must_wake
            return must_wake

    def discard(self, task_id: str, future: asyncio.Future[bytes]) -> None:
        """Forget *future*. The thread learns of it when it next wakes: it is a daemon and costs nothing asleep."""
        with self._lock:
            left = [other for other in self._futures.get(task_id, ()) if other is not future]
            if left:
                self._futures[task_id] = left
            else:
                self._futures.pop(task_id, None)

    def wake(self) -> None:
        """Make the thread look at who waits."""
        self._store.put((Result(self._own_id, states.SUCCESS, b"{}", time.time() + _KEPT_S),))

    def _run(self) -> None:
        while True:
            with self._lock:
                self._is_woken = False
                task_ids = list(self._futures)
                if not task_ids:
                    self._is_running = False
                    return
            try:
                found = self._store.wait((*task_ids, self._own_id), None)
                if found.pop(self._own_id, None) is not None:
                    self._store.forget((self._own_id,))
            except Exception as exc:
                self._fail(exc)
                continue
            for task_id, raw in found.items():
                self._deliver(task_id, raw)

    def _deliver(self, task_id: str, raw: bytes) -> None:
        with self._lock:
            futures = self._futures.pop(task_id, [])
        for future in futures:
            _call_soon(future, lambda future=future: future.done() or future.set_result(raw))

    def _fail(self, exc: Exception) -> None:
        with self._lock:
            futures = [future for waiting in self._futures.values() for future in waiting]
            self._futures.clear()
        for future in futures:
            _call_soon(future, lambda future=future: future.done() or future.set_exception(exc))


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
