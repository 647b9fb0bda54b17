"""What was revoked, as far as this worker knows: it asks here before a task starts.

The ring looks at ids by itself, and hands over what is stamped once stamps are revoked; both cost nothing before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from typing import Any

from fastq._ext.ring import Ring
from fastq.control.mailbox import Revoked

MOST = int(os.environ.get("CELERY_WORKER_REVOKES_MAX", "50000"))
"""Revocations that a worker remembers; the oldest are forgotten first."""
PRUNE_S = 60.0


class Revocations:
    """Revoked ids and stamps, each until it expires."""

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._ids: dict[str, float] = {}
        self._stamps: dict[tuple[str, str], float] = {}
        self._prune_at = 0.0

    def add(self, revoked: Iterable[Revoked]) -> None:
        """Remember *revoked*. What has expired is forgotten from time to time: until then it costs a look."""
        for value, header, until in revoked:
            known: dict[Any, float] = self._stamps if header else self._ids
            key = (header, value) if header else value
            # Put last also if it was there: the oldest are forgotten first.
            known[key] = max(until, known.pop(key, 0.0))
            if not header:
                self._ring.revoked.add(_packed(value))
        now = time.time()
        if now >= self._prune_at or len(self._ids) > MOST or len(self._stamps) > MOST:
            self._prune_at = now + PRUNE_S
            self._ids, self._stamps = _current(self._ids, now), _current(self._stamps, now)
            self._ring.revoked.clear()
            self._ring.revoked.update(map(_packed, self._ids))
        self._ring.looks_at_stamps = bool(self._stamps)

    @property
    def ids(self) -> list[str]:
        """The ids that are revoked now."""
        now = time.time()
        return [task_id for task_id, until in self._ids.items() if until > now]

    def holds(self, headers: Mapping[str, Any]) -> bool:
        """Tell whether the task of a message with *headers* is revoked."""
        now = time.time()
        if self._ids.get(str(headers.get("id")), 0.0) > now:
            return True
        return bool(self._stamps) and any(self._stamps.get(stamp, 0.0) > now for stamp in stamps_of(headers))


def stamps_of(headers: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return the (header, value) pairs with which a message is stamped; a header may have several values."""
    stamps = headers.get("stamps") or {}
    found: set[tuple[str, str]] = set()
    for name in headers.get("stamped_headers") or ():
        value = headers.get(name, stamps.get(name) if isinstance(stamps, dict) else None)
        values = value if isinstance(value, (list, tuple, set)) else (value,)
        found |= {(str(name), str(each)) for each in values}
    return found


def _current(known: dict[Any, float], now: float) -> dict[Any, float]:
    kept = {key: until for key, until in known.items() if until > now}
    # A tenth more than is too many, so that not each that comes makes room for itself alone.
    for key in list(kept)[:len(kept) - MOST + MOST // 10 if len(kept) > MOST else 0]:
        del kept[key]
    return kept


def _packed(task_id: str) -> bytes:
    return task_id.encode("utf-8", "surrogatepass")
