"""Handles on what tasks return. They hold an id and the app; the store is asked when they are.

`AsyncResult` reads, waits for and forgets the document of one task. The rest is loaded when it is first used: the
results of many tasks (group.py), of tasks that ran in place (eager.py), the trees they form (tree.py).
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from fastq import current, states
from fastq.exceptions import BackendError, TimeoutError

if TYPE_CHECKING:
    from fastq.result.eager import EagerResult as EagerResult
    from fastq.result.graph import DependencyGraph
    from fastq.result.group import GroupResult as GroupResult
    from fastq.result.group import ResultSet as ResultSet
    from fastq.result.tree import result_from_tuple as result_from_tuple

_TABLE = {"EagerResult": "eager", "GroupResult": "group", "ResultSet": "group", "result_from_tuple": "tree"}

R_co = TypeVar("R_co", covariant=True)
ResultType = TypeVar("ResultType", bound="AsyncResult[Any]")
ResultTuple = tuple[tuple[str, Any], Any]
Callback = Callable[[str, Any], object]

_may_join: ContextVar[bool] = ContextVar("fastq_may_join", default=False)
_PENDING: dict[str, Any] = {"status": states.PENDING, "result": None}


def __getattr__(name: str) -> Any:
    if name not in _TABLE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_part(_TABLE[name]), name)
    return found


def _part(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


def _kept(name: str, what: str) -> Any:
    return property(lambda result: result._look().get(name),
                    doc=f"{what}, if the store keeps it (``result_extended``); else None.")


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


class ResultBase:
    """What all handles on results are: of one task, or of many."""

    __slots__ = ()

    parent: Any = None
    """The result before this one in its chain."""


class AsyncResult(ResultBase, Generic[R_co]):
    """The result of a task that was sent, there or not yet.

    ``result.get(timeout=10)`` waits in a thread, ``await result`` in an event loop::

        result = add.delay(2, 3)
        assert result.get(timeout=10) == 5
    """

    __slots__ = ("__weakref__", "_app", "_meta", "backend", "id", "ignored", "parent", "task_name")

    TimeoutError = TimeoutError
    supports_native_join = True

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

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def task_id(self) -> str:
        """The id of the task."""
        return self.id

    @task_id.setter
    def task_id(self, task_id: str) -> None:
        self.id = task_id

    # Waiting

    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5, no_ack: bool = True,
        follow_parents: bool = True, callback: Callback | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
        on_interval: Callable[[], object] | None = None, disable_sync_subtasks: bool = True,
    ) -> R_co:
        """Wait until the task has ended, and return what it returned or raise what it raised.

        *timeout* is in seconds; None waits for ever. With *propagate* false an exception is
        returned, not raised. With *follow_parents* the failure of a task before this one in a chain is raised, too.
        *callback* is called with the id and the value. The store wakes the
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
        parents = _part("tree").parents_of(self) if follow_parents and propagate and self.parent is not None else {}
        if self._meta is None:
            self._wait(began, deadline, interval, on_interval, parents)
        return self._settle(propagate, callback, on_message)

    wait = get

    async def aget(
        self, timeout: float | None = None, propagate: bool = True, *, follow_parents: bool = True,
        callback: Callback | None = None,
        on_message: Callable[[dict[str, Any]], object] | None = None,
    ) -> R_co:
        """As `get`, but let the event loop run meanwhile. ``await result`` is ``await result.aget()``."""
        if self.ignored:
            return cast(R_co, None)
        began = time.monotonic()
        deadline = None if timeout is None else began + timeout
        if follow_parents and propagate and self.parent is not None:
            await _part("awaiting").await_with_parents(self, deadline)
        if self._meta is None:
            raw = await self.app.wait_for_result(self._store(), self.id, _left(deadline))
            if raw is None:
                raise self._timed_out(began)
            self._keep(raw)
        return self._settle(propagate, callback, on_message)

    def __await__(self) -> Generator[Any, None, R_co]:
        return self.aget().__await__()

    def then(self, callback: Callable[[Any], object], on_error: Callable[[BaseException], object] | None = None,
             weak: bool = False) -> AsyncResult[R_co]:
        """Have *callback* called with this result once the task has ended; returns this result.

        The call is made by a thread of this process, at once if the task has ended already. With *on_error*, that is
        called instead, with the exception, when the task has failed or its result cannot be had.
        """
        _part("tree").call_when_ready(self, callback, on_error)
        return self

    @property
    def on_ready(self) -> Any:
        """The end of the task, as Celery's promise: what has `then`, ``ready``, ``failed``, ``value``, ``reason``."""
        return _part("tree").Promise(self)

    def watch(self, timeout: float | None = None, *, file: Any = None) -> R_co:
        """Wait as `get` does, and draw a bar of how far the task is, in a terminal or a notebook.

        The task tells it with ``self.update_state(state="PROGRESS", meta={"current": 3, "total": 10})``; a text under
        ``"status"`` or ``"description"`` stands beside the bar. *file* is where to draw, the standard error by default.
        """
        return cast(R_co, _part("watch").watch(self, timeout, file))

    async def awatch(self, timeout: float | None = None, *, file: Any = None) -> R_co:
        """As `watch`, but let the event loop run meanwhile."""
        return cast(R_co, await _part("awaiting").watch(self, timeout, file))

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
    def children(self) -> list[Any] | None:
        """Handles on the tasks and groups that the task sent, once it has ended."""
        meta = self._look()
        found: list[Any] | None = meta.get("children")
        if found:
            result_of = _part("tree").result_from_tuple
            found = meta["children"] = [result_of(child, self._app) for child in found]
        return found

    name = _kept("name", "The task's name")
    args = _kept("args", "The task's arguments")
    kwargs = _kept("kwargs", "The task's keyword arguments")
    worker = _kept("worker", "The worker that ran the task")
    retries = _kept("retries", "How often the task was retried")
    queue = _kept("queue", "The queue the task was in")

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
        return bool(self._store().get((self.id,)))

    # The tree

    def iterdeps(self, intermediate: bool = False) -> Iterator[tuple[Any, Any]]:
        """Go through this result and all below it, as ``(parent or None, result)``.

        Raises IncompleteStream at one that has not ended, unless *intermediate*.
        """
        return cast("Iterator[tuple[Any, Any]]", _part("tree").iterdeps(self, intermediate))

    def collect(self, intermediate: bool = False, **options: Any) -> Iterator[tuple[Any, Any]]:
        """Go through this result and all below it, as ``(result, value)``; *options* are those of `get`.

        For the tasks below to be known, the tasks that send them must not say ``trail=False``.
        """
        for _, node in self.iterdeps(intermediate):
            yield node, node.get(**options)

    def get_leaf(self) -> Any:
        """Return the value of the last task below this one."""
        value = None
        for _, node in self.iterdeps():
            value = node.get()
        return value

    async def acollect(self, intermediate: bool = False, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
        """As `collect`, but let the event loop run meanwhile; *options* are those of `aget`."""
        async for node in _part("awaiting").tree_below(self, intermediate):
            yield node, await node.aget(**options)

    async def aget_leaf(self) -> Any:
        """As `get_leaf`, but let the event loop run meanwhile."""
        return [value async for _, value in self.acollect()][-1]

    def build_graph(self, intermediate: bool = False, formatter: Any = None) -> DependencyGraph:
        """Return who sent whom, below this task; ``graph.to_dot(file)`` writes it for Graphviz."""
        return cast("DependencyGraph", _part("graph").build(self, intermediate, formatter))

    @property
    def graph(self) -> DependencyGraph:
        """`build_graph` of tasks that have all ended."""
        return self.build_graph()

    # Doing

    def forget(self) -> None:
        """Drop the documents of the task, and of those before it in its chain, from the store."""
        self._forget()
        for node in self._ancestors():
            node._forget()

    def _forget(self) -> None:
        self._meta = None
        self._store().forget((self.id,))

    def revoke(self, connection: Any = None, terminate: bool = False, signal: str | None = None, wait: bool = False,
               timeout: float | None = None) -> Any:
        """Let the task not start, and with *terminate* end it, by *signal*, if it runs: see ``app.control.revoke``.

        With *wait* the workers' answers are waited for, *timeout* seconds (1), and returned.
        """
        return self.app.control.revoke(self.id, terminate=terminate, signal=signal, reply=wait, timeout=timeout)

    def revoke_by_stamped_headers(
        self, headers: dict[str, Any], connection: Any = None, terminate: bool = False, signal: str | None = None,
        wait: bool = False, timeout: float | None = None,
    ) -> Any:
        """As `revoke`, for every task that bears one of the stamps in *headers*."""
        return self.app.control.revoke_by_stamped_headers(headers, terminate=terminate, signal=signal, reply=wait,
                                                          timeout=timeout)

    async def arevoke(self, **options: Any) -> Any:
        """As `revoke`, but let the event loop run while the workers are told and answer."""
        return await _part("awaiting").in_thread(self.revoke, **options)

    async def arevoke_by_stamped_headers(self, headers: dict[str, Any], **options: Any) -> Any:
        """As `revoke_by_stamped_headers`, but let the event loop run meanwhile."""
        return await _part("awaiting").in_thread(self.revoke_by_stamped_headers, headers, **options)

    def maybe_throw(self, propagate: bool = True, callback: Callback | None = None) -> Any:
        """Raise the exception of a task that has failed, else return what there is."""
        meta = self._look()
        if propagate and meta["status"] in states.PROPAGATE_STATES:
            raise self._error(meta)
        if callback is not None:
            callback(self.id, meta["result"])
        return meta["result"]

    maybe_reraise = maybe_throw

    def throw(self, exc: BaseException, *args: Any) -> None:
        """Raise *exc*."""
        raise exc

    def as_tuple(self) -> ResultTuple:
        """Return the form in which handles are stored: ``((id, parent), None)``."""
        parent: Any = None
        for node in self._ancestors():
            members = getattr(node, "results", None)
            parent = (node.id, parent), None if members is None else [member.as_tuple() for member in members]
        return (self.id, parent), None

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

    def __copy__(self: ResultType) -> ResultType:
        return type(self)(self.id, self.backend, self.task_name, self._app, self.parent)

    def __reduce__(self) -> Any:
        # As a list, for chains may be longer than frames may be deep.
        line = [(node.id, getattr(node, "results", None)) for node in self._ancestors()]
        return _part("tree").rebuilt, (type(self), self.id, self.task_name, line)

    # Inside

    def _store(self) -> Any:
        return self.backend if self.backend is not None else self.app.backend

    def _wait(self, began: float, deadline: float | None, interval: float,
              on_interval: Callable[[], object] | None, parents: dict[str, AsyncResult[Any]]) -> None:
        while True:
            left = _left(deadline)
            step = left if on_interval is None else interval if left is None else min(interval, left)
            found = self._store().wait((self.id, *parents), step)
            for task_id in [task_id for task_id in parents if task_id in found]:
                parent = parents.pop(task_id)
                parent._keep(found[task_id])
                parent.maybe_throw()
            if self.id in found:
                self._keep(found[self.id])
                return
            if deadline is not None and time.monotonic() >= deadline:
                raise self._timed_out(began)
            if on_interval is not None and not found:
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

    def _settle(self, propagate: bool, callback: Callback | None,
                on_message: Callable[[dict[str, Any]], object] | None) -> R_co:
        if on_message is not None:
            on_message(dict(self._look()))
        return cast(R_co, self.maybe_throw(propagate, callback))

    def _error(self, meta: dict[str, Any]) -> BaseException:
        # A store that others write to may hold anything under FAILURE.
        value = meta["result"]
        error = value if isinstance(value, BaseException) else Exception(value)
        if meta.get("traceback") and self.app.conf.task_remote_tracebacks:
            return cast(BaseException, _part("tree").with_remote_traceback(error, meta["traceback"]))
        return error

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


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
