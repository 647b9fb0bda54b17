"""Handles on what tasks return. They hold an id and the app; the store is asked when they are.

1. `AsyncResult` reads, waits for and forgets the document of one task.
2. `EagerResult` has the same face for a task that ran in place.
3. `result_from_tuple` is how handles come back from documents and signatures.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Generic, TypeVar, cast

from fastq import current, states
from fastq.exceptions import BackendError, TaskRevokedError, TimeoutError

R_co = TypeVar("R_co", covariant=True)
ResultType = TypeVar("ResultType", bound="AsyncResult[Any]")
ResultTuple = tuple[tuple[str, Any], Any]

_may_join: ContextVar[bool] = ContextVar("fastq_may_join", default=False)
_PENDING: dict[str, Any] = {"status": states.PENDING, "result": None}


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Let the code inside wait for results though it runs in a task."""
    token = _may_join.set(True)
    try:
        yield
    finally:
        _may_join.reset(token)


@contextmanager
def denied_join_result() -> Iterator[None]:
    """Undo `allow_join_result` for the code inside."""
    token = _may_join.set(False)
    try:
        yield
    finally:
        _may_join.reset(token)


def assert_will_not_block() -> None:
    """Raise RuntimeError when called in a task that a worker runs, unless that was allowed."""
    if current.running_task is not None and current.running_task() is not None and not _may_join.get():
        raise RuntimeError(
            "Never call result.get() within a task! The task would hold a child while it waits for a task that may "
            "need one: send a callback with link=, or allow it with disable_sync_subtasks=False or allow_join_result()"
        )


