"""Logging: the loggers, their formats, and the root logger that nobody touches."""

from __future__ import annotations

import io
import json
import logging
import logging.handlers
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fastq import log, signals
from fastq.exceptions import ConfigError
from fastq.log import ColorFormatter, JsonFormatter, LoggingProxy, TaskFormatter, get_task_logger

FIELDS = {"task_id": "t-1", "task_name": "proj.add", "attempt": 2, "queue": "celery"}


class _WithoutPytest(list[logging.Handler]):
    def append(self, handler: logging.Handler) -> None:
        if not type(handler).__module__.startswith("_pytest"):
            super().append(handler)


@pytest.fixture(autouse=True)
def _no_program_logging(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep pytest's handlers off the root logger, as in a program that has not set up logging; nor imported Celery."""
    monkeypatch.setattr(logging.getLogger(), "handlers", _WithoutPytest())
    for name in log.RESERVED:
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    yield
    log.reset()
    log.task_fields = None
    for signal in (signals.setup_logging, signals.after_setup_logger, signals.after_setup_task_logger):
        signal.receivers = ()


def _record(level: int = logging.INFO, message: str = "hello %s", args: Any = ("you",),
            **extra: Any) -> logging.LogRecord:
    record = logging.LogRecord("proj.tasks", level, __file__, 1, message, args, None)
    record.__dict__.update(extra)
    return record


def _state(*names: str) -> list[Any]:
    loggers = [logging.getLogger(name) for name in names]
    return [(list(each.handlers), each.level, each.propagate, each.parent, list(each.filters)) for each in loggers]


def _run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


# --- the root logger ---

ROOT_UNTOUCHED = """
import logging
def state():
    root = logging.getLogger()
    return list(root.handlers), root.level, list(root.filters), root.disabled, logging.lastResort, root.manager.disable
before = state()
from fastq import log
log.get_task_logger("proj.tasks").info("early")
log.setup("DEBUG")
log.redirect_stdouts()
logging.getLogger("fastq.worker").info("of fastq")
log.get_task_logger("proj.tasks").info("of a task")
logging.getLogger("proj").info("of the program")
assert state() == before
log.reset()
assert state() == before
"""


def test_the_root_logger_is_not_touched() -> None:
    ran = _run(ROOT_UNTOUCHED)
    assert ran.returncode == 0, ran.stderr
    assert [line.rpartition("] ")[2] for line in ran.stderr.splitlines()] == ["of fastq", "???[???]: of a task"]


def test_the_root_logger_is_taken_over_where_it_is_asked_for(tmp_path: Path) -> None:
    root, kept = logging.getLogger(), logging.NullHandler()
    root.addHandler(kept)
    assert log.setup("INFO", str(tmp_path / "log"), hijack_root=True)
    assert kept not in root.handlers
    assert root.level == logging.INFO
    logging.getLogger("taken_over").info("of the program")
    logging.getLogger("fastq.worker").info("of fastq")
    log.get_task_logger("taken_over.tasks").info("of a task")
    assert [line.rpartition("] ")[2] for line in (tmp_path / "log").read_text().splitlines()] == [
        "of the program", "of fastq", "???[???]: of a task"]
    log.reset()
    assert root.handlers == [kept]


def test_where_the_program_has_set_up_logging_records_go_there_and_nowhere_else() -> None:
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(f"{record.name}: {record.getMessage()}")  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    assert log.setup("INFO")
    assert logging.getLogger("fastq").handlers == logging.getLogger("celery.task").handlers == []
    logging.getLogger("fastq.worker").info("a")
    logging.getLogger("fastq.worker").debug("b")
    logging.getLogger("celery.worker").info("c")
    get_task_logger("proj.tasks").info("d")
    assert heard == ["fastq.worker: a", "celery.worker: c", "proj.tasks: d"]


def test_reset_undoes_all_that_setup_did() -> None:
    names = ("fastq", "celery", "celery.task")
    before = _state(*names)
    streams = sys.stdout, sys.stderr
    log.setup("DEBUG")
    log.redirect_stdouts()
    log.setup("ERROR")
    log.reset()
    assert _state(*names) == before
    assert (sys.stdout, sys.stderr) == streams
    log.reset()


# --- task loggers ---

def test_a_task_logger_keeps_its_name_and_hangs_below_celery_task() -> None:
    logger = get_task_logger("house_a.rooms.kitchen")
    assert logger is logging.getLogger("house_a.rooms.kitchen")
    assert logger.parent is logging.getLogger("celery.task")
    assert get_task_logger("house_a.rooms.kitchen").parent is logging.getLogger("celery.task")
    assert get_task_logger("celery.task.mine").parent is logging.getLogger("celery.task")


def test_the_packages_of_a_task_logger_stay_where_they_are() -> None:
    get_task_logger("house_b.rooms.kitchen")
    assert logging.getLogger("house_b.rooms").parent is logging.getLogger("house_b")
    assert logging.getLogger("house_b").parent is logging.getLogger()


@pytest.mark.parametrize("name", ["celery", "celery.task", "fastq"])
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(RuntimeError, match="is reserved"):
        get_task_logger(name)


# --- formats ---

def test_a_task_line_tells_name_and_id_of_the_task_that_logs() -> None:
    formatter = TaskFormatter(log.TASK_FORMAT.replace("%(asctime)s", "now"), use_color=False)
    assert formatter.format(_record()) == "[now: INFO/MainProcess] ???[???]: hello you"
    log.task_fields = lambda: None
    assert formatter.format(_record()) == "[now: INFO/MainProcess] ???[???]: hello you"
    log.task_fields = lambda: FIELDS
    assert formatter.format(_record()) == "[now: INFO/MainProcess] proj.add[t-1]: hello you"
    assert formatter.format(_record(task_id="mine")) == "[now: INFO/MainProcess] proj.add[mine]: hello you"


def test_the_formats_are_celerys() -> None:
    assert log.PROCESS_FORMAT == "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s"
    assert log.TASK_FORMAT == "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s"


@pytest.mark.parametrize(("level", "line"), [
    (logging.DEBUG, "\x1b[1;34mhello you\x1b[0m"), (logging.INFO, "hello you"),
    (logging.WARNING, "\x1b[1;33mhello you\x1b[0m"), (logging.ERROR, "\x1b[1;31mhello you\x1b[0m"),
    (logging.CRITICAL, "\x1b[1;35mhello you\x1b[0m"),
])
def test_lines_are_coloured_by_level(level: int, line: str) -> None:
    assert ColorFormatter("%(message)s").format(_record(level)) == line
    assert ColorFormatter("%(message)s", use_color=False).format(_record(level)) == "hello you"


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_colour_is_for_terminals_and_never_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "__stderr__", _Terminal())
    assert log.wants_color(None, None)
    assert not log.wants_color(False, None)
    assert not log.wants_color(True, "file.log")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not log.wants_color(None, None)
    assert log.wants_color(True, None)
    monkeypatch.setattr(sys, "__stderr__", io.StringIO())
    assert not log.wants_color(True, None)


