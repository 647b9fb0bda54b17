"""How a child's process is made: forked from the supervisor, or started anew.

Each way is a function from the child's number to its pid. The supervisor has no threads, so a fork is safe at any
time; but what the app's libraries started (threads, held locks, GPUs) may not survive one. Then spawn.
"""

from __future__ import annotations

import gc
import logging
import os
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

logger = logging.getLogger("celery.pool")

Main = Callable[[int], int]
FAILED = 70
"""The exit status of a child whose own code failed."""

# sys.path comes first: the rest may need it to be unpickled.
_BOOT = """
{patch}
import os, pickle, sys
with os.fdopen({fd}, "rb") as stream:
    sys.path[:], rest = pickle.load(stream)
from {module} import {name}
{name}(*pickle.loads(rest))
"""


def by_fork(main: Main) -> Callable[[int], int]:
    """Fork; the child runs ``main(index)`` and exits with what it returns."""
    def begin(index: int) -> int:
        gc.freeze()     # what exists now is never collected in a child, so its pages stay shared
        pid = os.fork()
        if pid == 0:
            become(main, index)
        return pid

    return begin


def become(main: Main, index: int) -> None:
    """Be the child *index*, and end."""
    status = FAILED
    try:
        status = main(index)
    except BaseException:
        logger.critical("child %d (pid %d) failed", index, os.getpid(), exc_info=True)
    finally:
        os._exit(status)


def by_spawn(entry: str, recipe: Any, fds: Iterable[int], patch: str | None = None) -> Callable[[int], int]:
    """Start a new interpreter, which calls ``entry(recipe, index)``; *entry* and *patch* are ``"module:function"``.

    *recipe* is pickled; *fds* keep their numbers in the child. *patch* is called before anything else is imported.
    """
    kept = tuple(fds)
    module, _, name = entry.partition(":")

    def begin(index: int) -> int:
        with tempfile.TemporaryFile() as stream:
            pickle.dump((sys.path, pickle.dumps((recipe, index))), stream)
            stream.seek(0)
            code = _BOOT.format(patch=_call(patch), fd=stream.fileno(), module=module, name=name)
            return _spawn([sys.executable, "-c", code], (stream.fileno(), *kept))

    return begin


def _spawn(argv: list[str], fds: tuple[int, ...]) -> int:
    # Every descriptor that Python made is closed there, but for these.
    for fd in fds:
        os.set_inheritable(fd, True)
    try:
        return os.posix_spawn(argv[0], argv, os.environ)
    finally:
        for fd in fds:
            os.set_inheritable(fd, False)


def _call(path: str | None) -> str:
    if path is None:
        return ""
    module, _, name = path.partition(":")
    return f"import {module}; {module}.{name}()"
