"""A ring and an executor in one process, for tests of both."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from fastq._ext.envelope import pack
from fastq._ext.execute import Executor
from fastq._ext.ring import Ring, ring_size
from fastq.worker.effects import pack_reason, pack_result

ACK, TAIL, DEAD, LOSE = range(4)
PLAIN, STORES, FAST_RESULT = 1, 2, 4
ENDINGS = bytes([ACK, ACK, ACK, ACK, DEAD, TAIL, ACK, ACK, ACK, ACK, LOSE, DEAD, DEAD, DEAD, DEAD, ACK])


def message(task: str = "add", task_id: str = "id-1", body: bytes = b"[[1, 2], {}, {}]", **headers: Any) -> bytes:
    """Return the packed message of a JSON task."""
    properties = {"content_type": "application/json", "content_encoding": "utf-8"}
    return pack(properties, {"task": task, "id": task_id, **headers}, body)


class Files:
    """The spill folder of a test."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0

    def put(self, data: bytes) -> bytes:
        self.made += 1
        path = self.folder / f"spill-{self.made}"
        path.write_bytes(data)
        return os.fsencode(path)

    @staticmethod
    def drop(path: bytes) -> None:
        os.unlink(path)

    def left(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("spill-*"))


class Slow:
    """A slow path that notes what it was asked, and ends runs the simplest way."""

    def __init__(self, files: Files) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.files = files
        self.pack_result = pack_result
        self.interruptions: dict[int, type[BaseException]] = {}
        self.opened: tuple[Any, ...] = (11, pack_reason("undecodable"))

    def open(self, run: Executor, row: int) -> tuple[Any, ...]:
        self.asked.append(("open", row))
        return self.opened

    def before(self, run: Executor, row: int) -> None:
        self.asked.append(("before", row))

    def returned(self, run: Executor, row: int, value: Any, wanted: bool) -> tuple[int, bytes]:
        self.asked.append(("returned", row, value, wanted))
        return 0, b""

    def raised(self, run: Executor, row: int, error: BaseException, wanted: bool) -> tuple[int, bytes]:
        self.asked.append(("raised", row, type(error), wanted))
        return 1, b""

    def expired(self, run: Executor, row: int) -> tuple[int, bytes]:
        self.asked.append(("expired", row))
        return 6, b""

    def internal_error(self, run: Executor, row: int, error: BaseException) -> tuple[int, bytes]:
        self.asked.append(("internal_error", row, repr(error)))
        return 13, pack_reason(repr(error))

    def interruption(self, run: Executor) -> BaseException:
        return self.interruptions[run.was_told]()

    def follow(self, run: Executor, row: int) -> tuple[int, bytes]:
        self.asked.append(("follow", row, run.outcome, run.effects))
        return run.outcome, run.effects

    def make_request(self, *parts: Any) -> Any:
        return parts

    def spill(self, effects: bytes) -> bytes:
        return self.files.put(effects)


class Kit:
    """A ring with its executors; ``functions`` are the tasks, in the table's order."""

    def __init__(self, folder: Path, functions: dict[str, Callable[..., Any]], *, slots: int = 8,
                 slot_bytes: int = 1024, children: int = 2, early: Iterable[str] = (), traits: int = PLAIN,
                 max_deaths: int = 3, limits: tuple[float | None, float | None] = (None, None), seats: int = 1,
                 grace_s: float = 0.0, bells: Iterable[int] = ()) -> None:
        self.memory = mmap.mmap(-1, ring_size(slots, slot_bytes, children * seats))
        self.files = Files(folder)
        self.slow = Slow(self.files)
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK)
        self.ring = Ring(
            self.memory, slots=slots, slot_bytes=slot_bytes, children=children, spill=self.files.put,
            unspill=self.files.drop, max_deaths=max_deaths, seats=seats, grace_s=grace_s, wake_fds=list(bells) or None,
            tasks=[(name.encode(), ENDINGS, name in early, *limits) for name in functions],
        )
        self.executors = [
            Executor(self.memory, child=child, hostname="h",
                     entries=[(call, call, traits) for call in functions.values()],
                     decode=msgspec.json.Decoder().decode, encode_success=lambda task_id, value: b'"%d"' % value,
                     slow=self.slow, wake_fd=self.wake_fd)
            for child in range(children * seats)
        ]

    def put(self, *rows: tuple[int, int, bytes], queue: bytes = b"q") -> list[Any]:
        odd = self.ring.stage(queue, rows)
        self.ring.release()
        return odd

    def close(self) -> None:
        os.close(self.wake_fd)
