"""A task queue with Celery's API and wire, a compiled core, and nothing lost.

Nothing is imported before it is asked for: the table below says where each public name lives.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
VERSION_BANNER = __version__
VERSION = version_info = (0, 1, 0)

if TYPE_CHECKING:
    from fastq.app.app import App as App
    from fastq.app.app import Celery as Celery
    from fastq.app.app import Fastq as Fastq
    from fastq.app.report import bugreport as bugreport
    from fastq.app.shared import current_app as current_app
    from fastq.app.shared import current_task as current_task
    from fastq.app.shared import shared_task as shared_task
    from fastq.app.task import Task as Task
    from fastq.canvas.chains import chain as chain
    from fastq.canvas.chords import chord as chord
    from fastq.canvas.groups import group as group
    from fastq.canvas.maps import chunks as chunks
    from fastq.canvas.maps import xmap as xmap
    from fastq.canvas.maps import xstarmap as xstarmap
    from fastq.canvas.signature import Signature as Signature
    from fastq.canvas.signature import maybe_signature as maybe_signature
    from fastq.canvas.signature import signature as signature
    from fastq.canvas.signature import signature as subtask  # noqa: F401
    from fastq.ids import uuid as uuid
    from fastq.result import AsyncResult as AsyncResult
    from fastq.result import EagerResult as EagerResult
    from fastq.result import GroupResult as GroupResult
    from fastq.result import ResultSet as ResultSet

# Public name -> (module, name there).
_TABLE = {
    "App": ("fastq.app.app", "App"),
    "AsyncResult": ("fastq.result", "AsyncResult"),
    "Celery": ("fastq.app.app", "Celery"),
    "EagerResult": ("fastq.result", "EagerResult"),
    "Fastq": ("fastq.app.app", "Fastq"),
    "GroupResult": ("fastq.result", "GroupResult"),
    "ResultSet": ("fastq.result", "ResultSet"),
    "Signature": ("fastq.canvas.signature", "Signature"),
    "Task": ("fastq.app.task", "Task"),
    "bugreport": ("fastq.app.report", "bugreport"),
    "chain": ("fastq.canvas.chains", "chain"),
    "chord": ("fastq.canvas.chords", "chord"),
    "chunks": ("fastq.canvas.maps", "chunks"),
    "current_app": ("fastq.app.shared", "current_app"),
    "current_task": ("fastq.app.shared", "current_task"),
    "group": ("fastq.canvas.groups", "group"),
    "maybe_signature": ("fastq.canvas.signature", "maybe_signature"),
    "shared_task": ("fastq.app.shared", "shared_task"),
    "signature": ("fastq.canvas.signature", "signature"),
    "subtask": ("fastq.canvas.signature", "signature"),
    "uuid": ("fastq.ids", "uuid"),
    "xmap": ("fastq.canvas.maps", "xmap"),
    "xstarmap": ("fastq.canvas.maps", "xstarmap"),
}

__all__ = sorted([*_TABLE, "VERSION", "VERSION_BANNER", "__version__", "version_info"])  # noqa: PLE0605


def __getattr__(name: str) -> Any:
    try:
        module, attribute = _TABLE[name]
    except KeyError:
        raise AttributeError(f"module 'fastq' has no attribute {name!r}") from None
    found = globals()[name] = getattr(import_module(module), attribute)
    return found


def __dir__() -> list[str]:
    return list(__all__)
