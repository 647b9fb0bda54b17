"""What an app does with results: when they expire, and how one is stored outside a worker's own path."""

from __future__ import annotations

import time
from datetime import timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from fastq import states
from fastq.types import Result


def store(app: Any, task_id: str, value: Any, state: str, traceback: str | None, request: Any) -> None:
    """Store a task's state."""
    raw = app.result_codec.encode(task_id, state, value, traceback, request)
    reply_to = None if request is None else request.reply_to
    app.backend.put((Result(task_id, state, raw, expires_at(app.conf, state), reply_to),))


def expires_at(conf: Any, state: str) -> float | None:
    """Return when a result that is stored now expires, in Unix seconds; None for never."""
    kept = conf.result_expires
    if state == states.FAILURE and conf.result_failure_expires is not None:
        kept = conf.result_failure_expires
    kept_s = kept.total_seconds() if isinstance(kept, timedelta) else kept
    return time.time() + kept_s if kept_s else None


def zone(name: Any, is_utc: bool) -> tzinfo:
    """Return the time zone of that *name*, else UTC, or with *is_utc* false the machine's own."""
    if isinstance(name, tzinfo):
        return name
    if name:
        return timezone.utc if str(name).upper() == "UTC" else ZoneInfo(str(name))
    return timezone.utc if is_utc else _local()


def _local() -> tzinfo:
    offset = time.localtime().tm_gmtoff
    return timezone(timedelta(seconds=offset))
