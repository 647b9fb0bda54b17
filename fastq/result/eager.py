"""The result of a task that ran in place: there from the beginning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from fastq import states
from fastq.exceptions import TaskRevokedError
from fastq.result import AsyncResult, Callback, R_co, ResultType, assert_will_not_block


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran in place (``task.apply()``, ``task_always_eager``)."""

    __slots__ = ()

    supports_native_join = False

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._meta = {"status": state, "result": ret_value, "traceback": traceback, "name": name, "task_id": id}

    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5, no_ack: bool = True,
        follow_parents: bool = True, callback: Callback | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None, disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Return what the task returned or raise what it raised; it has ended already."""
        if disable_sync_subtasks:
            assert_will_not_block()
        meta = self._look()
        if propagate and meta["status"] in states.EXCEPTION_STATES:
            raise self._error(meta)
        return self._settle(False, callback, on_message)

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, *, follow_parents: bool = True,
        callback: Callback | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> R_co:
        """As `get`."""
        return self.get(propagate=propagate, callback=callback, on_message=on_message, disable_sync_subtasks=False)

    def then(self, callback: Callable[[Any], object], on_error: Callable[[BaseException], object] | None = None,
             weak: bool = False) -> AsyncResult[R_co]:
        """Call *callback* with this result, or *on_error* with its exception."""
        meta = self._look()
        if on_error is not None and meta["status"] in states.PROPAGATE_STATES:
            on_error(cast(BaseException, meta["result"]))
        else:
            callback(self)
        return self

    def watch(self, timeout: float | None = None, *, file: Any = None) -> R_co:
        """As `get`: there is nothing to watch."""
        return self.get()

    async def awatch(self, timeout: float | None = None, *, file: Any = None) -> R_co:
        """As `aget`: there is nothing to watch."""
        return await self.aget()

    def confirmed(self: ResultType, timeout: float | None = None) -> ResultType:
        """Return this result: there is no message."""
        return self

    async def aconfirmed(self: ResultType, timeout: float | None = None) -> ResultType:
        """Return this result: there is no message."""
        return self

    def ready(self) -> bool:
        """Return True: the task has ended."""
        return True

    def exists(self) -> bool:
        """Return True: the result is here."""
        return True

    def forget(self) -> None:
        """Do nothing: nothing was stored."""

    def revoke(self, *args: Any, **kwargs: Any) -> None:
        """Make this the result of a task that was revoked."""
        self._meta = {**self._look(), "status": states.REVOKED, "result": TaskRevokedError("revoked"),
                      "traceback": None}

    def _error(self, meta: dict[str, Any]) -> BaseException:
        # The very exception, with its own traceback: no worker wrote one down, and no app needs to be asked.
        value = meta["result"]
        return value if isinstance(value, BaseException) else Exception(value)

    def __copy__(self: ResultType) -> ResultType:
        make, args = self.__reduce__()
        return cast(ResultType, make(*args))

    def __reduce__(self) -> Any:
        meta = self._look()
        return type(self), (self.id, meta["result"], meta["status"], meta["traceback"], meta["name"])