class AsyncResult(Generic[R_co]):
    """The result of a task that was sent, there or not yet.

    ``result.get(timeout=10)`` waits in a thread, ``await result`` in an event loop::

        result = add.delay(2, 3)
        assert result.get(timeout=10) == 5
    """

    __slots__ = ("__weakref__", "_app", "_meta", "backend", "id", "ignored", "parent", "task_name")

    TimeoutError = TimeoutError

    def __init__(
        self, id: str, backend: Any = None, task_name: str | None = None, app: Any = None,
        parent: AsyncResult[Any] | None = None, ignored: bool = False,
    ) -> None:
        if id is None:
            raise ValueError("a result needs the id of a task, not None")
        self.id = id
        self.backend = backend
        self.task_name = task_name
        self._app = app
        self.parent = parent
        self.ignored = ignored
        self._meta: dict[str, Any] | None = None

    @property
    def app(self) -> Any:
        """The app whose store is asked."""
        return self._app if self._app is not None else current.app()

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.id

    # Waiting

    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5, no_ack: bool = True,
        follow_parents: bool = True, callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None, disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Wait until the task has ended, and return what it returned or raise what it raised.

        *timeout* is in seconds; None waits for ever. With *propagate* false an exception is
        returned, not raised. *callback* is called with the id and the value. The store wakes the
        caller, so *interval* only paces *on_interval*. *no_ack* is there for Celery's sake.

        With results over ``rpc://`` only the process that sent the task gets its result: in any other
        this waits for what never comes.

        Raises TimeoutError; BackendError when the result may have been lost; RuntimeError inside a task.
        """
        if self.ignored:
            return cast(R_co, None)
        if disable_sync_subtasks:
            assert_will_not_block()
        began = time.monotonic()
        deadline = None if timeout is None else began + timeout
        if follow_parents and propagate:
            for ancestor in self._ancestors():
                ancestor.get(timeout=_left(deadline), follow_parents=False,
                             disable_sync_subtasks=disable_sync_subtasks)
        if self._meta is None:
            self._wait(began, deadline, interval, on_interval)
        return self._settle(propagate, callback, on_message)

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, *, follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> R_co:
        """As `get`, but let the event loop run meanwhile. ``await result`` is ``await result.aget()``."""
        if self.ignored:
            return cast(R_co, None)
        began = time.monotonic()
        deadline = None if timeout is None else began + timeout
        if follow_parents and propagate:
            for ancestor in self._ancestors():
                await ancestor.aget(timeout=_left(deadline), follow_parents=False)
        if self._meta is None:
            raw = await self.app.wait_for_result(self._store(), self.id, _left(deadline))
            if raw is None:
                raise self._timed_out(began)
            self._keep(raw)
        return self._settle(propagate, callback, on_message)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()

    def confirmed(self: ResultType, timeout: float | None = None) -> ResultType:
        """Wait until the broker has stored the task's message for good, and return this result.

        Sending alone returns when the message is on its way; it is sent again over a reconnect, until it is stored or
        this process dies. Whoever must know calls this, at best once for many tasks: it waits for all that this
        process sent before::

            payment = charge.delay(order).confirmed(timeout=5)

        *timeout* is in seconds; None is as long as the broker's options say. It returns at once with an embedded
        broker, which has stored the message when sending returns, and after ``with app.batch():``.

        Raises OperationalError that names the task when it could not be stored in time or the broker gave it back,
        RuntimeError inside a batch.
        """
        self.app.confirm(self.id, timeout)
        return self

    async def aconfirmed(self: ResultType, timeout: float | None = None) -> ResultType:
        """As `confirmed`, but let the event loop run meanwhile."""
        await self.app.aconfirm(self.id, timeout)
        return self

    # Looking

    @property
    def state(self) -> str:
        """The task's state now; PENDING also for an id that nobody knows."""
        return cast(str, self._look()["status"])

    status = state

    @property
    def result(self) -> Any:
        """What the task returned, the exception it raised, or the meta of a state in between."""
        return self._look()["result"]

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of a task that failed, as text."""
        return self._look().get("traceback")

    @property
    def date_done(self) -> datetime | None:
        """When the task ended."""
        done = self._look().get("date_done")
        return datetime.fromisoformat(done) if isinstance(done, str) else done

    @property
    def children(self) -> list[AsyncResult[Any]] | None:
        """Handles on the tasks that the task sent, once it has ended."""
        tuples = self._look().get("children")
        if tuples is None:
            return None
        found: list[AsyncResult[Any]] = []
        for child in tuples:
            # A group stands as its id with its members; what it holds is what counts here.
            members = child[1] if isinstance(child, (list, tuple)) and child[1] else (child,)
            found += [result_from_tuple(member, self._app) for member in members]
        return found

    @property
    def name(self) -> str | None:
        """The task's name, if the store keeps it (``result_extended``)."""
        return self._look().get("name")

    @property
    def args(self) -> Any:
        """The task's arguments, if the store keeps them (``result_extended``)."""
        return self._look().get("args")

    @property
    def kwargs(self) -> Any:
        """The task's keyword arguments, if the store keeps them (``result_extended``)."""
        return self._look().get("kwargs")

    @property
    def worker(self) -> str | None:
        """The worker that ran the task, if the store keeps it (``result_extended``)."""
        return self._look().get("worker")

    @property
    def retries(self) -> int | None:
        """How often the task was retried, if the store keeps it (``result_extended``)."""
        return self._look().get("retries")

    @property
    def queue(self) -> str | None:
        """The queue the task was in, if the store keeps it (``result_extended``)."""
        return self._look().get("queue")

    def ready(self) -> bool:
        """Return whether the task has ended."""
        return self.state in states.READY_STATES

    def successful(self) -> bool:
        """Return whether the task has returned."""
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        """Return whether the task has raised."""
        return self.state == states.FAILURE

    def exists(self) -> bool:
        """Return whether the store has anything about the task."""
        return self._meta is not None or bool(self._store().get((self.id,)))

    # Doing

    def forget(self) -> None:
        """Drop the task's document from the store."""
        self._meta = None
        self._store().forget((self.id,))

    def revoke(self, connection: Any = None, terminate: bool = False, signal: str | None = None, wait: bool = False,
               timeout: float | None = None) -> Any:
        """Let the task not start, and with *terminate* end it if it runs: see ``app.control.revoke``.

        With *wait* the workers' answers are waited for, for *timeout* seconds (1), and returned.
        """
        return self.app.control.revoke(self.id, terminate=terminate, signal=signal or "SIGTERM", reply=wait,
                                             timeout=timeout or 1.0)

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], object] | None = None) -> Any:
        """Raise the exception of a task that has failed, else return what there is."""
        meta = self._look()
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            raise _as_exception(meta["result"])
        if callback is not None:
            callback(self.id, meta["result"])
        return meta["result"]

    def as_tuple(self) -> ResultTuple:
        """Return the form in which handles are stored: ``((id, parent), None)``."""
        return (self.id, self.parent.as_tuple() if self.parent is not None else None), None

    def as_list(self) -> list[str]:
        """Return the ids of this task and those before it."""
        return [self.id, *(ancestor.id for ancestor in self._ancestors()[::-1])]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __reduce__(self) -> Any:
        return type(self), (self.id, None, self.task_name, None, self.parent)

    # Inside

    def _store(self) -> Any:
        return self.backend if self.backend is not None else self.app.backend

    def _wait(self, began: float, deadline: float | None, interval: float,
              on_interval: Callable[[], object] | None) -> None:
        while True:
            left = _left(deadline)
            step = left if on_interval is None else interval if left is None else min(interval, left)
            raw = self._store().wait((self.id,), step).get(self.id)
            if raw is not None:
                self._keep(raw)
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise self._timed_out(began)
            if on_interval is not None:
                on_interval()

    def _keep(self, raw: bytes) -> dict[str, Any]:
        meta = cast("dict[str, Any]", self.app.result_codec.decode(raw))
        if meta["status"] in states.READY_STATES:
            self._meta = meta
        return meta

    def _look(self) -> dict[str, Any]:
        if self._meta is not None:
            return self._meta
        raw = self._store().get((self.id,)).get(self.id)
        return _PENDING if raw is None else self._keep(raw)

    def _settle(self, propagate: bool, callback: Callable[[str, Any], object] | None,
                on_message: Callable[[dict[str, Any]], object] | None) -> R_co:
        if on_message is not None:
            on_message(dict(self._look()))
        return cast(R_co, self.maybe_throw(propagate, callback))

    def _ancestors(self) -> list[AsyncResult[Any]]:
        found: list[AsyncResult[Any]] = []
        node = self.parent
        while node is not None:
            found.append(node)
            node = node.parent
        return found[::-1]

    def _timed_out(self, began: float) -> Exception:
        lost_since = getattr(self._store(), "lost_since", None)
        lost = lost_since(began) if lost_since is not None else None
        if lost:
            return BackendError(f"the result of task {self.id} has not come in time, and may never come: {lost}")
        return TimeoutError(f"task {self.id} has not ended in time")