def test_a_json_line_has_the_fields_of_record_and_task() -> None:
    log.task_fields = lambda: FIELDS
    record = _record(data={"id": {1}}, created=1_900_000_000.25)
    document = json.loads(JsonFormatter().format(record))
    assert document == {
        "time": "2030-03-17T17:46:40.250Z", "level": "INFO", "logger": "proj.tasks", "message": "hello you",
        **FIELDS, "process": os.getpid(), "data": {"id": "{1}"},
    }
    log.task_fields = None
    assert set(json.loads(JsonFormatter().format(_record()))) == {"time", "level", "logger", "message", "process"}


def test_a_json_line_is_one_line_even_with_an_exception() -> None:
    record = _record(message="a\nb", args=())
    try:
        raise ValueError("no")
    except ValueError:
        record.exc_info = sys.exc_info()
    line = JsonFormatter().format(record)
    assert "\n" not in line
    assert json.loads(line)["message"] == "a\nb"
    assert json.loads(line)["exception"].endswith("ValueError: no")


# --- set-up ---

def test_a_log_file_gets_each_line_once_in_its_format(tmp_path: Path) -> None:
    log.setup("INFO", str(tmp_path / "log"), format="P %(message)s", task_format="T %(task_name)s %(message)s")
    logging.getLogger("fastq.worker").info("one")
    logging.getLogger("celery.beat").info("two")
    get_task_logger("proj.tasks").info("three")
    get_task_logger("proj.tasks").debug("four")
    assert (tmp_path / "log").read_text().splitlines() == ["P one", "P two", "T ??? three"]
    handlers = logging.getLogger("fastq").handlers
    assert [type(handler) for handler in handlers] == [logging.handlers.WatchedFileHandler]


def test_a_program_that_imports_celery_is_logged_too(tmp_path: Path) -> None:
    silent = {name: logging.NullHandler() for name in log.RESERVED}
    for name, handler in silent.items():
        logging.getLogger(name).addHandler(handler)
    log.setup("INFO", str(tmp_path / "log"), format="P %(message)s", task_format="T %(message)s")
    logging.getLogger("fastq.worker").info("one")
    logging.getLogger("celery.beat").info("two")
    get_task_logger("proj.tasks").info("three")
    assert (tmp_path / "log").read_text().splitlines() == ["P one", "P two", "T three"]
    log.reset()
    assert {name: logging.getLogger(name).handlers for name in silent} == {name: [silent[name]] for name in silent}


def test_a_child_may_set_up_a_file_of_its_own(tmp_path: Path) -> None:
    log.setup("INFO", str(tmp_path / "main"), format="%(message)s")
    logging.getLogger("fastq").info("main")
    log.setup("INFO", str(tmp_path / "child"), format="%(message)s")
    logging.getLogger("fastq").info("child")
    assert [(tmp_path / name).read_text() for name in ("main", "child")] == ["main\n", "child\n"]


