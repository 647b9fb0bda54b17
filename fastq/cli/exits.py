"""How a command ends: its exit codes, and the line that says why. Imports only the error tree.

The codes are Celery's: 64 is a mistake on the command line, 69 a broker or result store that cannot be used.
"""

from __future__ import annotations

from collections.abc import Iterable
from traceback import format_exception
from typing import NoReturn

from fastq.exceptions import BackendError, CeleryCommandException, CeleryError, OperationalError

OK = 0
FAILURE = 1
USAGE = 64
UNAVAILABLE = 69
OURS = ("fastq.cli", "fastq.app", "importlib", "_frozen_importlib")
"""Whose frames come before the user's when an app is imported."""


def refuse(message: str, code: int = USAGE) -> NoReturn:
    """End the command with one line on stderr and the exit code *code*."""
    raise CeleryCommandException(message, code)


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the name in *known* that is most like *word*, else an empty string."""
    from difflib import get_close_matches  # only errors pay for it

    close = get_close_matches(word, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


class UserError(Exception):
    """The user's own module raised *cause* while it was imported; `main` shows the user's part of its traceback."""

    def __init__(self, cause: Exception) -> None:
        self.cause = cause
        super().__init__(str(cause))

    def lines(self) -> str:
        """Write the traceback from the first frame that is the user's."""
        frames = self.cause.__traceback__
        while frames is not None and frames.tb_frame.f_globals.get("__name__", "").startswith(OURS):
            frames = frames.tb_next
        return "".join(format_exception(type(self.cause), self.cause, frames)).rstrip()


KNOWN = (CeleryCommandException, UserError, CeleryError)
"""What `explain` has words for; anything else is a fault of ours, and keeps its traceback."""


def explain(error: Exception) -> tuple[str, int]:
    """Return what to print for one of `KNOWN`, and the exit code."""
    if isinstance(error, UserError):
        return error.lines(), FAILURE
    if isinstance(error, CeleryCommandException):
        return f"fastq: {error.message}", error.exitcode
    # str() of a KeyError is the repr of its message.
    message = error.args[0] if type(error).__str__ is KeyError.__str__ and error.args else error
    return f"fastq: {message}", UNAVAILABLE if isinstance(error, (OperationalError, BackendError)) else FAILURE