class EagerResult(AsyncResult[R_co]):
    """The result of a task that ran in place (``task.apply()``, ``task_always_eager``)."""

    __slots__ = ()

    def __init__(
        self, id: str, ret_value: Any, state: str, traceback: str | None = None, name: str | None = None,
    ) -> None:
        super().__init__(id, task_name=name)
        self._meta = {"status": state, "result": ret_value, "traceback": traceback, "name": name, "task_id": id}

    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5, no_ack: bool = True,
        follow_parents: bool = True, callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None, disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Return what the task returned or raise what it raised; it has ended already."""
        if propagate and self._look()["status"] in states.EXCEPTION_STATES:
            raise _as_exception(self._look()["result"])
        return self._settle(False, callback, on_message)

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, *, follow_parents: bool = True,
        callback: Callable[[str, Any], object] | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> R_co:
        """As `get`."""
        return self.get(propagate=propagate, callback=callback, on_message=on_message)

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
        self._meta = {**self._look(), "status": states.REVOKED, "result": TaskRevokedError("revoked")}

    def __reduce__(self) -> Any:
        meta = self._look()
        return type(self), (self.id, meta["result"], meta["status"], meta["traceback"], meta["name"])


def result_from_tuple(tree: Any, app: Any = None) -> AsyncResult[Any]:
    """Return the handle that `AsyncResult.as_tuple` made a tuple of; handles pass through."""
    if isinstance(tree, AsyncResult):
        return tree
    head, _ = tree
    task_id, parent = head if isinstance(head, (list, tuple)) else (head, None)
    return AsyncResult(task_id, app=app, parent=result_from_tuple(parent, app) if parent else None)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())


def _as_exception(value: Any) -> BaseException:
    # A store that others write to may hold anything under FAILURE.
    return value if isinstance(value, BaseException) else Exception(value)
