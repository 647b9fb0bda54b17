"""A worker that begins anew in its own process: the same command line in a new interpreter, under the same number.

Whoever watches it, by pid or by pid file, sees no end. Standard streams stay; every other descriptor is closed, also
one that a C library of the app left open to successors.
"""

from __future__ import annotations

import atexit
import logging
import os
import shlex
import signal
import sys

logger = logging.getLogger("celery.worker")

DETACHED = "FASTQ_DETACHED"
"""In the environment of a worker that begins anew in the background: its pid. It does not go there once more."""

folder: str | None = None
"""Where the command line was given, if it went elsewhere since (``--workdir``)."""
is_detached = False
"""Whether the worker is in the background."""
LEFT_ALONE = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
"""What is ignored from the end of the worker until it listens anew, so that no second one kills it in between."""


def is_possible() -> bool:
    """Whether this process can begin anew: its command line is known, and no terminal shows what it says.

    A worker in a terminal gets a SIGHUP when that is closed, and would come to life again where nobody sees it.
    """
    return bool(sys.executable and sys.orig_argv) and not os.isatty(1)


def was_detached() -> bool:
    """Whether this worker was in the background already before it began anew; says so once."""
    return os.environ.pop(DETACHED, None) == str(os.getpid())


def at_exit() -> None:
    """Begin anew when the program ends, after all that it does then."""
    logger.warning("the worker begins anew: %s", shlex.join(sys.orig_argv))
    atexit.register(_begin_anew)


def _begin_anew() -> None:
    # The first to be called, since it came last. The others flush what is unconfirmed and remove files.
    atexit.unregister(_begin_anew)
    atexit._run_exitfuncs()
    argv = [sys.executable, *sys.orig_argv[1:]]
    try:
        _close_on_exec()
        if folder is not None:
            os.chdir(folder)
        if is_detached:
            os.environ[DETACHED] = str(os.getpid())
        os.execv(argv[0], argv)
    except OSError as error:
        logger.critical("the worker cannot begin anew as %s: %s", argv, error)
        os._exit(1)


def _close_on_exec() -> None:
    for name in os.listdir("/proc/self/fd" if os.path.isdir("/proc/self/fd") else "/dev/fd"):
        fd = int(name)
        if fd > 2:
            try:
                os.set_inheritable(fd, False)
            except OSError:
                continue    # it was the one that read the list
