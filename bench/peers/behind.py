"""One long task, and short ones behind it that ring as they end."""

# mypy: disable-error-code="import-not-found,import-untyped"

from __future__ import annotations

import time

from bell import ring

LONG_S, SHORT_S = 60.0, 0.005


def long() -> None:
    ring("first")
    time.sleep(LONG_S)


def short() -> None:
    time.sleep(SHORT_S)
    ring("short")
