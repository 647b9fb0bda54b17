"""``@app.task``: how a function or class becomes a task of an app."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Concatenate, Literal, ParamSpec, Protocol, TypeVar, overload

from fastq import app as parts
from fastq.app.registry import TaskRegistry
from fastq.app.task import AsyncTask, Task
from fastq.exceptions import DuplicateTaskNameWarning

P = ParamSpec("P")
R = TypeVar("R")


class Decorator:
    """The part of an app that makes tasks."""

    main: str | None
    finalized: bool
    _tasks: TaskRegistry
    _warned_of: set[str]

    if TYPE_CHECKING:
        def _base_task(self) -> Any: ...
        def _annotate(self, task: Task[..., Any]) -> None: ...

    @overload
    def task(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fun: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(self, *, bind: Literal[True], **options: Any) -> BoundDecorator: ...
    @overload
    def task(self, *, bind: Literal[False] = False, **options: Any) -> TaskDecorator: ...
    def task(self, *args: Any, **options: Any) -> Any:
        """Make a task of a function, bare or with options.

        *bind* passes the task itself as the first argument; *name* defaults to module and
        function; *base* is a class below `Task`. With *pydantic* the arguments whose annotation is a
        model are validated before the function is called, and a result that is one is dumped
        (*pydantic_strict*, *pydantic_context*, *pydantic_dump_kwargs*). Every other option becomes an
        attribute of the task; those that mean something are the attributes of `Task`::

            @app.task(bind=True, max_retries=5)
            def fetch(self, url: str) -> bytes: ...
        """
        if len(args) == 1 and callable(args[0]) and not options:
            return self._make(args[0], {})
        if args:
            raise TypeError("@app.task takes keyword options only, such as @app.task(bind=True)")
        wanted = options.pop("filter", None)
        if wanted is None:
            return lambda fun: self._make(fun, options)
        return lambda fun: wanted(self._make(fun, options))

    def register_task(self, task: Any, **options: Any) -> Any:
        """Make *task*, a class below `Task` or an instance of one, a task of this app, and return it."""
        if isinstance(task, type):
            task = task()
        for name, value in options.items():
            setattr(task, name, value)
        if not task.name:
            task.name = self.gen_task_name(type(task).__name__, type(task).__module__)
        self._tasks.register(task)
        task.bind(self)
        if self.finalized:
            self._annotate(task)
        return task

    def task_from_fun(self, fun: Callable[..., Any], name: str | None = None, base: Any = None, bind: bool = False,
                      **options: Any) -> Task[..., Any]:
        """Make *fun* a task of this app and return it; one of that name that is there already stays.

        A newer definition of the same function, as a reloaded module has, takes the place of the older.
        """
        name = name or self.gen_task_name(fun.__name__, fun.__module__)
        known = self._tasks.get(name)
        if known is not None and not _is_same(known, fun):
            self._warn_of_duplicate(name, known, fun)
            return known
        run = self._modelled(fun, name, bind, options) if options.pop("pydantic", False) else fun
        attributes = {
            "name": name, "run": run if bind else staticmethod(run), "__wrapped__": staticmethod(fun),
            "__doc__": fun.__doc__, "__module__": fun.__module__, "abstract": False, **options,
        }
        cls = type(fun.__name__, (base or self._base_task(),), attributes)
        made: Task[..., Any] = self.register_task(cls)
        return made

    def gen_task_name(self, name: str, module: str | None) -> str:
        """Return the name of a task from its function and module; for ``__main__`` the app's own name stands."""
        if not module or module == "__main__":
            module = self.main or _main_module()
        return f"{module}.{name}" if module else name

    def _make(self, fun: Callable[..., Any], options: dict[str, Any]) -> Any:
        # Celery makes proxies unless lazy=False; here a task is a task at once.
        options = {name: value for name, value in options.items() if name not in ("lazy", "shared")}
        return self.task_from_fun(fun, **options)

    def _modelled(self, fun: Callable[..., Any], name: str, bind: bool, options: dict[str, Any]) -> Callable[..., Any]:
        strict, context, dump = (options.pop(option, None) for option in parts.models.OPTIONS)
        models = parts.models.Models(self, fun, name, is_bound=bind, strict=bool(strict), context=context, dump=dump)
        options["dump_arguments"] = staticmethod(models.dump_arguments)
        return models.wrap()

    def _warn_of_duplicate(self, name: str, known: Task[..., Any], fun: Callable[..., Any]) -> None:
        if name not in self._warned_of:
            self._warned_of.add(name)
            other = getattr(known, "__wrapped__", type(known))
            warnings.warn(
                f"two tasks are called {name!r}: {_place(other)}, which stays, and {_place(fun)}; "
                "give one of them another name=",
                DuplicateTaskNameWarning, stacklevel=5,
            )


class TaskDecorator(Protocol):
    """``@app.task(...)`` with options."""

    @overload
    def __call__(self, fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[P, R], /) -> Task[P, R]: ...


class BoundDecorator(Protocol):
    """``@app.task(bind=True, ...)``: the first parameter is the task, and callers do not give it."""

    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, fun: Callable[Concatenate[Any, P], R], /) -> Task[P, R]: ...


def _is_same(known: Any, fun: Callable[..., Any]) -> bool:
    other = getattr(known, "__wrapped__", None)
    return other is fun or (
        other is not None and (other.__module__, other.__qualname__) == (fun.__module__, fun.__qualname__)
    )


def _place(fun: Any) -> str:
    return f"{fun.__module__}.{fun.__qualname__}"


def _main_module() -> str:
    """Return the name under which a worker would import the module that runs as ``__main__``."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != "__main__":
        return str(spec.name).removesuffix(".__main__")
    path = getattr(main, "__file__", None)
    return os.path.splitext(os.path.basename(path))[0] if path else "__main__"
