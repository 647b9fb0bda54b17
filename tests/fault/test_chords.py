"""A chord whose member is given up, since it kills whoever runs it."""

from __future__ import annotations

from pathlib import Path

from fastq import Fastq
from fastq.canvas import chord
from tests.fault.crew import Crew
from tests.fault.engines import Engine


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
