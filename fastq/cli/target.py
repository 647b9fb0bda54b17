"""What a command works on: the app that the shared options chose, its broker and its queues.

Everything that runs the user's own modules stands inside `users_code`, so that their exceptions are told apart
from ours.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastq.app import loader
from fastq.app.app import App, Fastq
from fastq.app.censor import censor_url
from fastq.app.task import Task
from fastq.cli.command import Chosen
from fastq.cli.exits import KNOWN, UNAVAILABLE, UserError, nearest, refuse
from fastq.transport.base import Transport
from fastq.transport.url import parse_url

BUILTIN = ("celery.", "fastq.")


def find_app(chosen: Chosen) -> App:
    """Return the app that *chosen* names, with what the command line says of it applied.

    Without a name, a broker's address is enough for commands that need no task. Ends the command when there is
    no such app, or its module fails.
    """
    if chosen.app is None and chosen.instance is None and not is_broker_chosen(chosen):
        refuse("which app? say -A MODULE (or FASTQ_APP=MODULE), or -b URL for a broker alone")
    with users_code():
        try:
            app = chosen.instance or (loader.find_app(chosen.app, is_app) if chosen.app else Fastq("fastq"))
        except loader.LoadError as error:
            refuse(f"-A {error}")
        given = {"broker_url": chosen.broker, "result_backend": chosen.result_backend}
        app.conf.override({name: url for name, url in given.items() if url})
        app.conf.read()
    return app


def is_app(value: Any) -> bool:
    """Tell whether *value* is an app."""
    return isinstance(value, App)


def is_broker_chosen(chosen: Chosen) -> bool:
    """Tell whether the command line or the environment names a broker."""
    return bool(chosen.broker or os.environ.get("FASTQ_BROKER_URL") or os.environ.get("CELERY_BROKER_URL"))


@contextmanager
def users_code() -> Iterator[None]:
    """Let pass our own errors, which are one line; anything else that is raised inside is the user's to read."""
    try:
        yield
    except KNOWN:
        raise
    except Exception as error:
        raise UserError(error) from error


def load_tasks(app: App, modules: Sequence[str] = ()) -> None:
    """Import the modules that define the app's tasks, and *modules*."""
    with users_code():
        if modules:
            app.conf.override({"include": [*(app.conf.include or ()), *modules]})
        app.import_tasks()


@contextmanager
def open_transport(app: App, *, create: bool = False) -> Iterator[Transport]:
    """Open the app's broker for the block. Raises ConfigError, TransportError.

    Unless it is to be made (*create*), a broker's file that is not there ends the command.
    """
    if not create:
        check_file(app.broker_url)
    try:
        yield app.transport
    finally:
        app.close()


def check_file(url: str) -> None:
    """End the command when *url* is a file that is not there, since to look into it would make it."""
    if url.startswith("sqlite:") and not os.path.exists(parse_url(url).target):
        refuse(f"there is no {shown_url(url)} yet: the first task makes it", UNAVAILABLE)


def find_task(app: App, name: str) -> Task[..., Any] | None:
    """Return the task of that name, if any of the app's modules defines it."""
    if name not in app.tasks:
        load_tasks(app)
    return app.tasks.get(name)


def task_names(app: App) -> list[str]:
    """Name the user's tasks."""
    return sorted(name for name in app.tasks if not name.startswith(BUILTIN))


def app_path(chosen: Chosen, app: App) -> str:
    """Say which app it is: as it was chosen, and its name where that is another."""
    path, name = chosen.app or "", app.main or ""
    return f"{path} ({name})" if path and name and name != path.partition(":")[0] else path or name


def leave_out(names: Sequence[str], without: Sequence[str]) -> list[str]:
    """Return *names* less those in *without*; end the command if one of these is none of them, or if none is left."""
    for name in without:
        if name not in names:
            refuse(f"no queue {name!r} to leave out{nearest(name, names)}")
    left = [name for name in names if name not in without]
    return left or refuse("no queue is left")


def check_queues(names: Sequence[str], known: Collection[str]) -> Sequence[str]:
    """Return *names*; end the command at one that is not among *known*."""
    for name in names:
        if name not in known:
            refuse(f"no queue {name!r}{nearest(name, known) or '; queues: ' + (', '.join(sorted(known)) or 'none')}")
    return names


def shown_url(url: str) -> str:
    """Return *url* as it may be shown: the file of an embedded broker by its full path, passwords masked."""
    if url.startswith("sqlite:"):
        return f"sqlite:///{os.path.abspath(parse_url(url).target)}"
    return censor_url(url)


def broker_url(app: App) -> str:
    """Return where the app's messages go, fit to be shown."""
    return shown_url(app.broker_url)


def result_url(app: App) -> str:
    """Return where the app's results go, fit to be shown."""
    url = app.result_url
    return shown_url(url) if url else "none: results are not kept"