def test_json_lines_are_for_all_loggers() -> None:
    stream = io.StringIO()
    log.setup("INFO", stream, as_json=True)
    logging.getLogger("fastq.worker").info("one")
    get_task_logger("proj.tasks").info("two")
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == ["one", "two"]


@pytest.mark.parametrize(("level", "number"), [("info", 20), ("WARNING", 30), (10, 10), ("40", 40), ("fatal", 50)])
def test_a_level_is_a_name_or_a_number(level: int | str, number: int) -> None:
    assert log.level_number(level) == number


def test_a_wrong_level_format_or_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no log level is called 'loud'; there are DEBUG, INFO"):
        log.setup("loud")
    with pytest.raises(ConfigError, match="is no log format"):
        log.setup("INFO", format="%(message")
    with pytest.raises(ConfigError, match=r"cannot write the log file '.*/none/log': No such file or directory"):
        log.setup("INFO", str(tmp_path / "none" / "log"))


def test_a_receiver_of_setup_logging_takes_it_over() -> None:
    told: list[dict[str, Any]] = []

    def receiver(**named: Any) -> None:
        told.append(named)

    signals.setup_logging.connect(receiver)
    before = _state("fastq", "celery", "celery.task")
    assert log.setup("INFO", "never-made.log") is False
    assert _state("fastq", "celery", "celery.task") == before
    assert not Path("never-made.log").exists()
    assert {name: told[0][name] for name in ("loglevel", "logfile", "format", "colorize")} == {
        "loglevel": 20, "logfile": "never-made.log", "format": log.PROCESS_FORMAT, "colorize": False}


def test_what_a_receiver_of_setup_logging_raises_is_raised() -> None:
    def receiver(**named: Any) -> None:
        raise ValueError("no")

    signals.setup_logging.connect(receiver)
    with pytest.raises(ValueError, match="no"):
        log.setup("INFO")


def test_receivers_are_told_which_loggers_were_set_up() -> None:
    told: list[tuple[str, str]] = []

    def receiver(signal: signals.Signal, logger: logging.Logger, **named: Any) -> None:
        told.append((str(signal.name), logger.name))

    signals.after_setup_logger.connect(receiver)
    signals.after_setup_task_logger.connect(receiver)
    log.setup("INFO", io.StringIO())
    log.setup("INFO", io.StringIO(), hijack_root=True)
    assert told == [("after_setup_logger", "fastq"), ("after_setup_task_logger", "celery.task"),
                    ("after_setup_logger", "root"), ("after_setup_task_logger", "celery.task")]


# --- standard output ---

@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What is logged under celery.redirected."""
    heard: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: heard.append(f"{record.levelname} {record.getMessage()}")  # type: ignore[method-assign]
    logger = logging.getLogger("celery.redirected")
    logger.addHandler(handler)
    yield heard
    logger.removeHandler(handler)


def test_what_is_printed_is_logged_line_by_line(lines: list[str]) -> None:
    log.redirect_stdouts("ERROR")
    print("one", "two", end=" ")  # noqa: T201
    print("three\n\nfour")  # noqa: T201
    print("five", file=sys.stderr)  # noqa: T201
    sys.stdout.write("six")
    assert lines == ["ERROR one two three", "ERROR four", "ERROR five"]
    sys.stdout.flush()
    sys.stdout.flush()
    assert lines[3:] == ["ERROR six"]


def test_lines_of_two_threads_do_not_mix(lines: list[str]) -> None:
    proxy = log.redirect_stdouts()
    proxy.write("of the main ")
    thread = threading.Thread(target=lambda: proxy.write("of the thread\n"))
    thread.start()
    thread.join()
    proxy.write("thread\n")
    assert lines == ["WARNING of the thread", "WARNING of the main thread"]


def test_the_proxy_is_a_text_stream() -> None:
    proxy = LoggingProxy(logging.getLogger("celery.redirected"))
    assert (proxy.writable(), proxy.isatty(), proxy.readable(), proxy.encoding) == (True, False, False, "utf-8")
    assert proxy.write("four") == 4
    assert proxy.write(b"bytes\n") == 6
    proxy.writelines(["a\n", "b\n"])
    with pytest.raises(io.UnsupportedOperation):
        proxy.fileno()
    proxy.close()
    with pytest.raises(ValueError, match="closed"):
        proxy.write("x")


def test_a_handler_that_prints_does_not_log_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    real = io.StringIO()
    monkeypatch.setattr(sys, "__stderr__", real)
    proxy = log.redirect_stdouts()
    handler = logging.Handler()
    handler.emit = lambda record: print(f"failed with {record.getMessage()}")  # type: ignore[method-assign]  # noqa: T201
    proxy.logger.addHandler(handler)
    try:
        print("one")  # noqa: T201
    finally:
        proxy.logger.removeHandler(handler)
    assert real.getvalue() == "failed with one\n"
