"""What programs of Celery's ask an app for beside its tasks: names of its parts, most of which are others here."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import timezone
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fastq import app as parts
from fastq import current
from fastq.exceptions import CeleryWarning

if TYPE_CHECKING:
    from fastq.app.amqp import AMQP
    from fastq.app.connection import Connection
    from fastq.app.parts_of_celery import Loader, Log


class Familiar:
    """The part of an app that only programs of Celery's use."""

    conf: Any
    namespace: str | None = None
    """The prefix of the settings in their source."""

    # -- the broker ------------------------------------------------------------------------------------------------

    def connection(self, hostname: str | None = None, **_: Any) -> Connection:
        """Return a look at the broker, or at the one at the address *hostname*: is it there, how much waits?"""
        return parts.connection.Connection(self, hostname)

    def connection_for_write(self, url: str | None = None, **_: Any) -> Connection:
        """As `connection`: to where messages go."""
        return parts.connection.Connection(self, url)

    def connection_for_read(self, url: str | None = None, **_: Any) -> Connection:
        """As `connection`: to where workers fetch."""
        return parts.connection.Connection(self, url, is_read=True)

    broker_connection = connection

    @contextmanager
    def connection_or_acquire(self, connection: Any = None, pool: bool = True) -> Iterator[Any]:
        """Give *connection* to the block, or one that is closed at its end."""
        if connection is not None:
            yield connection
            return
        with self.connection_for_write() as made:
            yield made

    default_connection = connection_or_acquire

    @contextmanager
    def producer_or_acquire(self, producer: Any = None) -> Iterator[Any]:
        """Give *producer* to the block, for `apply_async`; the process has one connection to send by in any case."""
        yield producer

    default_producer = producer_or_acquire

    @cached_property
    def amqp(self) -> AMQP:
        """The queues and routes of the app."""
        return parts.amqp.AMQP(self)

    # -- other parts -----------------------------------------------------------------------------------------------

    @cached_property
    def log(self) -> Log:
        """Sets up logging, in programs that do so themselves."""
        return parts.parts_of_celery.Log(self)

    @cached_property
    def loader(self) -> Loader:
        """Imports the modules of tasks."""
        return parts.parts_of_celery.Loader(self)

    @property
    def WorkController(self) -> Any:
        """The class of workers, bound to this app: ``app.WorkController(concurrency=2)``."""
        return self.Worker  # type: ignore[attr-defined]

    @property
    def current_worker_task(self) -> Any:
        """The task that a worker runs here; None outside of workers, and in one that was called or applied here."""
        task = current.task()
        return None if task is None or task.request.called_directly or task.request.is_eager else task

    # -- settings --------------------------------------------------------------------------------------------------

    @property
    def configured(self) -> bool:
        """Whether the settings were read from their source."""
        return bool(self.conf.is_read)

    @property
    def annotations(self) -> Any:
        """The setting ``task_annotations``."""
        return self.conf.task_annotations

    def either(self, default_key: str, *defaults: Any) -> Any:
        """Return the first of *defaults* that is not None, else the setting *default_key*."""
        return next((value for value in defaults if value is not None), self.conf.get(default_key))

    def uses_utc_timezone(self) -> bool:
        """Whether the app's time zone is UTC."""
        zone = self.timezone  # type: ignore[attr-defined]
        return zone is timezone.utc or str(zone) == "UTC"

    def add_periodic_task(self, schedule: Any, sig: Any, args: Iterable[Any] = (), kwargs: Any = None,
                          name: str | None = None, **opts: Any) -> str:
        """Enter *sig* into the setting ``beat_schedule``, under *name* or what it looks like; returns that key.

        Of one without a name that takes the place of another a CeleryWarning tells. fastq has no scheduler yet.
        Celery's reads the setting, so ``celery beat`` can send to fastq's workers.
        """
        kwargs = dict(kwargs or {})
        sig = sig.clone(tuple(args), kwargs) if hasattr(sig, "clone") else self.signature(  # type: ignore[attr-defined]
            sig.name, args=tuple(args), kwargs=kwargs)
        key = name or repr(sig)
        entry = {"schedule": schedule, "task": sig.task, "args": tuple(sig.args), "kwargs": dict(sig.kwargs),
                 "options": {**sig.options, **opts}}
        if name is None and key in (self.conf.beat_schedule or {}):
            warnings.warn(f"add_periodic_task: another {key} without a name is replaced; give each a name",
                          CeleryWarning, stacklevel=2)
        self.conf.beat_schedule = {**(self.conf.beat_schedule or {}), key: entry}
        return key

    # -- who this is -----------------------------------------------------------------------------------------------

    @cached_property
    def oid(self) -> str:
        """An id of this app in this process."""
        return parts.parts_of_celery.own_id(id(self))

    @property
    def thread_oid(self) -> str:
        """An id of this app in this thread."""
        return parts.parts_of_celery.own_id(id(self), threading.get_ident())
