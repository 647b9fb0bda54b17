"""A chord whose member is given up, since it kills whoever runs it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fastq import Fastq
from fastq.bench.servers.redis import Redis
from fastq.canvas import chord
from tests.fault.crew import Crew
from tests.fault.engines import Database, Engine, File


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    made: Engine
    if request.param == "redis":
        server: Redis = request.getfixturevalue("redis")
        made = Database(server)
    else:
        made = File(tmp_path)
    yield made
    made.close()


def test_a_member_that_kills_its_child_every_time_fails_the_body(engine: Engine, tmp_path: Path) -> None:
    crew = Crew(tmp_path, engine, 0, lease_s=1.5)
    app = Fastq("fault", broker=engine.url, **engine.settings())
    try:
        crew.start_worker()
        step = app.signature("tests.fault.proj.step", kwargs={"number": 0})
        header = [step.clone(kwargs={"name": "m0"}), app.signature("tests.fault.proj.suicide", args=(1,))]
        result = chord(header, step.clone(kwargs={"name": "end"}), app=app).apply_async()
        crew.wait(result.ready, 60, what="the body to fail")
        assert "killed" in str(result.result)
        assert type(result.result).__name__ == "ChordError"
    finally:
        app.close()
        crew.leave()
