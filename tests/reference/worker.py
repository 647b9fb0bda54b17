"""The worker's core in plain Python: the oracle of ext/ring and ext/execute, and what they are measured against.

A queue of dicts, a scan by decoding all headers, a run by json and a call. No shared memory, since one process needs
none; what is compared is what becomes of each message.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from tests.reference.amqp import parse, plain_rows


class PlainRing:
    """Stages, runs and drains messages one by one."""

    def __init__(self, functions: dict[str, Callable[..., Any]]) -> None:
        self._functions = functions
        self._staged: list[tuple[int, str, bytes]] = []
        self._ready: deque[tuple[int, str, bytes]] = deque()
        self._done: list[int] = []

    def stage(self, rows: Iterable[tuple[int, int, bytes]]) -> list[tuple[int, bytes]]:
        """Scan and keep the rows; returns those that need a decision."""
        odd = []
        for tag, _, content in rows:
            properties, table, body = parse(content)
            headers = plain_rows(table)
            if headers.get("task") not in self._functions or headers.get("eta") or headers.get("expires"):
                odd.append((tag, content))
            elif properties.get("content_type") == b"application/json":
                self._staged.append((tag, headers["task"], body))
        return odd

    def release(self) -> None:
        self._ready.extend(self._staged)
        self._staged.clear()

    def run_ready(self) -> int:
        """Decode and call everything that is ready."""
        count = 0
        while self._ready:
            tag, name, body = self._ready.popleft()
            args, kwargs, _ = json.loads(body)
            self._functions[name](*args, **kwargs)
            self._done.append(tag)
            count += 1
        return count

    def drain(self) -> list[tuple[int, int]]:
        """Return the runs of consecutive tags that ended."""
        runs: list[tuple[int, int]] = []
        for tag in sorted(self._done):
            if runs and runs[-1][1] == tag - 1:
                runs[-1] = (runs[-1][0], tag)
            else:
                runs.append((tag, tag))
        self._done.clear()
        return runs
