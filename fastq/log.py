"""Logging as the worker does it: which loggers, which formats, and what a line says of the task.

fastq logs under ``fastq``, and under ``celery.task`` what tasks log; ``celery`` is hung below ``fastq``, so that
one handler on ``fastq`` hears all of it. The root logger belongs to the program: it is not touched, by handler,
level or otherwise, unless ``setup(hijack_root=True)`` says so, which the Celery preset does.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from typing import Any, TextIO

from fastq import signals
from fastq.exceptions import ConfigError

PROCESS_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
TASK_FORMAT = "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")
RESERVED = ("celery", "celery.task", "fastq")

TaskFields = Callable[[], "Mapping[str, Any] | None"]
task_fields: TaskFields | None = None
"""Slot: returns task_id, task_name, attempt and queue of the task that runs here, or None. The child sets it."""

process_name: str | None = None
"""What ``%(processName)s`` reads as; None for Python's own name of the process."""
_undo: list[Callable[[], None]] = []


# --- loggers --------------------------------------------------------------------------------------------------

def get_logger(name: str) -> logging.Logger:
    """Return the logger *name*, as ``logging.getLogger`` does; here under the name that Celery gives it."""
    return logging.getLogger(name)


def get_task_logger(name: str) -> logging.Logger:
    """Return the logger *name* as a child of ``celery.task``, whose lines tell the task's name and id.

    Raises RuntimeError for a name that belongs to fastq or Celery.

    >>> logger = get_task_logger(__name__)
    """
    if name in RESERVED:
        raise RuntimeError(f"the logger name {name!r} is reserved; take get_task_logger(__name__)")
    parent = logging.getLogger("celery.task")
    # The ancestors must exist first: made later, logging would hang them, too, below celery.task.
    for length in range(1, name.count(".") + 1):
        logging.getLogger(".".join(name.split(".")[:length]))
    logger = logging.getLogger(name)
    ancestor: logging.Logger | None = logger
    while ancestor is not None and ancestor is not parent:
        ancestor = ancestor.parent
    if ancestor is None:
        _hang(logger, parent)
    return logger


def _hang(logger: logging.Logger, parent: logging.Logger | None) -> None:
    logger.parent = parent
    logger.setLevel(logger.level)  # makes every logger forget which levels it knows to be enabled


def level_number(level: int | str) -> int:
    """Return the number of *level*, given as such or by name in any case. Raises ConfigError."""
    if isinstance(level, int):
        return level
    if level.isdigit():
        return int(level)
    if level.upper() not in LEVELS:
        raise ConfigError(f"no log level is called {level!r}; there are {', '.join(LEVELS)}")
    number: int = getattr(logging, level.upper())
    return number


# --- formats --------------------------------------------------------------------------------------------------

def _running(record: logging.LogRecord) -> Mapping[str, Any]:
    """What is known of the task that logged *record*; what the record itself says goes first."""
    fields = (task_fields() if task_fields is not None else None) or {}
    said = {name: value for name in ("task_id", "task_name", "attempt", "queue")
            if (value := getattr(record, name, None)) is not None}
    return {**fields, **said}


def name_process(name: str) -> None:
    """Let ``%(processName)s`` read as *name* in the lines of this process."""
    global process_name
    process_name = name


class ColorFormatter(logging.Formatter):
    """Format lines, and with *use_color* colour those of WARNING (yellow), ERROR, CRITICAL and DEBUG."""

    colors = {"DEBUG": 34, "WARNING": 33, "ERROR": 31, "CRITICAL": 35}  # noqa: RUF012  Celery's users change it

    def __init__(self, fmt: str | None = None, use_color: bool = True, datefmt: str | None = None) -> None:
        super().__init__(fmt, datefmt)
        self.use_color = use_color

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        if process_name is not None:
            record.processName = process_name
        text = super().format(record)
        color = self.colors.get(record.levelname) if self.use_color else None
        return f"\x1b[1;{color}m{text}\x1b[0m" if color else text


