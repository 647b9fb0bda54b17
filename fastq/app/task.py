"""The task: a function with a name, options, and the ways to send it.

Every decorated function gets a class of its own below `Task`, so that options are class attributes
and functions among them methods, as in Celery. What an option leaves open is read from the
settings (`fastq.app.traits`); how a message is made and sent is in `fastq.app.send`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast

from fastq import app as parts
from fastq import current, states
from fastq.app.option import FromConfig, OnFailure
from fastq.canvas.signature import Signature
from fastq.exceptions import CeleryWarning, MaxRetriesExceededError, OperationalError, Retry
from fastq.request import Request
from fastq.result import AsyncResult

if TYPE_CHECKING:
    from fastq.app.express import Express
    from fastq.app.traits import Traits
    from fastq.result import EagerResult

P = ParamSpec("P")
R = TypeVar("R")

# What a task's class may set, and every message of the task then carries.
SENT_WITH = ("queue", "routing_key", "exchange", "exchange_type", "priority", "expires", "serializer",
             "delivery_mode", "compression", "time_limit", "soft_time_limit", "immediate", "mandatory")


class Task(Generic[P, R]):
    """A function that can be sent to a worker.

    Made by ``@app.task``; subclass it to share options or hooks (``base=``), or to write a task as
    a class with a ``run`` method::

        @app.task
        def add(x: int, y: int) -> int:
            return x + y

        add.delay(2, 3).get(timeout=10)
    """

    app: Any = None
    name: str = cast(str, None)
    abstract = True
    typing: bool | None = None
    max_retries: int | None = 3
    default_retry_delay: float = 180
    trail = True
    send_events = True
    throws: tuple[type[BaseException], ...] = ()
    expires: Any = None
    compression: str | None = None
    resultrepr_maxsize = 1024
    request_stack: Any = None
    autoretry_for: Any = ()
    dont_autoretry_for: Any = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: Any = False
    retry_backoff_max: float = 600
    retry_jitter = True

    Retry = Retry
    MaxRetriesExceededError = MaxRetriesExceededError
    OperationalError = OperationalError

    if TYPE_CHECKING:
        acks_late: bool | None
        acks_on_failure: bool | None
        acks_on_timeout: bool | None
        acks_on_failure_or_timeout: bool | None
        ignore_result: bool | None
        priority: int | None
        rate_limit: str | float | None
        reject_on_worker_lost: bool | None
        retry_on_worker_lost: bool | None
        serializer: str | None
        soft_time_limit: float | None
        store_eager_result: bool | None
        store_errors_even_if_ignored: bool | None
        time_limit: float | None
        track_started: bool | None
    else:
        acks_late = FromConfig("task_acks_late")
        acks_on_failure = OnFailure("task_acks_on_failure")
        acks_on_timeout = OnFailure("task_acks_on_timeout")
        acks_on_failure_or_timeout = FromConfig("task_acks_on_failure_or_timeout")
        ignore_result = FromConfig("task_ignore_result")
        priority = FromConfig("task_default_priority")
        rate_limit = FromConfig("task_default_rate_limit")
        reject_on_worker_lost = FromConfig("task_reject_on_worker_lost")
        retry_on_worker_lost = FromConfig("task_retry_on_worker_lost")
        serializer = FromConfig("task_serializer")
        soft_time_limit = FromConfig("task_soft_time_limit")
        store_eager_result = FromConfig("task_store_eager_result")
        store_errors_even_if_ignored = FromConfig("task_store_errors_even_if_ignored")
        time_limit = FromConfig("task_time_limit")
        track_started = FromConfig("task_track_started")

    def run(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The body of the task; tasks written as classes define it."""
        raise TypeError(f"task {self.name} has no run() method")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the body here and now, as a function is run: no retries, hooks or stored result."""
        request = current.request_of(self)
        if self.has_own_call and request is not None and not request.called_directly and not request._entered:
            # A worker's own call, on its way through a subclass's __call__.
            request._entered = True
            return self.run(*args, **kwargs)
        token = current.push(self, Request(task=self.name, args=args, kwargs=kwargs))
        try:
            return self.run(*args, **kwargs)
        finally:
            current.pop(token)

    # Sending

    def delay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """Send the task with these arguments.

        The message is stored when this returns. Raises TypeError when the arguments do not fit,
        EncodeError when they cannot be encoded, OperationalError when the broker cannot be reached.
        """
        express = self._express or self._make_express()
        return cast("AsyncResult[R]", express.send(args, kwargs))

    def apply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, task_id: str | None = None,
        producer: Any = None, link: Any = None, link_error: Any = None, shadow: str | None = None, **options: Any,
    ) -> AsyncResult[R]:
        """Send the task with options.

        *countdown* (seconds), *eta* (datetime or ISO text): not before; *expires* (either): not
        after. *queue*, *priority* (0 to 9, higher first), *ignore_result*, *headers*, *serializer*,
        *compression*, *time_limit* and *soft_time_limit* (seconds), *link* and *link_error*
        (signatures), *retry* and *retry_policy* (of the sending), *shadow* (a name for logs).

        Raises as `delay` does, and ValueError for options that contradict each other.
        """
        if not self.app.finalized:
            self.app.finalize(auto=True)
        args, kwargs = () if args is None else args, {} if kwargs is None else kwargs
        check = self.checker()
        if check is not None:
            check(*args, **kwargs)
        if self.dump_arguments is not None and (options.get("serializer") or self.serializer) != "pickle":
            args, kwargs = self.dump_arguments(args, kwargs)
        options.update(task_id=task_id, link=link, link_error=link_error,
                       shadow=shadow or self.shadow_name(args, kwargs, options))
        if self.app.conf.task_always_eager:
            serializer = options.get("serializer") or self.serializer or "json"
            args, kwargs = parts.eager.round_trip(self.app, serializer, args, kwargs)
            return self.apply(args, kwargs, **options)
        return parts.send.send(self.app, self, self.name, args, kwargs, options)

    async def adelay(self, *args: P.args, **kwargs: P.kwargs) -> AsyncResult[R]:
        """As `delay`, but let the event loop run while the message is being stored."""
        return cast("AsyncResult[R]", await parts.send.in_thread(self.delay, *args, **kwargs))

    async def aapply_async(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any,
    ) -> AsyncResult[R]:
        """As `apply_async`, but let the event loop run while the message is being stored."""
        return cast("AsyncResult[R]", await parts.send.in_thread(self.apply_async, args, kwargs, **options))

    def map_delay(self, items: Iterable[Any]) -> Sequence[AsyncResult[R]]:
        """Send the task once for each item, as its only argument, in few large steps."""
        return cast("Sequence[AsyncResult[R]]", self._make_express().send_each((item,) for item in items))

    def starmap_delay(self, items: Iterable[Iterable[Any]]) -> Sequence[AsyncResult[R]]:
        """Send the task once for each item, as its positional arguments, in few large steps."""
        return cast("Sequence[AsyncResult[R]]", self._make_express().send_each(map(tuple, items)))

    def apply(
        self, args: Iterable[Any] | None = None, kwargs: Mapping[str, Any] | None = None, link: Any = None,
        link_error: Any = None, task_id: str | None = None, retries: int | None = None, throw: bool | None = None,
        **options: Any,
    ) -> EagerResult[R]:
        """Run the task here and now as a worker would, with hooks, retries and links.

        With *throw* (default: setting ``task_eager_propagates``) its exception is raised at once.
        """
        options.update(link=link, link_error=link_error, task_id=task_id, retries=retries)
        return parts.eager.apply(self, args, kwargs, throw=throw, options=options)

    def retry(
        self, args: Any = None, kwargs: Any = None, exc: BaseException | None = None, throw: bool = True,
        eta: Any = None, countdown: float | None = None, max_retries: int | None = None, **options: Any,
    ) -> Exception:
        """Run the task again later: raise `Retry`, or return it unless *throw*.

        After *countdown* seconds (default: ``default_retry_delay``) or at *eta*, with *args* and
        *kwargs* in place of those it has. When it was retried *max_retries* times already, raises
        *exc*, or MaxRetriesExceededError::

            @app.task(bind=True)
            def fetch(self, url):
                try:
                    return get(url)
                except ConnectionError as exc:
                    raise self.retry(exc=exc, countdown=5)
        """
        return parts.retry.retry(self, args, kwargs, exc, throw, eta, countdown, max_retries, options)

    # Signatures and results

    def s(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """Return the call as a value: ``add.s(2).delay(3)`` is ``add.delay(3, 2)``."""
        return self.signature(args, kwargs)

    def si(self, *args: Any, **kwargs: Any) -> Signature[R]:
        """As `s`, but arguments that come later, such as a parent's result, are ignored."""
        return self.signature(args, kwargs, immutable=True)

    def signature(self, args: Iterable[Any] | None = None, *starargs: Any, **starkwargs: Any) -> Signature[R]:
        """Return the signature of this task; the arguments are those of `Signature`."""
        starkwargs.setdefault("app", self.app)
        return Signature(self, args, *starargs, **starkwargs)

    subtask = signature

    def map(self, it: Iterable[Any]) -> Any:
        """Return the signature of one message that calls this task for each item: ``double.map([1, 2])``."""
        return Signature.part("maps").xmap(self.s(), it, app=self.app)

    def starmap(self, it: Iterable[Any]) -> Any:
        """As `map`, for items that are lists of arguments: ``add.starmap([(1, 2), (3, 4)])``."""
        return Signature.part("maps").xstarmap(self.s(), it, app=self.app)

    def chunks(self, it: Iterable[Any], n: int) -> Any:
        """Return the signature of messages that call this task for *n* items each: ``add.chunks(pairs, 100)``."""
        return Signature.part("maps").chunks(self.s(), it, n, app=self.app)

    def replace(self, sig: Signature[Any]) -> Any:
        """End this run, and have *sig* run in its place: with its id, links, chord and the rest of its chain.

        *sig* may be any workflow; the result of a group is the list of its results. It is sent together with the ack::

            @app.task(bind=True)
            def fetch(self, pages):
                return self.replace(group(load.s(page) for page in pages) | total.s())

        Raises an `Ignore` that ends the task, ImproperlyConfigured for what cannot take its place.
        """
        return parts.replacing.replace(self, sig)

    def on_replace(self, sig: Signature[Any]) -> Any:
        """Send what replaces this task; one that overrides it returns ``super().on_replace(sig)``."""
        return parts.replacing.on_replace(self, sig)

    def add_to_chord(self, sig: Signature[Any], lazy: bool = False) -> Any:
        """Add *sig* to the chord that this task is a member of, and send it; with *lazy* return it, for you to send.

        Raises ValueError when the task is in no chord.
        """
        return parts.replacing.add_to_chord(self, sig, lazy=lazy)

    def signature_from_request(
        self, request: Request | None = None, args: Any = None, kwargs: Any = None, **options: Any,
    ) -> Signature[R]:
        """Return the signature that sends the task of *request* (default: the one it is in) again."""
        return parts.retry.signature_of(self, request or self.request, args, kwargs, **options)

    subtask_from_request = signature_from_request

    def AsyncResult(self, task_id: str, **kwargs: Any) -> AsyncResult[R]:
        """Return the handle on a task that was sent before."""
        return cast("AsyncResult[R]", self.app.AsyncResult(task_id, task_name=self.name, **kwargs))

    def update_state(self, task_id: str | None = None, state: str | None = None, meta: Any = None,
                     traceback: str | None = None) -> None:
        """Store *state*, any word, and *meta* for all to see; default: for the task that runs."""
        self.app.store_result(task_id or self.request.id, meta, state or states.PENDING, traceback,
                              request=self.request)

    def send_event(self, type_: str, retry: bool = True, retry_policy: Any = None, **fields: Any) -> None:
        """Do nothing but warn: fastq sends no events yet. What a task says of its progress goes to `update_state`."""
        warnings.warn(f"send_event({type_!r}) has no effect: fastq sends no events yet", CeleryWarning, stacklevel=2)

    @property
    def backend(self) -> Any:
        """The result store."""
        return self.__dict__.get("_backend") or self.app.backend

    @backend.setter
    def backend(self, store: Any) -> None:
        self.__dict__["_backend"] = store

    # The run it is in

    @property
    def request(self) -> Request:
        """The run that this code is part of; outside of runs, a request without values."""
        return current.request_of(self) or Request()

    def push_request(self, *mappings: Mapping[str, Any], **fields: Any) -> None:
        """Let this code be part of a run with these fields, until `pop_request`; for tests of ``run``."""
        self.__dict__.setdefault("_pushed", []).append(current.push(self, Request(*mappings, **fields)))

    def pop_request(self) -> None:
        """End what `push_request` began. Raises IndexError when it began nothing."""
        current.pop(self.__dict__.get("_pushed", []).pop())

    def add_trail(self, result: Any) -> Any:
        """Remember *result* among the children of this run."""
        if self.trail:
            self.request.children.append(result)
        return result

    def add_around(self, name: str, around: Callable[[Any], Any]) -> None:
        """Put ``around(method)`` in the place of the method *name*; what was put there before is taken off first."""
        method = getattr(self, name)
        method = getattr(method, "__around__", method)
        wrapped = around(method)
        wrapped.__around__ = method
        setattr(self, name, wrapped)

    # Hooks, run by the worker

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Do something before the task starts."""

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        """Do something when the task has returned."""

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Do something when the task is to be retried."""

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Do something when the task has failed."""

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        """Do something when the task has ended either way."""

    def shadow_name(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> str | None:
        """Return the name that logs and monitors show for this call, None for the task's own."""
        return None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Do something when the task gets its app."""

    # What it is

    dump_arguments: Callable[[Any, Any], tuple[Any, Any]] | None = None
    """Set by ``pydantic=True``: what makes of the arguments of a call those that are sent."""
    has_own_call = False
    _express: Express | None = None
    _traits: Traits | None = None
    _checker: Any = None
    _exec_options: dict[str, Any] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.has_own_call = cls.has_own("__call__")
        for name, value in list(vars(cls).items()):
            # In a subclass too, None leaves the option to the settings.
            if value is None and isinstance(vars(Task).get(name), FromConfig):
                delattr(cls, name)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name not in ("_express", "_traits", "_exec_options", "_checker"):
            self.reset()

    def __delattr__(self, name: str) -> None:
        super().__delattr__(name)
        self.reset()

    @classmethod
    def has_own(cls, name: str) -> bool:
        """Return whether a class below `Task` defines *name*, or somebody has replaced it there."""
        return getattr(cls, name) is not _OWN[name]

    @property
    def has_own_sending(self) -> bool:
        """Whether this task is sent in a way of its own, which plain calls have to take too."""
        return self.dump_arguments is not None or any(name in self.__dict__ or self.has_own(name) for name in _SENDING)

    def bind(self, app: Any) -> None:
        """Make this a task of *app*; done by the app when it registers the task."""
        self.app = app
        if self.autoretry_for and "run" not in self.__dict__:
            self.__dict__["run"] = parts.retry.autoretry(self, self.run)
        self.on_bound(app)

    def reset(self) -> None:
        """Forget what was worked out from options and settings."""
        self.__dict__.update(_express=None, _traits=None, _exec_options=None)

    @property
    def traits(self) -> Traits:
        """What a worker must know of the task."""
        if self._traits is None:
            self._traits = parts.traits.traits_of(self)
        return self._traits

    def exec_options(self) -> dict[str, Any]:
        """Return the options that every message of this task carries; the priority also when it is None."""
        if self._exec_options is None:
            found = ((name, getattr(self, name, None)) for name in SENT_WITH)
            self._exec_options = {name: value for name, value in found if value is not None or name == "priority"}
        return self._exec_options

    def checker(self) -> Callable[..., None] | None:
        """Return what checks arguments against ``run``, or None for a task that is not checked."""
        if not (self.app.strict_typing if self.typing is None else self.typing):
            return None
        if self._checker is None:
            self._checker = parts.arguments.checker(self.run, self.name.rpartition(".")[2])
        return cast("Callable[..., None]", self._checker)

    def _make_express(self) -> Express:
        app = self.app
        app.finalize(auto=True)
        while True:
            changes = app.changes
            express = self._express or parts.express.express_of(self)
            # Another thread may have changed a setting meanwhile.
            if app.changes == changes:
                self._express = express
                return express

    def __reduce__(self) -> Any:
        return _task_named, (self.name,)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"


if TYPE_CHECKING:
    class AsyncTask(Task[P, R]):
        """A task whose body is a coroutine function; only type checkers tell it from `Task`."""

        def run(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...  # type: ignore[override]
        def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...  # type: ignore[override]
else:
    AsyncTask = Task


_SENDING = ("apply_async", "shadow_name", "AsyncResult")
# What Task defines itself; test suites and tracing libraries put their own in its place.
_OWN = {name: getattr(Task, name) for name in (
    *_SENDING, "__call__", "after_return", "before_start", "on_failure", "on_retry", "on_success",
)}


def _task_named(name: str) -> Task[Any, Any]:
    return cast("Task[Any, Any]", current.app().tasks[name])
