"""What is known of an exception once the frames it came through are let go.

The text is that of the standard library, which reads and compiles a line of source for each frame. A task that fails
does so at the same few places, so what was printed of a place is kept.
"""

from __future__ import annotations

import os
import traceback as tracebacks
from collections.abc import Iterator
from types import CodeType, TracebackType

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_EXAMPLES = _HERE + "examples" + os.sep
# The compiled loop names its source as it was built.
_SKIPPED = (_HERE, os.path.dirname(os.__file__) + os.sep + "asyncio" + os.sep, "ext/execute.pyx")

_MOST_PLACES = 4096
_MOST_LINKS = 16
"""Exceptions behind one, of which each is asked for all behind it."""
_SHOWN = 3
"""Frames of one place that follow each other: more of them are only counted."""
_BECAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_MEANWHILE = "\nDuring handling of the above exception, another exception occurred:\n\n"

_places: dict[tuple[int, int], tuple[CodeType, str]] = {}
"""What is printed of a frame, by the id of its code and the instruction; the code is kept, so that the id stays its."""


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
        return "".join(_lines(exception))
    except Exception as error:
        # Its attributes are the user's code: a property may raise.
        return f"{type(exception).__qualname__}: <it cannot be shown: {type(error).__qualname__}>\n"


def _lines(exception: BaseException) -> Iterator[str]:
    part = users_part(exception.__traceback__)
    links, seen = list[tuple[BaseException, str]](), {id(exception)}
    at, follows = exception, ""
    while True:
        # Groups are drawn as trees; their type, also that of the backport, can be told by this method.
        if hasattr(type(at), "derive") or len(links) == _MOST_LINKS:
            yield from tracebacks.format_exception(type(exception), exception, part)
            return
        links.append((at, follows))
        cause, context = at.__cause__, at.__context__
        if cause is not None and id(cause) not in seen:
            at, follows = cause, _BECAUSE
        elif cause is None and context is not None and not at.__suppress_context__ and id(context) not in seen:
            at, follows = context, _MEANWHILE
        else:
            break
        seen.add(id(at))
    for each, follows in reversed(links):
        traceback = part if each is exception else each.__traceback__
        if traceback is not None:
            yield "Traceback (most recent call last):\n"
            yield from _frames(traceback)
        # It looks into the frames for what a name may have been meant to be.
        yield from tracebacks.TracebackException(type(each), each, traceback, limit=0).format_exception_only()
        yield follows


def _frames(traceback: TracebackType) -> Iterator[str]:
    at: TracebackType | None = traceback
    last: tuple[str, int, str] | None = None
    count = 0
    while at is not None:
        code = at.tb_frame.f_code
        place = code.co_filename, at.tb_lineno, code.co_name
        if place != last or at.tb_lineno is None:
            yield _repeated(count)
            last, count = place, 0
        count += 1
        if count <= _SHOWN:
            yield _frame(at, code)
        at = at.tb_next
    yield _repeated(count)


def _repeated(count: int) -> str:
    more = count - _SHOWN
    return f"  [Previous line repeated {more} more time{'s' if more > 1 else ''}]\n" if more > 0 else ""


def _frame(traceback: TracebackType, code: CodeType) -> str:
    key = id(code), traceback.tb_lasti
    known = _places.get(key)
    if known is not None:
        return known[1]
    text = "".join(tracebacks.format_tb(traceback, limit=1))
    if len(_places) >= _MOST_PLACES:
        _places.clear()
    _places[key] = code, text
    return text


def users_part(traceback: TracebackType | None) -> TracebackType | None:
    """Return *traceback* from the user's first frame on, without those by which fastq came there."""
    at = traceback
    while at is not None and _is_ours(at.tb_frame.f_code.co_filename):
        at = at.tb_next
    return traceback if at is None else at


def _is_ours(path: str) -> bool:
    return path.startswith(_SKIPPED) and not path.startswith(_EXAMPLES)