class TaskFormatter(ColorFormatter):
    """Format lines that tell ``%(task_name)s`` and ``%(task_id)s`` of the task that logs, else ``???``."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        fields = _running(record)
        record.task_id = fields.get("task_id", "???")
        record.task_name = fields.get("task_name", "???")
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """Format each record as one JSON object on one line.

    It has time (ISO 8601, UTC), level, logger, message, process (a pid); in a task task_id, task_name, attempt
    and queue; exception and data (``extra={"data": ...}``) where there is one.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        when = datetime.fromtimestamp(record.created, timezone.utc)
        document = {
            "time": when.isoformat(timespec="milliseconds").replace("+00:00", "Z"), "level": record.levelname,
            "logger": record.name, "message": record.getMessage(), **_running(record), "process": record.process,
        }
        if record.exc_info:
            document["exception"] = record.exc_text or self.formatException(record.exc_info)
        if hasattr(record, "data"):
            document["data"] = record.data
        return json.dumps(document, default=repr)


def wants_color(colorize: bool | None, logfile: str | TextIO | None) -> bool:
    """Tell whether to colour: as *colorize* says, but never in a file; None is on a terminal without NO_COLOR."""
    stream = sys.__stderr__ if logfile is None else None
    if stream is None or colorize is False:
        return False
    return stream.isatty() and (colorize is True or not os.environ.get("NO_COLOR"))


# --- set-up ---------------------------------------------------------------------------------------------------

def setup(loglevel: int | str | None = None, logfile: str | TextIO | None = None, *, format: str | None = None,
          task_format: str | None = None, datefmt: str | None = None, task_datefmt: str | None = None,
          colorize: bool | None = None, hijack_root: bool = False, as_json: bool = False) -> bool:
    """Let fastq's and the tasks' loggers write to *logfile* (a path or stream; None is standard error).

    *loglevel* is a name or number, None is WARNING. A receiver of ``signals.setup_logging`` takes it all over: then
    nothing is done, and False returned. Where the program has handlers on the root logger, records go there and no
    handler is added. With *hijack_root* the root logger's handlers are replaced, and it takes *loglevel*. What an
    earlier call did is undone first.

    Raises ConfigError for a level, format or file that is none, and what a receiver of setup_logging raises.
    """
    level, colored = level_number(logging.WARNING if loglevel is None else loglevel), wants_color(colorize, logfile)
    told = {"loglevel": level, "logfile": logfile, "format": format or PROCESS_FORMAT, "colorize": colored}
    answers = signals.setup_logging.send(sender=None, **told)
    for _, answer in answers:
        if isinstance(answer, Exception):
            raise answer
    if answers:
        return False
    reset()
    root, base, celery, task = (logging.getLogger(name) for name in (None, "fastq", "celery", "celery.task"))
    top = root if hijack_root else base
    _remember(top, celery, task)
    _hang(celery, base)
    if hijack_root or not (root.handlers or _is_heard(base) or _is_heard(celery)):
        json_format = JsonFormatter() if as_json else None
        process_formatter = json_format or _formatter(ColorFormatter, format or PROCESS_FORMAT, colored, datefmt)
        task_formatter = json_format or _formatter(TaskFormatter, task_format or TASK_FORMAT, colored, task_datefmt)
        _handle(top, logfile, process_formatter)
        _handle(task, logfile, task_formatter)
        task.propagate = False
        base.propagate = hijack_root
    if hijack_root:
        logging.captureWarnings(True)
        _undo.append(lambda: logging.captureWarnings(False))
    task.setLevel(level)
    top.setLevel(level)
    signals.after_setup_logger.send(sender=None, logger=top, **told)
    told["format"] = task_format or TASK_FORMAT
    signals.after_setup_task_logger.send(sender=None, logger=task, **told)
    return True


def reset() -> None:
    """Undo what ``setup`` and ``redirect_stdouts`` did: handlers, levels, streams are what they were before."""
    while _undo:
        _undo.pop()()


def _is_heard(logger: logging.Logger) -> bool:
    """Whether somebody set *logger* up. A NullHandler is what a library gives its own: `import celery` adds some."""
    return not all(isinstance(handler, logging.NullHandler) for handler in logger.handlers)


def _remember(*loggers: logging.Logger) -> None:
    def restore(logger: logging.Logger, handlers: list[logging.Handler], level: int, propagate: bool,
                parent: logging.Logger | None) -> None:
        for handler in logger.handlers:
            if handler not in handlers:
                handler.close()
        logger.handlers[:], logger.propagate = handlers, propagate
        logger.level = level
        _hang(logger, parent)

    for logger in loggers:
        now = (logger, list(logger.handlers), logger.level, logger.propagate, logger.parent)
        _undo.append(lambda now=now: restore(*now))  # type: ignore[misc]


