"""Projects for faults that need no round of thousands, and what carries the messages of some others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastq.bench.servers.redis import Redis
from tests.fault.engines import Database, Engine, File
from tests.project import make_project

__all__ = ("make_project",)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """A file, or a database of Redis, that the processes of a test share."""
    made: Engine
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis")
        made = Database(server)
    else:
        made = File(tmp_path)
    yield made
    made.close()
