"""What is known of an exception once the frames it came through are let go."""

from __future__ import annotations

import traceback as tracebacks
from types import TracebackType


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
        return self.type, self.exception, self.exception.__traceback__

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def format_exception(exception: BaseException, *, skip: int = 0) -> str:
    """Return the traceback as text, without its *skip* outermost frames."""
    top = exception.__traceback__
    while skip and top is not None and top.tb_next is not None:
        top, skip = top.tb_next, skip - 1
    return "".join(tracebacks.format_exception(type(exception), exception, top))
