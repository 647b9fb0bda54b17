"""Results and those they hang together with, in chains, below each other, in tuples; and calls that follow them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from fastq import current, states
from fastq.exceptions import FastqError, IncompleteStream
from fastq.result import AsyncResult
from fastq.result.group import GroupResult, ResultSet, flat, look_at

MOST_PARENTS = 100
"""So many tasks before one in a chain are waited for along with it: a failure further up reaches it by itself."""


def result_from_tuple(tree: Any, app: Any = None) -> Any:
    """Return the handle that `as_tuple` made a tuple of; handles pass through.

    Example::

        result_from_tuple([["g", None], [[["a", None], None], [["b", None], None]]])    # a GroupResult of a and b
    """
    if isinstance(tree, (AsyncResult, ResultSet)):
        return tree
    app = app if app is not None else current.app()
    head, members = tree
    own_id, parent = head if isinstance(head, (list, tuple)) else (head, None)
    found: Any = None
    for above, group in _up(parent):
        found = _handle(app, above, group, found)
    return _handle(app, own_id, members, found)


def _up(parent: Any) -> Iterator[tuple[str, Any]]:
    """Go through the tuples of a chain from its first task on: one of ten thousand must not need as many frames."""
    line = list[tuple[str, Any]]()
    while parent:
        head, members = parent
        own_id, above = head if isinstance(head, (list, tuple)) else (head, None)
        line.append((own_id, members))
        parent = above
    yield from reversed(line)


def _handle(app: Any, own_id: str, members: Any, parent: Any) -> Any:
    if members is None:
        return app.AsyncResult(own_id, parent=parent)
    return app.GroupResult(own_id, [result_from_tuple(member, app) for member in members], parent=parent)


def rebuilt(cls: type[Any], task_id: str, task_name: str | None, line: list[tuple[str, Any]]) -> Any:
    """Return a handle that was pickled, with those before it in its chain."""
    parent: Any = None
    for own_id, members in line:
        parent = AsyncResult(own_id, parent=parent) if members is None else GroupResult(own_id, members, parent)
    return cls(task_id, None, task_name, None, parent)


def parents_of(result: Any) -> dict[str, Any]:
    """Raise the error of a task before *result* that has failed; return the nearest of those that may yet, by ids."""
    line = list(flat(result._ancestors()))
    look_at(line)
    for node in line:
        if node._meta is not None:
            node.maybe_throw()
    return {node.id: node for node in line[-MOST_PARENTS:] if node._meta is None and not node.ignored}


def iterdeps(top: Any, intermediate: bool) -> Iterator[tuple[Any, Any]]:
    """Go through *top* and all below it, level by level; each level is one question to the store."""
    stack: deque[tuple[Any, Any]] = deque([(None, top)])
    while stack:
        look_at([node for _, node in stack])
        for _ in range(len(stack)):
            parent, node = stack.popleft()
            yield parent, node
            if node.ready():    # asked only now: `collect` has waited for it
                stack.extend((node, child) for child in node.children or ())
            elif not intermediate:
                raise unknown_below(node)


def unknown_below(node: Any) -> IncompleteStream:
    """Return the error of one that goes through results below *node*, which has not ended."""
    return IncompleteStream(f"{node!r} has not ended, so what is below it is not known yet")


def call_when_ready(result: Any, callback: Callable[[Any], object],
                    on_error: Callable[[BaseException], object] | None) -> None:
    """Call *callback* with *result* once it is there, from any thread; or *on_error* with what it failed with."""

    def call(answer: bytes | Exception) -> None:
        if isinstance(answer, Exception):
            if on_error is not None:
                on_error(answer)
            return
        try:
            meta = result._keep(answer)
        except FastqError as error:
            if on_error is not None:
                on_error(error)
                return
            raise
        if on_error is not None and meta["status"] in states.PROPAGATE_STATES:
            on_error(result._error(meta))
        else:
            callback(result)

    if result._meta is not None:
        if on_error is not None and result._meta["status"] in states.PROPAGATE_STATES:
            on_error(result._error(result._meta))
        else:
            callback(result)
        return
    result.app.call_with_result(result._store(), result.id, call)


class Promise:
    """The end of *result*, as Celery's users know it from ``result.on_ready``."""

    def __init__(self, result: Any) -> None:
        self._result = result

    def then(self, callback: Callable[[Any], object], on_error: Callable[[BaseException], object] | None = None) -> Any:
        """See `AsyncResult.then`."""
        return self._result.then(callback, on_error)

    @property
    def ready(self) -> bool:
        """Whether it has ended."""
        return bool(self._result.ready())

    @property
    def failed(self) -> bool:
        """Whether it has failed."""
        return bool(self._result.failed())

    @property
    def value(self) -> Any:
        """What a `then` is called with, once it has ended and not failed."""
        return ((self._result,), {}) if self.ready and not self.failed else None

    @property
    def reason(self) -> BaseException | None:
        """What it failed with."""
        if not self.failed:
            return None
        try:
            self._result.maybe_throw()
        except Exception as error:
            return error
        return None


def with_remote_traceback(error: BaseException, text: str) -> BaseException:
    """Return *error* with the traceback that its worker wrote down, where the package tblib is there to rebuild it."""
    if find_spec("tblib") is None:
        return error
    import tblib  # noqa: PLC0415 - only for who asks, with task_remote_tracebacks

    try:
        return error.with_traceback(tblib.Traceback.from_string(text).as_traceback())
    except tblib.TracebackParseError:
        return error    # another writer's text; the error itself is what counts
