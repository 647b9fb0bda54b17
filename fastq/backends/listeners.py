"""Who wants to be called when a result comes, and the one thread that reads for them: coroutines cannot."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from fastq.backends.readers import Readers

Call = Callable[["bytes | Exception"], object]


class Listeners:
    """Calls to make by task id. All but the thread itself is done under the lock of *readers*.

    The thread lives as long as somebody listens, and costs nothing asleep; nobody but it and those who wait reads.
    """

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._calls: dict[str, list[Call]] = {}
        self._thread: threading.Thread | None = None

    def add(self, task_id: str, call: Call) -> None:
        """Note that *call* waits for *task_id*, and see to it that somebody reads."""
        self._calls.setdefault(task_id, []).append(call)
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._serve, name="fastq-results", daemon=True)
            self._thread.start()

    def discard(self, task_id: str, call: Call) -> None:
        """Forget a call; one that is unknown is fine."""
        left = [other for other in self._calls.get(task_id, ()) if other != call]
        if left:
            self._calls[task_id] = left
        else:
            self._calls.pop(task_id, None)

    def take(self, task_id: str) -> list[Call]:
        """Return the calls that wait for *task_id*, and forget them: each is made once."""
        return self._calls.pop(task_id, [])

    def take_all(self) -> list[Call]:
        """Return every call, and forget them."""
        calls = [call for calls in self._calls.values() for call in calls]
        self._calls.clear()
        return calls

    def __contains__(self, task_id: str) -> bool:
        return task_id in self._calls

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def _serve(self) -> None:
        while True:
            with self._readers.lock:
                if not self._calls:
                    # The one who comes next starts a new thread: the check and the end are one step.
                    self._thread = None
                    return
                waiter = self._readers.enlist(())
            self._readers.attend(waiter, None)
