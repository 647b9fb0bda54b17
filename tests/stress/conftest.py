"""The addresses that the parts get, and the table at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROWS = pytest.StashKey[list[dict[str, Any]]]()


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[dict[str, Any]], None]:
    """Keep a row for the table."""
    return request.config.stash.setdefault(ROWS, []).append


@pytest.fixture
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], str]:
    """Return the address of a new, empty broker of a kind."""
    def of(broker: str) -> str:
        if broker in ("sqlite", "memory"):
            return {"sqlite": f"sqlite:///{tmp_path}/tasks.db", "memory": "memory://stress"}[broker]
        return str(request.getfixturevalue({"redis": "redis_url", "cluster": "cluster_url",
                                            "rabbitmq": "amqp_url"}[broker]))

    return of


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what each part left, where the table is more than a handful of cycles."""
    rows = terminalreporter.config.stash.get(ROWS, [])
    if not rows or max(row["cycles"] for row in rows) < 100:
        return
    terminalreporter.write_sep("=", "cycles of start and stop")
    terminalreporter.write_line(f"{'part':24} {'cycles':>6} {'ms each':>8} {'left':>5} {'objects':>8} {'RSS +KiB':>9}")
    for row in rows:
        left = sum(sum(kind.values()) for kind in row["left"].values())
        terminalreporter.write_line(f"{row['name']:24} {row['cycles']:6} {row['seconds'] * 1000 / row['cycles']:8.1f} "
                                    f"{left:5} {row['objects']:8} {row['rss_kib']:9}")
