"""Results of many tasks. The store is asked for all of them at once, and waited at for a thousand at a time."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, MutableSequence, Sequence
from functools import partial
from typing import Any, cast

from fastq import current, states
from fastq.exceptions import TimeoutError
from fastq.result import AsyncResult, Callback, ResultBase, _left, _part, assert_will_not_block

WINDOW = 1000
"""So many of those that have not ended are waited for at once; those behind them have their turn later."""


def look_at(results: Iterable[Any]) -> None:
    """Read what the store has of all *results* that are not known to have ended, also inside groups, in one go."""
    unknown: dict[Any, dict[str, list[AsyncResult[Any]]]] = {}
    for result in flat(results):
        if result._meta is None and not result.ignored:
            unknown.setdefault(result._store(), {}).setdefault(result.id, []).append(result)
    for store, by_id in unknown.items():
        for task_id, raw in store.get(list(by_id)).items():
            for result in by_id[task_id]:
                result._keep(raw)


def flat(results: Iterable[Any]) -> Iterator[AsyncResult[Any]]:
    """Go through *results*, and in the place of groups through their members."""
    for result in results:
        if isinstance(result, ResultSet):
            yield from flat(result.results)
        else:
            yield result


class ResultSet(ResultBase):
    """Results of tasks that were sent, in order.

    Example::

        results = app.ResultSet([add.delay(1, 1), add.delay(2, 2)])
        assert results.get(timeout=10) == [2, 4]
    """

    supports_native_join = True
    ignored = False

    def __init__(self, results: Sequence[Any], app: Any = None, ready_barrier: Any = None, **kwargs: Any) -> None:
        self._app = app
        self.results: Sequence[Any] = results

    @property
    def app(self) -> Any:
        """The app whose store is asked."""
        if self._app is None:
            self._app = self.results[0].app if self.results else current.app()
        return self._app

    @app.setter
    def app(self, app: Any) -> None:
        self._app = app

    @property
    def backend(self) -> Any:
        """The result store."""
        return self.app.backend

    # Members

    def _own(self) -> MutableSequence[Any]:
        if not isinstance(self.results, list):
            self.results = list(self.results)
        return self.results

    def add(self, result: Any) -> None:
        """Make *result* a member, unless it is one."""
        if result not in self.results:
            self._own().append(result)

    def remove(self, result: Any) -> None:
        """Take out *result*, or the one with that id. Raises KeyError when it is no member."""
        try:
            self._own().remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        """Take out *result*, if it is a member."""
        if result in self.results:
            self.remove(result)

    def update(self, results: Iterable[Any]) -> None:
        """Make *results* members, those that are not."""
        for result in results:
            self.add(result)

    def clear(self) -> None:
        """Take out all."""
        self._own().clear()

    # Looking

    def _seen(self) -> list[Any]:
        members = list(self.results)
        look_at(members)
        return members

    def _states(self) -> list[str]:
        return [state_of(member) for member in self._seen()]

    def ready(self) -> bool:
        """Return whether all have ended."""
        return all(state in states.READY_STATES for state in self._states())

    def waiting(self) -> bool:
        """Return whether any has not ended."""
        return not self.ready()

    def successful(self) -> bool:
        """Return whether all have returned."""
        return all(state == states.SUCCESS for state in self._states())

    def failed(self) -> bool:
        """Return whether any has raised."""
        return any(state == states.FAILURE for state in self._states())

    def completed_count(self) -> int:
        """Return how many have returned."""
        return sum(state == states.SUCCESS for state in self._states())

    def maybe_throw(self, callback: Callback | None = None, propagate: bool = True) -> None:
        """Raise the exception of the first that has failed; call *callback* with the id and value of each before."""
        for member in self._seen():
            if isinstance(member, ResultSet) or member._meta is not None:
                member.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    # Waiting

    def get(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5,
        callback: Callback | None = None, no_ack: bool = True, on_message: Callable[[Any], object] | None = None,
        disable_sync_subtasks: bool = True, on_interval: Callable[[], object] | None = None,
    ) -> Any:
        """Wait until all have ended; return their values in order.

        The first failure that is seen is raised, unless *propagate* is false: then its place has the exception. With
        *callback* it is called with id and value of each as they come, and None is returned.

        Raises TimeoutError after *timeout* seconds; RuntimeError inside a task.
        """
        return self.join_native(timeout, propagate, interval, callback, no_ack, on_message, on_interval,
                                disable_sync_subtasks)

    def join(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5,
        callback: Callback | None = None, no_ack: bool = True, on_message: Callable[[Any], object] | None = None,
        disable_sync_subtasks: bool = True, on_interval: Callable[[], object] | None = None,
    ) -> list[Any]:
        """As `get`, but *callback* is called in the order of the members, and an empty list returned then."""
        values = self.join_native(timeout, propagate, interval, None, no_ack, on_message, on_interval,
                                  disable_sync_subtasks)
        return self._told(values, callback)

    def _told(self, values: list[Any], callback: Callback | None) -> list[Any]:
        if callback is None:
            return values
        for member, value in zip(self.results, values, strict=True):
            callback(member.id, value)
        return []

    def join_native(
        self, timeout: float | None = None, propagate: bool = True, interval: float = 0.5,
        callback: Callback | None = None, no_ack: bool = True, on_message: Callable[[Any], object] | None = None,
        on_interval: Callable[[], object] | None = None, disable_sync_subtasks: bool = True,
    ) -> Any:
        """As `get`."""
        if disable_sync_subtasks:
            assert_will_not_block()
        members = list(self.results)
        for member in self._arrivals(members, timeout, interval, on_message, on_interval):
            if propagate and not isinstance(member, ResultSet):
                member.maybe_throw()
            if callback is not None:
                callback(member.id, value_of(member, propagate))
        return None if callback is not None else [value_of(member, propagate) for member in members]

    def iter_native(
        self, timeout: float | None = None, interval: float = 0.5, no_ack: bool = True,
        on_message: Callable[[Any], object] | None = None, on_interval: Callable[[], object] | None = None,
    ) -> Iterator[tuple[str, Any]]:
        """Go through the members as they end, as ``(id, document)``; of a group inside, as ``(id, its results)``."""
        for member in self._arrivals(list(self.results), timeout, interval, on_message, on_interval):
            yield member.id, member.results if isinstance(member, ResultSet) else dict(member._meta or {})

    async def aget(self, timeout: float | None = None, propagate: bool = True, *, callback: Callback | None = None,
                   on_message: Callable[[Any], object] | None = None) -> Any:
        """As `get`, but let the event loop run meanwhile. ``await results`` is ``await results.aget()``."""
        return await _part("awaiting").get_all(self, timeout, propagate, callback, on_message)

    async def ajoin(self, timeout: float | None = None, propagate: bool = True, *, callback: Callback | None = None,
                    on_message: Callable[[Any], object] | None = None) -> list[Any]:
        """As `join`, but let the event loop run meanwhile."""
        values = await self.aget(timeout, propagate, on_message=on_message)
        return self._told(values, callback)

    async def aiter_native(
        self, timeout: float | None = None, *, on_message: Callable[[Any], object] | None = None,
    ) -> AsyncIterator[tuple[str, Any]]:
        """As `iter_native`, but let the event loop run meanwhile."""
        async for member in _part("awaiting").arrivals(list(self.results), timeout, on_message):
            yield member.id, member.results if isinstance(member, ResultSet) else dict(member._meta or {})

    def __await__(self) -> Any:
        return self.aget().__await__()

    def _arrivals(self, members: list[Any], timeout: float | None, interval: float,
                  on_message: Callable[[Any], object] | None,
                  on_interval: Callable[[], object] | None) -> Iterator[Any]:
        """Yield each of *members* once it has ended; of those that have, in order. Raises TimeoutError."""
        deadline = None if timeout is None else time.monotonic() + timeout
        pending: dict[str, list[Any]] = {}
        look_at(members)
        for member in members:
            if isinstance(member, ResultSet):
                for _ in member._arrivals(list(member.results), _left(deadline), interval, on_message, on_interval):
                    pass
                yield member
            elif member._meta is not None or member.ignored:
                yield member
            else:
                pending.setdefault(member.id, []).append(member)
        while pending:
            window = [task_id for task_id, _ in zip(pending, range(WINDOW), strict=False)]
            left = _left(deadline)
            step = left if on_interval is None else interval if left is None else min(interval, left)
            found = pending[window[0]][0]._store().wait(window, step)
            for task_id in [task_id for task_id in window if task_id in found]:
                for member in pending.pop(task_id):
                    member._keep(found[task_id])
                    if on_message is not None:
                        on_message(dict(member._meta))
                    yield member
            if not found and deadline is not None and time.monotonic() >= deadline:
                raise TimeoutError(f"{len(pending)} of {len(members)} tasks have not ended in time, the first of them "
                                   f"{window[0]}")
            if not found and on_interval is not None:
                on_interval()

    def then(self, callback: Callable[[Any], object], on_error: Callable[[BaseException], object] | None = None,
             weak: bool = False) -> Any:
        """Have *callback* called with this set once all have ended; see `AsyncResult.then`."""
        left = {id(member) for member in self.results}
        failures: list[BaseException] = []

        def ended(member: Any) -> None:
            left.discard(id(member))
            if not left:
                if on_error is not None and failures:
                    on_error(failures[0])
                else:
                    callback(self)

        def failed(member: Any, error: BaseException) -> None:
            failures.append(error)
            ended(member)

        for member in list(self.results):
            member.then(ended, None if on_error is None else partial(failed, member))
        if not self.results:
            callback(self)
        return self

    @property
    def on_ready(self) -> Any:
        """The end of all; see `AsyncResult.on_ready`."""
        return _part("tree").Promise(self)

    def watch(self, timeout: float | None = None, *, file: Any = None) -> Any:
        """Wait as `get` does, and draw a bar of how many have ended, in a terminal or a notebook."""
        return _part("watch").watch(self, timeout, file)

    async def awatch(self, timeout: float | None = None, *, file: Any = None) -> Any:
        """As `watch`, but let the event loop run meanwhile."""
        return await _part("awaiting").watch(self, timeout, file)

    # Doing

    def forget(self) -> None:
        """Drop the documents of all from the store."""
        stores: dict[Any, list[str]] = {}
        for result in flat(self.results):
            if result.supports_native_join:     # of what ran in place nothing was stored
                result._meta = None
                stores.setdefault(result._store(), []).append(result.id)
        for store, ids in stores.items():
            store.forget(ids)

    _forget = forget

    def revoke(self, connection: Any = None, terminate: bool = False, signal: str | None = None, wait: bool = False,
               timeout: float | None = None) -> Any:
        """As `AsyncResult.revoke`, for all."""
        return self.app.control.revoke([result.id for result in flat(self.results)], connection=connection,
                                         timeout=timeout, terminate=terminate, signal=signal, reply=wait)

    async def arevoke(self, **options: Any) -> Any:
        """As `revoke`, but let the event loop run while the workers are told and answer."""
        return await _part("awaiting").in_thread(self.revoke, **options)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, index: Any) -> Any:
        return self.results[index]

    def __len__(self) -> int:
        return len(self.results)

    def __eq__(self, other: object) -> bool:
        return list(self.results) == list(other.results) if isinstance(other, ResultSet) else NotImplemented

    def __hash__(self) -> int:
        return id(self)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(result.id) for result in self.results)}]>"


class GroupResult(ResultSet):
    """The results of the tasks of a group, which has an id."""

    def __init__(self, id: str | None = None, results: Sequence[Any] | None = None, parent: Any = None,
                 **kwargs: Any) -> None:
        super().__init__([] if results is None else results, **kwargs)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> Sequence[Any]:
        """The members."""
        return self.results

    def as_tuple(self) -> tuple[tuple[str | None, Any], list[Any]]:
        """Return the form in which handles are stored: ``((id, parent), [members])``."""
        return ((self.id, self.parent.as_tuple() if self.parent is not None else None),
                [result.as_tuple() for result in self.results])

    def as_list(self) -> list[Any]:
        """Return the ids of this group and of what is before it."""
        return [self.id, *(self.parent.as_list() if self.parent is not None else ())]

    def save(self, backend: Any = None) -> None:
        """Store which results belong to this group, so that `restore` finds them by its id."""
        self.app.save_group(self, backend)

    def delete(self, backend: Any = None) -> None:
        """Drop what `save` stored."""
        (backend or self.app.backend).group_forget(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> Any:
        """Return the group that was saved under *id*, or None."""
        return (app or current.app()).restore_group(id, backend)

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return (self.id, list(self.results), self.parent) == (other.id, list(other.results), other.parent)
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"

    def __reduce__(self) -> Any:
        return type(self), (self.id, list(self.results), self.parent)


def state_of(member: Any) -> str:
    """Return the state of *member* as far as it was looked at; of a group, what its members come to."""
    if isinstance(member, ResultSet):
        inner = member._states()
        if any(state not in states.READY_STATES for state in inner):
            return states.PENDING
        return states.SUCCESS if all(state == states.SUCCESS for state in inner) else states.FAILURE
    return states.PENDING if member._meta is None else cast(str, member._meta["status"])


def value_of(member: Any, propagate: bool) -> Any:
    """Return what *member*, which has ended, returned; raise what it raised, or with *propagate* false return it."""
    if isinstance(member, ResultSet):
        return [value_of(inner, propagate) for inner in member.results]
    if member.ignored and member._meta is None:
        return None
    return member.maybe_throw(propagate)
