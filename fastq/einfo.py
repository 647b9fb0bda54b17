"""What is known of an exception once the frames it came through are let go."""

from __future__ import annotations

import os
import traceback as tracebacks
from types import TracebackType

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_EXAMPLES = _HERE + "examples" + os.sep
# The compiled loop names its source as it was built.
_SKIPPED = (_HERE, os.path.dirname(os.__file__) + os.sep + "asyncio" + os.sep, "ext/execute.pyx")


class ExceptionInfo:
    """An exception with its traceback as text, as handlers get it in ``einfo``.

    The text is made at once and the frames are not kept: a stored traceback object keeps alive
    every local of every frame, which is how workers leak.
    """

    __slots__ = ("exception", "traceback", "type")

    def __init__(self, exception: BaseException, text: str | None = None) -> None:
        self.exception = exception
        self.type = type(exception)
        self.traceback = format_exception(exception) if text is None else text

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        """The exception as ``sys.exc_info`` gives it, for as long as it is being handled."""
        return self.type, self.exception, users_part(self.exception.__traceback__)

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def format_exception(exception: BaseException) -> str:
    """Return the traceback as text, from the user's outermost frame on."""
    try:
        return "".join(tracebacks.format_exception(
            type(exception), exception, users_part(exception.__traceback__)))
    except Exception as error:
        # Its attributes are the user's code: a property may raise.
        return f"{type(exception).__qualname__}: <it cannot be shown: {type(error).__qualname__}>\n"


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Return *traceback* from the user's first frame on, without those by which fastq came there."""
    at = traceback
    while at is not None and _is_ours(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    return traceback if at is None else at


def _is_ours(path: str) -> bool:
    return path.startswith(_SKIPPED) and not path.startswith(_EXAMPLES)
