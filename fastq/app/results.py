"""What an app does with results: when they expire, and how one is stored outside a worker's own path."""

from __future__ import annotations

import time
from datetime import timedelta, timezone, tzinfo
from typing import Any, NamedTuple

from fastq import states
from fastq.result import result_from_tuple
from fastq.result.group import GroupResult as GroupResult
from fastq.result.group import ResultSet as ResultSet
from fastq.types import Result


class Expiry(NamedTuple):
    """For how many seconds results are kept, and those of a FAILURE; None for ever."""

    kept_s: float | None
    failed_s: float | None

    @classmethod
    def of(cls, conf: Any) -> Expiry:
        """Read the settings."""
        failed = conf.result_expires if conf.result_failure_expires is None else conf.result_failure_expires
        return cls(_seconds(conf.result_expires), _seconds(failed))

    @classmethod
    def of_chords(cls, conf: Any) -> Expiry:
        """Read for how long a chord is remembered while its members run."""
        kept = conf.result_expires if conf.result_chord_expires is None else conf.result_chord_expires
        return cls(_seconds(kept), _seconds(kept))

    def at(self, state: str) -> float | None:
        """Return when a result that is stored now expires, in Unix seconds; None for never."""
        kept_s = self.failed_s if state == states.FAILURE else self.kept_s
        return time.time() + kept_s if kept_s else None


def _seconds(kept: Any) -> float | None:
    return kept.total_seconds() if isinstance(kept, timedelta) else kept or None


def store(app: Any, task_id: str, value: Any, state: str, traceback: str | None, request: Any) -> None:
    """Store a task's state."""
    raw = app.result_codec.encode(task_id, state, value, traceback, request)
    reply_to = None if request is None else request.reply_to
    app.backend.put((Result(task_id, state, raw, Expiry.of(app.conf).at(state), reply_to),))


def save_group(app: Any, group: Any, backend: Any) -> None:
    """Store which results belong to *group*, for as long as results are kept."""
    raw = app.result_codec.dump({"result": group.as_tuple()})
    (backend or app.backend).group_put(group.id, raw, Expiry.of(app.conf).at(states.SUCCESS))


def restore_group(app: Any, group_id: str, backend: Any) -> Any:
    """Return the group that was saved under *group_id*, or None."""
    raw = (backend or app.backend).group_get(group_id)
    return None if raw is None else result_from_tuple(app.result_codec.load(raw)["result"], app)


def zone(name: Any, is_utc: bool) -> tzinfo:
    """Return the time zone of that *name*, else UTC, or with *is_utc* false the machine's own."""
    if isinstance(name, tzinfo):
        return name
    if name:
        if str(name).upper() == "UTC":
            return timezone.utc
        from zoneinfo import ZoneInfo  # noqa: PLC0415  only other zones pay for it

        return ZoneInfo(str(name))
    return timezone.utc if is_utc else _local()


def _local() -> tzinfo:
    offset = time.localtime().tm_gmtoff
    return timezone(timedelta(seconds=offset))
