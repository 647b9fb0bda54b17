"""``shared_task``: tasks of libraries, which belong to every app that there is and will be."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Literal, ParamSpec, TypeVar, cast, overload

from fastq import current
from fastq.app.app import App
from fastq.app.decorator import BoundDecorator, TaskDecorator
from fastq.app.proxy import Proxy
from fastq.app.task import AsyncTask, Task

P = ParamSpec("P")
R = TypeVar("R")


def share(fun: Callable[..., Any], options: dict[str, Any]) -> Any:
    """Register *fun* with every app, and return what stands for the current app's task."""
    if isinstance(fun, Proxy):
        raise TypeError(f"{fun.__wrapped__.__qualname__} is a shared task already: @shared_task was applied twice")

    def register(app: Any) -> Any:
        return app.task_from_fun(fun, **options)

    current.on_finalize.append(register)
    for app in list(current.apps):
        if app.finalized:
            register(app)

    def find() -> Any:
        app = current.app()
        name = options.get("name") or app.gen_task_name(fun.__name__, fun.__module__)
        return app.tasks[name]

    return Proxy(find, __doc__=fun.__doc__, __module__=fun.__module__, __wrapped__=fun)


@overload
def shared_task(fun: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def shared_task(fun: Callable[P, R], /) -> Task[P, R]: ...
@overload
def shared_task(*, bind: Literal[True], **options: Any) -> BoundDecorator: ...
@overload
def shared_task(*, bind: Literal[False] = False, **options: Any) -> TaskDecorator: ...
def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task that belongs to no app: each app has it, and uses go to the current one.

    The options are those of ``@app.task``::

        @shared_task
        def add(x: int, y: int) -> int:
            return x + y
    """
    if len(args) == 1 and callable(args[0]) and not options:
        return share(args[0], {})
    if args:
        raise TypeError("@shared_task takes keyword options only, such as @shared_task(bind=True)")
    return lambda fun: share(fun, options)


def app_or_default(app: App | None = None) -> App:
    """Return *app*, or the current one. Raises ImproperlyConfigured when there is none."""
    return cast("App", current.app()) if app is None else app


current_app: App = cast("App", Proxy(current.app))
default_app = current_app
current_task: Any = Proxy(current.task)
