"""The one tree of errors. Imports nothing; the only Python module that ext/ may import.

Celery's names stand here with Celery's bases, so that ``except`` clauses move over unchanged.
fastq's own errors say what was wrong, where, and what to do about it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from types import TracebackType

__all__ = (
    "AlreadyRegistered", "AlwaysEagerIgnored", "BackendError", "BackendGetMetaError", "BackendStoreError", "BrokerFull",
    "BrokerGone", "BrokerLocked", "CDeprecationWarning", "CPendingDeprecationWarning", "CeleryCommandException",
    "CeleryError", "CeleryWarning", "ChildLost", "ChordError", "ConfigError", "ContentDisallowed", "DecodeError",
    "DuplicateNodenameWarning", "DuplicateTaskNameWarning", "EncodeError", "FastqError", "FixupWarning", "FrameError",
    "Ignore", "ImproperlyConfigured", "IncompleteStream", "InvalidTaskError", "LeaseLost", "MaxRetriesExceededError",
    "NotConfigured", "NotHeld", "NotRegistered", "OperationalError", "PoolError", "QueueNotFound", "Reject", "Retry",
    "RetryTaskError", "SecurityError", "SecurityWarning", "SoftTimeLimitExceeded", "SystemTerminate", "TaskError",
    "TaskPredicate", "TaskRevokedError", "Terminated", "TimeLimitExceeded", "TimeoutError", "TransportError",
    "WireError", "WorkerLostError", "WorkerShutdown", "WorkerTerminate", "reraise",
)


class CeleryWarning(UserWarning):
    """Base of the warnings that Celery's users know."""


class NotConfigured(CeleryWarning):
    """No configuration was found."""


class SecurityWarning(CeleryWarning):
    """A setting makes the worker less safe than it looks."""


class AlwaysEagerIgnored(CeleryWarning):
    """``task_always_eager`` is set, and what was called does not heed it."""


class DuplicateNodenameWarning(CeleryWarning):
    """Two workers have the same name."""


class FixupWarning(CeleryWarning):
    """What adapts fastq to another package could not."""


class DuplicateTaskNameWarning(CeleryWarning):
    """Two different functions were registered under one task name."""


class CPendingDeprecationWarning(PendingDeprecationWarning):
    """Something will be deprecated."""


class CDeprecationWarning(DeprecationWarning):
    """Something is deprecated."""


class CeleryError(Exception):
    """Base of every error below but the control-flow ones."""


class FastqError(CeleryError):
    """Base of the errors that are fastq's own."""


class ImproperlyConfigured(CeleryError):
    """A setting is unknown, of the wrong type, or contradicts another."""


class ConfigError(FastqError, ImproperlyConfigured):
    """A setting is wrong; the message names it, where it came from, and the nearest right one."""


class SecurityError(CeleryError):
    """Something untrusted was refused."""


class TaskError(CeleryError):
    """Base of errors about tasks."""


class NotRegistered(KeyError, TaskError):
    """The task name is unknown here."""

    def __str__(self) -> str:
        return f"task {self.args[0]!r} is not registered" if self.args else "task is not registered"


class AlreadyRegistered(TaskError):
    """The task name is taken."""


class InvalidTaskError(TaskError):
    """The message is no valid task message."""


class TimeoutError(TaskError):
    """The wait for a result took longer than allowed."""


class MaxRetriesExceededError(TaskError):
    """The task was retried as often as it may be."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_args = kwargs.pop("task_args", [])
        self.task_kwargs = kwargs.pop("task_kwargs", {})
        super().__init__(*args, **kwargs)


class TaskRevokedError(TaskError):
    """The task was revoked, so there is no result."""


class ChordError(TaskError):
    """A member of the chord's header failed."""


