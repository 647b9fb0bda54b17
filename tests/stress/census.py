"""What this process holds: what must not grow, however often something is started and stopped in it."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path

PAGE_KIB = os.sysconf("SC_PAGE_SIZE") // 1024
SETTLE_S = 20.0
"""A thread that was told to end needs a moment, and so does the kernel with a process."""


@dataclass
class Census:
    """Each count is by name, so that what was left can be told. ``objects`` are those that Python's collector knows."""

    descriptors: Counter[str]
    threads: Counter[str]
    children: Counter[str]
    mappings: Counter[str]
    """Of memory that is shared: the ring, the doorbell's page."""
    files: Counter[str]
    """In the folder of the run and its folder for temporary files, and what is ours in /dev/shm."""
    objects: int = 0
    rss_kib: int = 0

    def left(self, before: Census) -> dict[str, dict[str, int]]:
        """What is there now and was not *before*, by kind and name."""
        found = {}
        for kind in fields(self):
            now = getattr(self, kind.name)
            if isinstance(now, Counter) and (more := now - getattr(before, kind.name)):
                found[kind.name] = dict(more)
        return found


def take() -> Census:
    """Count."""
    gc.collect()
    return Census(
        descriptors=Counter(_descriptors()),
        threads=Counter(thread.name.rstrip("0123456789") for thread in threading.enumerate()),
        children=Counter(_children()),
        mappings=Counter(_mappings()),
        files=Counter(_files()),
        objects=len(gc.get_objects()),
        rss_kib=int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_KIB)


def settled(before: Census) -> Census:
    """Count when what was told to end has had the time to."""
    deadline = time.monotonic() + SETTLE_S
    while (now := take()).left(before) and time.monotonic() < deadline:
        time.sleep(0.02)
    return now


def kinds_of_objects() -> Counter[str]:
    """How many objects of each type there are."""
    return Counter(type(one).__qualname__ for one in gc.get_objects())


def _descriptors() -> list[str]:
    found = []
    for name in os.listdir("/proc/self/fd"):
        try:
            found.append(os.readlink(f"/proc/self/fd/{name}").partition("[")[0])
        except FileNotFoundError:
            continue        # the one that listed them
    return found


def _children() -> list[str]:
    pids = " ".join(task.read_text() for task in Path("/proc/self/task").glob("*/children")).split()
    return [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids]


def _mappings() -> list[str]:
    lines = (line.split(maxsplit=5) for line in Path("/proc/self/maps").read_text().splitlines())
    return [words[5] if len(words) > 5 else "anonymous" for words in lines if words[1].endswith("s")]


def _files() -> list[str]:
    found = [str(path) for path in Path().rglob("*")] + [str(path) for path in Path(os.environ["TMPDIR"]).rglob("*")]
    return found + [str(path) for path in Path("/dev/shm").glob("*fastq*")]
