"""The app: the user's object. It ties settings, tasks, transport and store together; the logic is theirs.

One class with two presets of defaults: `Fastq`, safe ones and an embedded broker; `Celery`, those
that Celery documents, for a program that moves over unchanged.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

from fastq import app as parts
from fastq import current, signals
from fastq.app import loader
from fastq.app.decorator import Decorator
from fastq.app.familiar import Familiar
from fastq.app.registry import TaskRegistry
from fastq.app.settings import Preset, Settings
from fastq.app.task import Task
from fastq.canvas.signature import Signature, signature
from fastq.exceptions import CeleryWarning
from fastq.result import AsyncResult
from fastq.signals import Signal

if TYPE_CHECKING:
    from fastq.app.bulk import Batch
    from fastq.app.control import Control
    from fastq.app.routes import Router
    from fastq.app.steps import StepSet
    from fastq.app.wires import Wires
    from fastq.backends.base import Replies, ResultStore
    from fastq.backends.meta import MetaCodec
    from fastq.control.mailbox import Mailbox
    from fastq.transport.base import Transport
    from fastq.types import Message

AppType = TypeVar("AppType", bound="App")


class AppSettings(Settings):
    """Settings that tell their app when they change, since tasks keep what they worked out from them."""

    __slots__ = ("on_change",)

    def _fold(self) -> None:
        super()._fold()
        on_change = getattr(self, "on_change", None)
        if on_change is not None:
            on_change()


class App(Decorator, Familiar):
    """A task queue: its tasks, its settings, its broker and its results.

    *main* names the app and the tasks of a ``__main__`` module; further keywords are settings.
    Nothing is read, opened or imported before it is needed. Use `Fastq`, or `Celery`.
    """

    preset: ClassVar[Preset] = "Fastq"

    def __init__(
        self, main: str | None = None, broker: str | None = None, backend: str | None = None,
        include: Iterable[str] | None = None, set_as_current: bool = True, config_source: Any = None,
        namespace: str | None = None, task_cls: Any = None, *, autofinalize: bool = True, strict_typing: bool = True,
        changes: Mapping[str, Any] | None = None, **settings: Any,
    ) -> None:
        self.main = main
        self.autofinalize = autofinalize
        self.strict_typing = strict_typing
        self.finalized = False
        self.on_configure = Signal(name="app.on_configure")
        self.on_after_configure = Signal(name="app.on_after_configure", providing_args={"source"})
        self.on_after_finalize = Signal(name="app.on_after_finalize")
        self.on_after_fork = Signal(name="app.on_after_fork")
        self._task_cls = task_cls
        self._tasks = TaskRegistry()
        self._warned_of = set()
        self._opened: Wires | None = None
        self._router: Router | None = None
        self._lock = threading.RLock()
        self.open_batches: list[Batch] = []
        self.returned: dict[str, None] = {}
        """The last tasks whose messages the broker gave back, until somebody asks to have them confirmed."""
        self.changes = 0
        """How often something changed that tasks work out their sending from."""
        given = {"broker_url": broker, "result_backend": backend, "include": include, **settings}
        given = {**(changes or {}), **{name: value for name, value in given.items() if value is not None}}
        self._conf = AppSettings(given, preset=self.preset, reader=loader.default_source)
        object.__setattr__(self._conf, "on_change", self._reset)
        self._conf.on_read = self._on_read
        if config_source is not None:
            self.config_from_object(config_source, namespace=namespace)
        current.apps.add(self)
        if set_as_current:
            self.set_current()

    # Settings

    @property
    def conf(self) -> Settings:
        """The settings, read from their source when one of them is first asked for."""
        return self._conf

    @conf.setter
    def conf(self, settings: Any) -> None:
        loader.config_from_object(self._conf, settings, force=True)

    def config_from_object(self, obj: Any, silent: bool = False, force: bool = False,
                           namespace: str | None = None) -> None:
        """Take settings from *obj*: a module or its name, a mapping, class or object."""
        self.namespace = namespace or self.namespace
        loader.config_from_object(self._conf, obj, silent, force, namespace)

    def config_from_envvar(self, variable_name: str, silent: bool = False, force: bool = False) -> bool:
        """Take settings from the module that an environment variable names."""
        return loader.config_from_envvar(self._conf, variable_name, silent, force)

    def config_from_cmdline(self, argv: list[str], namespace: str = "celery") -> None:
        """Set ``name=value`` arguments, over what everything else says."""
        loader.config_from_cmdline(self._conf, argv, namespace)

    def add_defaults(self, defaults: Mapping[str, Any] | Callable[[], Mapping[str, Any]]) -> None:
        """Put *defaults* over the preset's, under everything else."""
        self._conf.add_defaults(defaults)

    @property
    def timezone(self) -> tzinfo:
        """The time zone of ``eta`` texts and schedules: setting ``timezone``, else UTC."""
        return parts.results.zone(self._conf.timezone, bool(self._conf.enable_utc))

    def now(self) -> datetime:
        """Return the time, in the app's time zone."""
        return datetime.now(self.timezone)

    # Tasks

    @property
    def tasks(self) -> TaskRegistry:
        """Every task by its name; asking finalizes the app."""
        self.finalize(auto=True)
        return self._tasks

    @property
    def Task(self) -> Any:
        """The base class of this app's tasks."""
        return self._base_task()

    def finalize(self, auto: bool = False) -> None:
        """Register shared and built-in tasks and lay ``task_annotations`` over all; the first use does it.

        Raises RuntimeError when it would happen by itself in an app made with autofinalize=False.
        """
        if self.finalized:
            return
        with self._lock:
            if self.finalized:
                return
            if auto and not self.autofinalize:
                raise RuntimeError("the app was used before app.finalize(), and was made with autofinalize=False")
            self.finalized = True
            parts.builtins.add_builtins(self)
            for register in list(current.on_finalize):
                register(self)
            for task in list(self._tasks.values()):
                self._annotate(task)
        self.on_after_finalize.send(sender=self)

    def autodiscover_tasks(self, packages: Iterable[str] | Callable[[], Iterable[str]] | None = None,
                           related_name: str | None = "tasks", force: bool = False) -> None:
        """Import ``<package>.tasks`` of each of *packages* when the worker loads its tasks; now with *force*.

        Raises LoadError for a package that does not exist.
        """
        def discover(**_: Any) -> None:
            loader.autodiscover_tasks(packages or (), related_name)

        if force:
            discover()
        else:
            signals.import_modules.connect(discover, sender=self, weak=False)

    def import_tasks(self) -> None:
        """Import every module that defines tasks: ``imports``, ``include``, and what was to be discovered."""
        loader.import_task_modules(self._conf)
        for _, answer in signals.import_modules.send(sender=self):
            if isinstance(answer, BaseException):
                raise answer

    # Sending

    def send_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
        """Send a task by its name; the options are those of `Task.apply_async`.

        A task that this process has need not be there; if it is, its own options count.
        """
        if self._conf.task_always_eager:
            warnings.warn("task_always_eager has no effect on send_task", CeleryWarning, stacklevel=2)
        return parts.send.send(self, self._tasks.get(name), name, args, kwargs, options)

    async def asend_task(self, name: str, args: Any = None, kwargs: Any = None, **options: Any) -> AsyncResult[Any]:
        """As `send_task`, but let the event loop run while the message is being stored."""
        return cast("AsyncResult[Any]", await parts.send.in_thread(self.send_task, name, args, kwargs, **options))

    def message_of(self, sig: Signature[Any]) -> Message:
        """Return the message that sending *sig* would store: what a worker stores together with an ack."""
        return parts.send.message_of(self, self.tasks.get(sig.task), sig.task, sig.args, sig.kwargs, sig.options)

    def send_workflow(self, sig: Signature[Any], args: Any = None, kwargs: Any = None,
                      options: Mapping[str, Any] | None = None, *, add_to_parent: bool = True) -> Any:
        """Send what the chain, group or chord *sig* starts with, and return its result: ``sig.apply_async()``."""
        return parts.workflow.send(self, sig, args, kwargs, options or {}, add_to_parent=add_to_parent)

    def ensure_chords(self) -> None:
        """Raise Unsupported where the results of a chord's header could not be joined."""
        parts.workflow.ensure_chords(self)

    def batch(self) -> Batch:
        """Gather what is sent in a block, and store it in few large steps at the end.

        ::

            with app.batch():
                for row in rows:
                    load.delay(row)
        """
        return parts.bulk.Batch(self)

    def signature(self, *args: Any, **kwargs: Any) -> Signature[Any]:
        """Return a signature of this app; the arguments are those of `fastq.signature`."""
        kwargs["app"] = self
        return signature(*args, **kwargs)

    @property
    def router(self) -> Router:
        """Finds the queue of a task, from ``task_queues`` and ``task_routes``."""
        if self._router is None:
            conf = self._conf
            queues = parts.queues.Queues(conf.task_queues, parts.queues.rules_of(conf))
            self._router = parts.routes.Router(queues, conf.task_routes, loader.import_object)
        return self._router

    def flush_routes(self) -> None:
        """Read queues and routes from the settings anew, when they are next needed."""
        self._router = None

    def select_queues(self, queues: Iterable[str] | None = None) -> dict[str, Any]:
        """Return the queues that a worker of this app consumes: *queues*, or all that are configured."""
        return dict(self.router.queues.select(queues))

    @staticmethod
    def new_id() -> str:
        """Return a new task id."""
        return parts.send.new_task_id()

    # Results

    def AsyncResult(self, task_id: str, backend: Any = None, task_name: str | None = None,
                    parent: AsyncResult[Any] | None = None) -> AsyncResult[Any]:
        """Return the handle on the result of the task *task_id*."""
        return AsyncResult(task_id, backend, task_name, self, parent)

    def GroupResult(self, id: str | None = None, results: Any = None, parent: Any = None, **kwargs: Any) -> Any:
        """Return the handle on the results of a group."""
        return parts.results.GroupResult(id, results, parent, app=self, **kwargs)

    def ResultSet(self, results: Any, **kwargs: Any) -> Any:
        """Return one handle on many *results*."""
        return parts.results.ResultSet(results, app=self, **kwargs)

    def save_group(self, group: Any, backend: Any = None) -> None:
        """Store which results belong to *group*, a GroupResult."""
        parts.results.save_group(self, group, backend)

    def restore_group(self, group_id: str, backend: Any = None) -> Any:
        """Return the GroupResult that was saved under *group_id*, or None."""
        return parts.results.restore_group(self, group_id, backend)

    @property
    def result_codec(self) -> MetaCodec:
        """Writes and reads result documents as the settings say."""
        return self._wires.codec()

    def store_result(self, task_id: str, value: Any, state: str, traceback: str | None = None,
                     request: Any = None) -> None:
        """Store a task's state in the result store. Raises EncodeError, BackendError."""
        parts.results.store(self, task_id, value, state, traceback, request)

    async def wait_for_result(self, store: ResultStore, task_id: str, timeout: float | None) -> bytes | None:
        """Return the document of a task that has ended, or None after *timeout* seconds; the loop runs meanwhile."""
        return await parts.waiter.wait(store, task_id, timeout)

    def call_with_result(self, store: ResultStore, task_id: str, call: Callable[[bytes | Exception], object]) -> None:
        """Have *call* called once with the document of a task that has ended, or the error, from any thread."""
        parts.waiter.listen(store, task_id, call)

    def confirm(self, task_id: str, timeout: float | None = None) -> None:
        """Wait until the broker has stored the message of a task sent here; see `AsyncResult.confirmed`."""
        parts.confirm.confirm(self, task_id, timeout)

    async def aconfirm(self, task_id: str, timeout: float | None = None) -> None:
        """As `confirm`, but let the event loop run meanwhile."""
        await parts.send.in_thread(self.confirm, task_id, timeout)

    # Broker and store

    @property
    def transport(self) -> Transport:
        """The open transport of this process. Raises ConfigError, TransportError."""
        return self._wires.transport()

    def open_transport(self, *, for_worker: bool = False, **told: Any) -> Transport:
        """Open one more transport of the app's broker, for the caller to close.

        With *for_worker* it is that of ``broker_read_url``, with heartbeats. *told* are further options of it, such
        as ``death_limit``; those that its kind does not know are left out. Raises ConfigError, TransportError.
        """
        return self._wires.open_transport(for_worker=for_worker, **told)

    def store_beside(self, worker: Transport) -> ResultStore | None:
        """Return the open store for the results of a *worker*; None where they leave with its acks, or nowhere."""
        return self._wires.store_beside(worker)

    @property
    def backend(self) -> ResultStore:
        """The open result store of this process. Raises ImproperlyConfigured when there is to be none."""
        return self._wires.store()

    @property
    def replies(self) -> Replies | None:
        """The open store of results that come back as messages (``rpc://``); None where they are kept elsewhere."""
        return self._wires.replies()

    @property
    def broker_url(self) -> str:
        """Where messages go; several addresses are joined by ';'."""
        return ";".join(self._wires.urls())

    @property
    def result_url(self) -> str | None:
        """Where results go; None for nowhere."""
        return self._wires.result_url()

    # Working

    @property
    def control(self) -> Control:
        """Asks and tells the workers that run: ``app.control.revoke(id)``, ``app.control.ping()``."""
        return parts.control.Control(self)

    @cached_property
    def steps(self) -> dict[str, StepSet]:
        """Steps of your own, which workers start and stop: "worker" and "consumer"; see `fastq.bootsteps`."""
        return {kind: parts.steps.StepSet() for kind in ("worker", "consumer")}

    @cached_property
    def user_options(self) -> dict[str, set[Any]]:
        """Options of click that the command line is to have, for the steps of workers: of the command "worker"."""
        return {command: set() for command in ("worker", "beat", "events", "preload")}

    @property
    def can_be_controlled(self) -> bool:
        """Whether remote control works over this app's broker."""
        return self._wires.has_mailbox()

    def open_mailbox(self, *, for_worker: bool = False) -> Mailbox:
        """Connect to what carries remote control. Raises ConfigError, TransportError."""
        return self._wires.open_mailbox(for_worker=for_worker)

    def Worker(self, **options: Any) -> Any:
        """Return a worker for this app; the options are those of `fastq.worker.worker.Worker`."""
        return parts.launch.worker(self, **options)

    def worker_main(self, argv: Sequence[str] | None = None) -> int:
        """Run a worker's command line, such as ``["worker", "-c", "2"]``, and return its exit code.

        Raises ValueError when it is not a worker's.
        """
        return parts.launch.worker_main(self, argv)

    def start(self, argv: Sequence[str] | None = None) -> int:
        """Run the command line for this app, ``sys.argv`` by default, and return its exit code."""
        return parts.launch.start(self, argv)

    def bugreport(self) -> str:
        """Return what a bug report needs, as text, with passwords masked."""
        return str(parts.report.bugreport(self))

    # Life

    def set_current(self) -> None:
        """Make this the app that shared tasks, results and signatures without an app use."""
        current.set_app(self)

    set_default = set_current

    @property
    def current_task(self) -> Any:
        """The task that runs here, or None."""
        return current.task()

    def close(self) -> None:
        """Close broker and store, and forget the app; what is sent later opens them again. Safe to call twice."""
        if self._opened is not None:
            self._opened.close()
        self._reset()
        current.apps.discard(self)
        if current.app_or_none() is self:
            current.set_app(None)

    def after_fork(self) -> None:
        """Let go of what belongs to the parent process; runs by itself in every forked child."""
        self._lock = threading.RLock()
        for batch in self.open_batches:
            batch.forget()
        if self._opened is not None:
            self._opened.after_fork()
        self._reset()
        self.on_after_fork.send(sender=self)

    def __enter__(self: AppType) -> AppType:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> Any:
        return _unpickle, (type(self), self.main, self._conf.without_defaults())

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.main or '__main__'}>"

    @property
    def _wires(self) -> Wires:
        if self._opened is None:
            with self._lock:
                if self._opened is None:
                    self._opened = parts.wires.Wires(self)
        return self._opened

    def _reset(self) -> None:
        self.changes += 1
        self._router = None
        if self._opened is not None:
            self._opened.reset()
        for task in list(self._tasks.values()):
            task.reset()

    def _on_read(self, settings: Settings) -> None:
        self.on_configure.send(sender=self)
        self.on_after_configure.send(sender=self, source=settings)

    def _base_task(self) -> Any:
        found = self._task_cls or Task
        return loader.import_object(found) if isinstance(found, str) else found

    def _annotate(self, task: Any) -> None:
        annotations = self._conf.task_annotations
        if annotations:
            parts.annotate.annotate(task, annotations, loader.import_object)


class Fastq(App):
    """An app with safe defaults: late acks, JSON only, a broker in a file beside the program.

    ::

        app = Fastq("shop")

        @app.task
        def add(x: int, y: int) -> int:
            return x + y
    """

    preset = "Fastq"


class Celery(App):
    """An app with the defaults that Celery documents, for a program that moves over unchanged."""

    preset = "Celery"


def _unpickle(cls: type[App], main: str | None, settings: dict[str, Any]) -> App:
    return cls(main, set_as_current=False, changes=settings)


def _after_fork() -> None:
    for app in list(current.apps):
        app.after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
