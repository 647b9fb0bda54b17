"""Workflows as values, under the names that Celery's users import.

Signatures are here at once; chains, groups and chords are loaded when the first of them is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastq.canvas.signature import Signature, maybe_signature, signature

if TYPE_CHECKING:
    from fastq.canvas.chains import _chain as _chain
    from fastq.canvas.chains import chain as chain
    from fastq.canvas.chords import _chord as _chord
    from fastq.canvas.chords import chord as chord
    from fastq.canvas.groups import group as group
    from fastq.canvas.maps import chunks as chunks
    from fastq.canvas.maps import xmap as xmap
    from fastq.canvas.maps import xstarmap as xstarmap
    from fastq.canvas.stamps import StampingVisitor as StampingVisitor

maybe_subtask = maybe_signature
subtask = signature

_TABLE = {
    "chain": "chains", "_chain": "chains", "chord": "chords", "_chord": "chords", "group": "groups", "chunks": "maps",
    "xmap": "maps", "xstarmap": "maps", "StampingVisitor": "stamps",
}

__all__ = ("Signature", "StampingVisitor", "chain", "chord", "chunks", "group", "maybe_signature", "maybe_subtask",
           "signature", "subtask", "xmap", "xstarmap")


def _part(name: str) -> Any:
    return import_module(f"{__name__}.{name}")


Signature.part = staticmethod(_part)


def __getattr__(name: str) -> Any:
    if name not in _TABLE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(_part(_TABLE[name]), name)
    return found