class QueueNotFound(KeyError, TaskError):
    """The queue is not among those configured, and may not be made."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "queue not found"


class IncompleteStream(TaskError):
    """The end of a stream was reached too early."""


class TaskPredicate(CeleryError):
    """Base of what a task raises to say how it wants to end; caught by the child that runs it."""


class Retry(TaskPredicate):
    """The task is to be run again; raised by ``Task.retry``.

    ``exc`` is the reason, ``when`` seconds or a datetime.
    """

    def __init__(self, message: str | None = None, exc: Any = None, when: Any = None,
                 is_eager: bool = False, sig: Any = None, **kwargs: Any) -> None:
        self.message = message
        self.exc = exc if not isinstance(exc, str) else None
        self.excs = exc if isinstance(exc, str) else repr(exc) if exc is not None else None
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when, **kwargs)

    def humanize(self) -> str:
        """Say when, for logs."""
        return f"in {self.when}s" if isinstance(self.when, (int, float)) else f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        return f"Retry {self.humanize()}" + (f": {self.excs}" if self.excs else "")

    def __reduce__(self) -> Any:
        return type(self), (self.message, self.exc, self.when)


class Ignore(TaskPredicate):
    """The task is to leave no state behind."""


class Replaced(Ignore):
    """The task ends here, and *sig* is sent in its place: raised by ``task.replace()``."""

    def __init__(self, sig: Any = None) -> None:
        self.sig = sig
        super().__init__("replaced by another task")


class Reject(TaskPredicate):
    """The message is to be rejected, and put back when *requeue* is true."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class SoftTimeLimitExceeded(Exception):
    """The soft time limit has passed; raised inside the task, which may clean up."""

    def __str__(self) -> str:
        return "SoftTimeLimitExceeded" + (f"{self.args!r}" if self.args else "()")


class TimeLimitExceeded(Exception):
    """The hard time limit has passed; the child that ran the task was killed."""

    def __str__(self) -> str:
        return "TimeLimitExceeded" + (f"{self.args!r}" if self.args else "()")


class WorkerLostError(Exception):
    """The child that ran the task is gone, and the task with it."""

    exitcode: int | None = None


class Terminated(Exception):
    """The task was terminated by request."""


class WorkerTerminate(SystemExit):
    """The worker is to stop now."""


class WorkerShutdown(SystemExit):
    """The worker is to stop after the tasks that run."""


class Unsupported(FastqError, NotImplementedError):
    """What was asked cannot be had from the broker or the result store that is configured."""


class BackendError(FastqError):
    """The result store could not do what was asked."""


class BackendGetMetaError(BackendError):
    """A result could not be read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)


class BackendStoreError(BackendError):
    """A result could not be stored."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.state = kwargs.get("state", "")
        self.task_id = kwargs.get("task_id", "")
        super().__init__(*args)


class WireError(FastqError):
    """Bytes from outside make no sense."""


class FrameError(WireError):
    """A frame, table or envelope is truncated, oversized or malformed; the message tells the offset."""


class DecodeError(WireError):
    """A body could not be decoded."""


class EncodeError(WireError):
    """A value could not be encoded."""


class ContentDisallowed(WireError):
    """The content type is not in ``accept_content``; the body was not opened."""


class OperationalError(FastqError):
    """The broker could not be reached or could not do what was asked."""


class TransportError(OperationalError):
    """The transport failed; the message names the file or host, the reason and the fix."""


class BrokerFull(TransportError):
    """There is no room left to store the message; it was not stored."""


class BrokerLocked(TransportError):
    """Another program held the file for longer than the deadline; nothing was changed."""


class BrokerGone(TransportError):
    """What held the messages was removed or replaced under this program; only a restart helps."""


class NotHeld(TransportError):
    """An ending names a delivery that this worker does not hold; nothing was changed."""


class ConnectionLost(TransportError):
    """The connection broke: what was held is void here, and will be delivered again, here or elsewhere."""

    unread: int = 0
    """Deliveries that the broker may have sent, and that were not taken: nobody knows which they were."""


class BrokerRefused(TransportError):
    """The broker answered with a refusal, such as 403 for wrong credentials; trying again does not help."""

    code: int = 0
    """The broker's reply code."""


class Undeliverable(OperationalError):
    """The broker had no queue for a message and gave it back."""

    task_ids: tuple[str, ...] = ()
    """The tasks whose messages came back, as far as they are known."""


class LeaseLost(TransportError):
    """This worker was silent for longer than its lease; others have taken its deliveries."""


class PoolError(FastqError):
    """The pool could not run a task."""


class ChildLost(PoolError):
    """A child ended without being asked to."""


class CeleryCommandException(Exception):
    """A command of the command line failed."""

    def __init__(self, message: str, exitcode: int) -> None:
        self.message = message
        self.exitcode = exitcode
        super().__init__(message)


# -- older names ------------------------------------------------------------------------------------

RetryTaskError = Retry
SystemTerminate = WorkerTerminate


def reraise(tp: type[BaseException], value: BaseException, tb: TracebackType | None = None) -> NoReturn:
    """Raise *value* with the traceback *tb*; *tp* is not looked at."""
    raise value.with_traceback(tb)
