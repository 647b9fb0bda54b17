"""``app.log`` and ``app.loader``, as far as programs use them."""

from __future__ import annotations

import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterable
from datetime import datetime
from types import ModuleType
from typing import Any

from fastq import log
from fastq.app import loader


class Log:
    """Sets up the log as a worker does, for programs that are none: a script, a server that calls tasks.

    Example::

        app.log.setup(loglevel="INFO")
    """

    def __init__(self, app: Any) -> None:
        self.app = app

    def setup(self, loglevel: int | str | None = None, logfile: Any = None, redirect_stdouts: bool = False,
              redirect_level: str = "WARNING", colorize: bool | None = None, hostname: str | None = None) -> bool:
        """Set up logging as the settings say; with *redirect_stdouts* what is printed is logged. True: it was done."""
        ours = self.setup_logging_subsystem(loglevel, logfile, colorize=colorize)
        if ours and redirect_stdouts:
            self.redirect_stdouts(redirect_level)
        return ours

    def setup_logging_subsystem(self, loglevel: int | str | None = None, logfile: Any = None, format: str | None = None,
                                colorize: bool | None = None, hostname: str | None = None, *,
                                as_json: bool = False, **_: Any) -> bool:
        """Set up the loggers, with *as_json* to write one object a line.

        Returns False when a receiver of the signal ``setup_logging`` did so.
        """
        conf = self.app.conf
        return log.setup(
            loglevel, logfile, format=format or conf.worker_log_format, task_format=conf.worker_task_log_format,
            datefmt=conf.worker_log_datefmt, task_datefmt=conf.worker_task_log_datefmt,
            colorize=conf.worker_log_color if colorize is None else colorize,
            hijack_root=bool(conf.worker_hijack_root_logger), as_json=as_json)

    def redirect_stdouts(self, loglevel: int | str = "WARNING", name: str = "celery.redirected") -> None:
        """Log what is printed from now on."""
        log.redirect_stdouts(loglevel, name)

    def get_default_logger(self, name: str = "celery", **_: Any) -> logging.Logger:
        """Return the logger *name*."""
        return log.get_logger(name)

    def supports_color(self, colorize: bool | None = None, logfile: Any = None) -> bool:
        """Whether lines would be coloured."""
        return log.wants_color(self.app.conf.worker_log_color if colorize is None else colorize, logfile)


class Loader:
    """Imports what the settings name.

    Example::

        app.loader.import_default_modules()
    """

    import_module = staticmethod(loader.import_module)
    import_task_module = staticmethod(loader.import_module)
    import_from_cwd = staticmethod(loader.import_module)
    import_object = staticmethod(loader.import_object)

    def __init__(self, app: Any) -> None:
        self.app = app

    @property
    def conf(self) -> Any:
        """The app's settings."""
        return self.app.conf

    def import_default_modules(self) -> list[ModuleType]:
        """Import every module that defines tasks, as a worker does; returns those that the settings name."""
        self.app.import_tasks()
        return loader.import_task_modules(self.app.conf)

    def autodiscover_tasks(self, packages: Iterable[str] | Callable[[], Iterable[str]],
                           related_name: str | None = "tasks") -> None:
        """Import ``<package>.tasks`` of each of *packages* now."""
        loader.autodiscover_tasks(packages, related_name)

    def now(self, utc: bool = True) -> datetime:
        """The time, in the app's time zone."""
        moment: datetime = self.app.now()
        return moment


def own_id(*numbers: int) -> str:
    """Return an id that is *numbers*' own in this process, on this machine."""
    name = f"{socket.gethostname()}-{os.getpid()}-{'-'.join(map(str, numbers))}"
    return str(uuid.uuid3(uuid.NAMESPACE_OID, name))