def _formatter(kind: type[ColorFormatter], text: str, colored: bool, datefmt: str | None) -> logging.Formatter:
    try:
        return kind(text, colored, datefmt)
    except ValueError as exc:
        raise ConfigError(f"{text!r} is no log format: {exc}") from None


def _handle(logger: logging.Logger, logfile: str | TextIO | None, formatter: logging.Formatter) -> None:
    handler = _handler(logfile)
    handler.setFormatter(formatter)
    logger.handlers[:] = [handler]


def _handler(logfile: str | TextIO | None) -> logging.Handler:
    if logfile is None:
        # Not sys.stderr: redirected, it would hand every line back to the logger.
        return logging.StreamHandler(sys.__stderr__)
    if not isinstance(logfile, (str, os.PathLike)):
        return logging.StreamHandler(logfile)
    from logging.handlers import WatchedFileHandler  # noqa: PLC0415  8 ms that only a worker with a log file pays

    try:
        return WatchedFileHandler(logfile, encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"cannot write the log file {str(logfile)!r}: {exc.strerror}") from None


# --- from a handler of a signal -------------------------------------------------------------------------------

def write_now(name: str, level: int, message: str) -> None:
    """Write a line where the logger *name* writes, whatever its level: for handlers of signals.

    They may have interrupted a record that holds the locks and buffers of logging, so it goes past these. Handlers
    that write to no file or stream do not get it; where there are only such, it goes to standard error.
    """
    logger: logging.Logger | None = logging.getLogger(name)
    assert logger is not None
    record = logger.makeRecord(name, level, __file__, 0, message, (), None)
    is_written = False
    while logger is not None:
        for handler in logger.handlers:
            if (fd := _descriptor_of(handler)) >= 0:
                write_raw(handler.format(record) + "\n", fd)
                is_written = True
        logger = logger.parent if logger.propagate else None
    if not is_written:
        write_raw(message + "\n")


def write_raw(text: str, fd: int = 2) -> None:
    """Write *text* to a descriptor, past all buffers."""
    try:
        os.write(fd, text.encode(errors="replace"))
    except OSError:
        return      # a terminal that was closed: whoever would read it is gone, and a signal has nobody else to tell


def _descriptor_of(handler: logging.Handler) -> int:
    try:
        return int(handler.stream.fileno()) if isinstance(handler, logging.StreamHandler) else -1
    except (AttributeError, OSError, ValueError):
        return -1   # no file: a StringIO, or a log file between two names


# --- standard output ------------------------------------------------------------------------------------------

class LoggingProxy(io.TextIOBase):
    """A text stream that logs each line written to it; a line that is not ended waits for its end, or a flush.

    What is written while it logs, by a handler that fails, goes to the real standard error.
    """

    def __init__(self, logger: logging.Logger, loglevel: int | str | None = None) -> None:
        super().__init__()
        self.logger = logger
        self.loglevel = level_number(loglevel or logger.level or logging.ERROR)
        self._thread = threading.local()

    def write(self, text: str | bytes) -> int:
        """Log the lines in *text*; return its length. Raises ValueError once closed."""
        if self.closed:
            raise ValueError("write to a closed stream")
        said = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
        if getattr(self._thread, "is_logging", False):
            return sys.__stderr__.write(said) if sys.__stderr__ else len(said)
        *lines, rest = (getattr(self._thread, "rest", "") + said).replace("\r", "\n").split("\n")
        self._thread.rest = rest
        self._log(lines)
        return len(text)

    def flush(self) -> None:
        """Log the line that is not ended."""
        rest, self._thread.rest = getattr(self._thread, "rest", ""), ""
        self._log([rest])

    def _log(self, lines: Iterable[str]) -> None:
        self._thread.is_logging = True
        try:
            for line in lines:
                if line.strip():
                    self.logger.log(self.loglevel, line)
        finally:
            self._thread.is_logging = False

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """What a program that asks should encode to."""
        return "utf-8"


def redirect_stdouts(loglevel: int | str = "WARNING", name: str = "celery.redirected") -> LoggingProxy:
    """Log under *name* what is written to ``sys.stdout`` and ``sys.stderr``, until ``reset``."""
    proxy = LoggingProxy(logging.getLogger(name), loglevel)
    streams = sys.stdout, sys.stderr

    def restore() -> None:
        if sys.stdout is proxy:
            sys.stdout = streams[0]
        if sys.stderr is proxy:
            sys.stderr = streams[1]

    _undo.append(restore)
    sys.stdout = sys.stderr = proxy
    return proxy
