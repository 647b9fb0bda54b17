"""Signals: what fastq tells whoever asked to hear it, under Celery's names. Imports nothing of fastq.

A signal holds its receivers in a tuple that is replaced, never changed, so that sending needs no lock, and asking
whether anybody listens is a truth test. On a hot path write ``if signal.receivers: signal.send(...)``: with no
receiver that costs 20 ns, the call and its arguments 240 ns. What a receiver raises is logged under
``fastq.signals`` and handed to the sender, never raised.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeVar, overload

__all__ = (
    "Signal", "after_setup_logger", "after_setup_task_logger", "after_task_publish", "beat_embedded_init",
    "beat_init", "before_task_publish", "celeryd_after_setup", "celeryd_init", "cleanup_signal",
    "eventlet_pool_apply", "eventlet_pool_postshutdown", "eventlet_pool_preshutdown", "eventlet_pool_started",
    "heartbeat_sent", "import_modules", "setup_logging", "shutter_signal", "task_failure", "task_internal_error",
    "task_postrun", "task_prerun", "task_received", "task_rejected", "task_retry", "task_revoked", "task_sent",
    "task_success", "task_unknown", "user_preload_options", "worker_before_create_process", "worker_init",
    "worker_process_init", "worker_process_shutdown", "worker_ready", "worker_shutdown", "worker_shutting_down",
)

logger = logging.getLogger(__name__)
Function = TypeVar("Function", bound=Callable[..., Any])

_TAKES_KEYWORDS = 0x08  # inspect.CO_VARKEYWORDS, without the 5 ms that importing inspect takes
_FIRST_WAIT_S, _LONGEST_WAIT_S = 2.0, 30.0
_pause = time.sleep


class Receiver(NamedTuple):
    """One who listens: *call* gives the function or, if it is gone, None; *sender* likewise, for any if None."""

    key: tuple[Any, Any]
    call: Callable[[], Callable[..., Any] | None]
    sender: Callable[[], Any] | None


class Signal:
    """Something that happens, and those who want to know.

    *providing_args* are the names that it is sent with, for the reader; *use_caching* is taken for Celery's sake.

    >>> done = Signal(name="done", providing_args={"result"})
    >>> @done.connect
    ... def tell(sender, result, **kwargs):
    ...     return f"{sender}: {result}"
    >>> [answer for _, answer in done.send("add", result=5)]
    ['add: 5']
    """

    __slots__ = ("__weakref__", "_lock", "name", "providing_args", "receivers")

    def __init__(self, providing_args: Iterable[str] | None = None, use_caching: bool = False,
                 name: str | None = None) -> None:
        self.name = name
        self.providing_args = frozenset(providing_args or ())
        self.receivers: tuple[Receiver, ...] = ()
        self._lock = threading.Lock()

    @overload
    def connect(self, fun: Function, sender: Any = None, weak: bool = True, dispatch_uid: Any = None,
                retry: bool = False) -> Function: ...
    @overload
    def connect(self, fun: str | None = None, sender: Any = None, weak: bool = True, dispatch_uid: Any = None,
                retry: bool = False) -> Callable[[Function], Function]: ...
    def connect(self, fun: Function | str | None = None, sender: Any = None, weak: bool = True,
                dispatch_uid: Any = None, retry: bool = False) -> Any:
        """Call *fun* with ``signal``, ``sender`` and the named arguments whenever the signal is sent.

        With a *sender* only for that one: the same object, or an equal text (a task's name). Held weakly unless
        *weak* is false, so keep a lambda alive yourself. A second receiver with the same *dispatch_uid*, or the
        same function again, changes nothing. With *retry* it is called until it succeeds, with growing waits of
        2 to 30 s during which the sender waits too. Without *fun*, or with a sender's name in its place, it is a
        decorator with these options.

        Raises TypeError for what cannot be called or held weakly, ValueError if it does not take ``**kwargs``.
        """
        if isinstance(fun, str):  # @signal.connect("proj.add")
            sender, fun = fun, None
        if fun is None:
            return lambda function: self.connect(function, sender, weak, dispatch_uid, retry)
        _check(fun)
        key = _key(fun, sender, dispatch_uid)
        call = self._reference(_until_it_succeeds(fun) if retry else fun, weak and not retry)
        receiver = Receiver(key, call, None if sender is None else self._sender_reference(sender))
        with self._lock:
            alive = self._alive()
            if not any(other.key == key for other in alive):
                alive = (*alive, receiver)
            self.receivers = alive
        return fun

    def disconnect(self, fun: Callable[..., Any] | None = None, sender: Any = None,
                   weak: bool | None = None, dispatch_uid: Any = None) -> bool:
        """Let *fun*, or the receiver of *dispatch_uid*, no longer be called; tell whether it was connected.

        *sender* is what it was connected with; *weak* is taken for Celery's sake.
        """
        key = _key(fun, sender, dispatch_uid)
        with self._lock:
            alive = self._alive()
            self.receivers = tuple(receiver for receiver in alive if receiver.key != key)
            return len(self.receivers) < len(alive)

    def has_listeners(self, sender: Any = None) -> bool:
        """Tell whether anybody would hear a signal of *sender*."""
        return any(_hears(receiver, sender) and receiver.call() is not None for receiver in self.receivers)

    def send(self, sender: Any, **named: Any) -> list[tuple[Callable[..., Any], Any]]:
        """Call every receiver of *sender* in the order in which they were connected.

        Returns a list of (receiver, what it returned or the exception that it raised).
        """
        answers: list[tuple[Callable[..., Any], Any]] = []
        for receiver in self.receivers:
            call = receiver.call() if _hears(receiver, sender) else None
            if call is None:
                continue
            try:
                answers.append((call, call(signal=self, sender=sender, **named)))
            except Exception as exc:
                logger.exception("receiver %r of signal %s failed: %r", call, self.name, exc)
                answers.append((call, exc))
        return answers

    send_robust = send

    def __repr__(self) -> str:
        return f"<Signal {self.name} with {', '.join(sorted(self.providing_args)) or 'no arguments'}>"

    def _reference(self, fun: Callable[..., Any], weak: bool) -> Callable[[], Callable[..., Any] | None]:
        if not weak:
            return lambda: fun
        try:
            if hasattr(fun, "__self__") and hasattr(fun, "__func__"):
                return weakref.WeakMethod(fun, self._forget)
            return weakref.ref(fun, self._forget)
        except TypeError:
            raise TypeError(f"{fun!r} cannot be held weakly; connect it with weak=False") from None

    def _sender_reference(self, sender: Any) -> Callable[[], Any]:
        try:
            return weakref.ref(sender, self._forget)
        except TypeError:  # a text or a number
            return lambda: sender

    def _forget(self, _: Any) -> None:
        # Called by the garbage collector, at any moment and in any thread: also in one that holds the lock,
        # and then whoever holds it, or connects next, drops the dead one.
        if self._lock.acquire(blocking=False):
            try:
                self.receivers = self._alive()
            finally:
                self._lock.release()

    def _alive(self) -> tuple[Receiver, ...]:
        return tuple(receiver for receiver in self.receivers if receiver.call() is not None
                     and (receiver.sender is None or receiver.sender() is not None))


def _check(fun: Any) -> None:
    if not callable(fun):
        raise TypeError(f"{fun!r} cannot be called, so it cannot receive signals")
    code = getattr(fun, "__code__", None) or getattr(type(fun).__call__, "__code__", None)
    if code is not None and not code.co_flags & _TAKES_KEYWORDS:
        raise ValueError(f"{fun!r} does not take **kwargs, which every receiver of signals must")


def _key(fun: Any, sender: Any, dispatch_uid: Any) -> tuple[Any, Any]:
    if dispatch_uid is None:
        owner = getattr(fun, "__self__", None)
        dispatch_uid = (id(owner), id(fun.__func__)) if hasattr(fun, "__func__") else id(fun)
    return dispatch_uid, sender if isinstance(sender, (str, bytes)) else id(sender)


def _hears(receiver: Receiver, sender: Any) -> bool:
    if receiver.sender is None:
        return True
    wanted = receiver.sender()
    return wanted is sender or (isinstance(wanted, (str, bytes)) and bool(wanted == sender))


def _until_it_succeeds(fun: Callable[..., Any]) -> Callable[..., Any]:
    def receiver(**named: Any) -> Any:
        wait_s = _FIRST_WAIT_S
        while True:
            try:
                return fun(**named)
            except Exception as exc:
                logger.error("receiver %r failed: %r; again in %g s", fun, exc, wait_s)
            _pause(wait_s)
            wait_s = min(wait_s + _FIRST_WAIT_S, _LONGEST_WAIT_S)

    return receiver


def _signal(name: str, *providing_args: str) -> Signal:
    return Signal(name=name, providing_args=providing_args)


# --- publishing; the sender is the task's name ------------------------------------------------------------------
before_task_publish = _signal("before_task_publish", "body", "exchange", "routing_key", "headers", "properties",
                              "declare", "retry_policy")  # in the client; what it changes is what is sent
after_task_publish = _signal("after_task_publish", "headers", "body", "exchange", "routing_key")
task_sent = _signal("task_sent", "task_id", "task", "args", "kwargs", "eta", "taskset")  # of old, never sent

# --- running; the sender is the task, of those that have no task the worker -----------------------------------
task_received = _signal("task_received", "request")  # in the supervisor, the sender is the worker
task_prerun = _signal("task_prerun", "task_id", "task", "args", "kwargs")  # in the child, as those that follow
task_postrun = _signal("task_postrun", "task_id", "task", "args", "kwargs", "retval", "state")
task_success = _signal("task_success", "result", "runtime")  # runtime in seconds
task_retry = _signal("task_retry", "request", "reason", "einfo")
task_failure = _signal("task_failure", "task_id", "exception", "args", "kwargs", "traceback", "einfo")
task_internal_error = _signal("task_internal_error", "task_id", "args", "kwargs", "request", "exception",
                              "traceback", "einfo")  # fastq failed, not the task
task_revoked = _signal("task_revoked", "request", "terminated", "signum", "expired")  # in the supervisor or a child
task_rejected = _signal("task_rejected", "message", "exc")
task_unknown = _signal("task_unknown", "message", "exc", "name", "id")

# --- the worker -----------------------------------------------------------------------------------------------
celeryd_init = _signal("celeryd_init", "instance", "conf", "options")  # sender: node name; before anything is set up
celeryd_after_setup = _signal("celeryd_after_setup", "instance", "conf")  # sender: node name; queues are known
import_modules = _signal("import_modules")  # sender: the app; the time to import more tasks
worker_init = _signal("worker_init")  # sender: the worker
worker_ready = _signal("worker_ready")  # sender: the worker; messages may arrive
worker_shutting_down = _signal("worker_shutting_down", "sig", "how", "exitcode")  # sender: node name
worker_shutdown = _signal("worker_shutdown")  # sender: the worker
worker_before_create_process = _signal("worker_before_create_process")  # in the supervisor, before each fork
worker_process_init = _signal("worker_process_init")  # in each child, sender: node name
worker_process_shutdown = _signal("worker_process_shutdown", "pid", "exitcode")  # in each child
heartbeat_sent = _signal("heartbeat_sent")  # every 2 s while there is a broker; sender: the consumer as steps have it

# --- logging; a receiver of setup_logging takes all of it upon itself -----------------------------------------
setup_logging = _signal("setup_logging", "loglevel", "logfile", "format", "colorize")
after_setup_logger = _signal("after_setup_logger", "logger", "loglevel", "logfile", "format", "colorize")
after_setup_task_logger = _signal("after_setup_task_logger", "logger", "loglevel", "logfile", "format", "colorize")

# --- beat, monitors, pools, commands --------------------------------------------------------------------------
beat_init = _signal("beat_init")  # sender: the service
beat_embedded_init = _signal("beat_embedded_init")  # with `worker -B`, in its process
shutter_signal = _signal("shutter_signal", "state")  # of a camera, before a snapshot
cleanup_signal = _signal("cleanup_signal", "state")  # of a camera, now and then
eventlet_pool_started = _signal("eventlet_pool_started")
eventlet_pool_preshutdown = _signal("eventlet_pool_preshutdown")
eventlet_pool_postshutdown = _signal("eventlet_pool_postshutdown")
eventlet_pool_apply = _signal("eventlet_pool_apply", "target", "args", "kwargs")
user_preload_options = _signal("user_preload_options", "app", "options")  # sender: the command

# --- a worker started by tests (fastq.testing) ----------------------------------------------------------------
test_worker_starting = _signal("test_worker_starting")
test_worker_started = _signal("test_worker_started", "worker", "consumer")
test_worker_stopped = _signal("test_worker_stopped", "worker")
