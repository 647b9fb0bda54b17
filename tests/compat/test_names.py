"""Names that a program of Celery's imports."""

from __future__ import annotations

import importlib
from types import ModuleType

import celery
import celery.exceptions
import celery.signals
import pytest

import fastq
import fastq.exceptions
import fastq.signals
from fastq.exceptions import Retry, RetryTaskError, reraise


@pytest.mark.parametrize(("theirs", "ours"), [(celery.exceptions, fastq.exceptions), (celery.signals, fastq.signals)])
def test_every_public_name_is_here(theirs: ModuleType, ours: ModuleType) -> None:
    assert [name for name in theirs.__all__ if not hasattr(ours, name)] == []


def test_every_exception_is_here_under_each_of_its_names() -> None:
    names = [name for name, value in vars(celery.exceptions).items()
             if isinstance(value, type) and value.__module__.partition(".")[0] in ("celery", "billiard", "kombu")]
    assert {"Retry", "RetryTaskError", "SystemTerminate"} < set(names)
    assert [name for name in names if not hasattr(fastq.exceptions, name)] == []


NOT_YET = {"Beat", "events", "events_cls", "setup_security"}
"""Names of an app that come with the scheduler, with events and with signed messages."""
OF_CELERYS_MAKING = {
    "IS_WINDOWS", "IS_macOS", "Pickler", "SYSTEM", "amqp_cls", "backend_cls", "builtin_fixups", "clock", "control_cls",
    "create_task_cls", "fixups", "loader_cls", "log_cls", "on_init", "pool", "prepare_config", "producer_pool",
    "registry_cls", "set_as_current", "subclass_with_self", "task_cls", "type_checker", "use_fast_trace_task"}
"""Names of an app's classes and pools, and of what its subclasses may override, which no program but Celery needs."""


def test_an_app_has_what_programs_ask_for() -> None:
    theirs = celery.Celery("names", broker="memory://", set_as_current=False)
    ours = fastq.Celery("names", broker="memory://names", set_as_current=False)
    missing = {name for name in dir(theirs) if not name.startswith("_")} - set(dir(ours))
    assert missing <= NOT_YET | OF_CELERYS_MAKING
    public = {name for name in dir(theirs.control) if not name.startswith("_") and not hasattr(ours.control, name)}
    assert public <= {"Mailbox", "mailbox"}
    assert {name for name in vars(type(theirs.control.inspect())) if not name.startswith("_")
            and not hasattr(ours.control.inspect(), name)} <= {
                "app", "callback", "connection", "destination", "limit", "matcher", "pattern"}


@pytest.mark.parametrize("path", [
    "app.app_or_default", "app.Celery", "app.shared_task", "app.bugreport", "app.amqp.AMQP", "app.amqp.Queues",
    "app.control.flatten_reply", "bootsteps.StartStopStep", "bootsteps.Step", "utils.gen_unique_id", "utils.noop",
    "utils.cached_property", "utils.worker_direct", "utils.imports.symbol_by_name", "utils.imports.import_from_cwd",
    "utils.imports.instantiate", "utils.imports.qualname", "utils.nodenames.anon_nodename",
    "utils.nodenames.host_format", "VERSION", "version_info", "VERSION_BANNER",
])
def test_what_programs_import_is_where_they_look(path: str) -> None:
    module, _, name = path.rpartition(".")
    for root in ("celery", "fastq"):
        assert hasattr(importlib.import_module(f"{root}.{module}" if module else root), name)


def test_an_error_is_raised_again_with_its_traceback() -> None:
    try:
        raise KeyError("x")
    except KeyError as error:
        told, where = error, error.__traceback__
    with pytest.raises(KeyError) as caught:
        reraise(KeyError, told, where)
    assert caught.value is told
    assert caught.tb.tb_next.tb_next is where
    assert RetryTaskError is Retry
