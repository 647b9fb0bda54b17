"""Orphans: processes that the kernel gives to this one when their parents end, since it has asked for them.

Those that nobody waits for would stay as zombies. A child of this process that somebody else here has started, and
waits for, looks the same; so only those are reaped that were zombies at two looks.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from fastq._ext.execute import adopt_orphans
from fastq.exceptions import ConfigError

LOOK_S = 5.0
_makers = 0


class Adopted:
    """Has this process adopt orphans until it is closed. Raises ConfigError where that cannot be had."""

    def __init__(self) -> None:
        global _makers
        if not adopt_orphans(True):
            raise ConfigError("worker_pool_start_method is 'forkserver', which takes a Linux: only there can a process"
                              " adopt the children that another one forks; take 'spawn'")
        _makers += 1
        self._look_at = 0.0
        self._seen: set[int] = set()

    def reap(self, *but: int) -> None:
        """Reap those that have been zombies since the last look, 5 s ago or more; *but* those of these pids."""
        now = time.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        zombies = set(_zombies()) - set(but)
        for pid in zombies & self._seen:
            os.waitpid(pid, os.WNOHANG)
        self._seen = zombies - self._seen

    def close(self) -> None:
        """Adopt no more, unless another worker of this process does."""
        global _makers
        _makers -= 1
        if not _makers:
            adopt_orphans(False)


def _zombies() -> Iterator[int]:
    for task in Path("/proc/self/task").glob("*/children"):
        for pid in _words(task):
            if "Z" in _words(Path(f"/proc/{pid}/stat"), after=")")[:1]:
                yield int(pid)


def _words(file: Path, after: str = "") -> list[str]:
    try:
        text = file.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []       # it ended between the two looks
    return (text.rpartition(after)[2] if after else text).split()
