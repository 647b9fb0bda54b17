"""Start and stop of every part, many times in one process, which holds no more afterwards than before.

``FASTQ_CYCLES`` says how many times; without it a handful, and fewer of what takes a new interpreter each time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.stress.parts import PARTS

MARKS = {"redis": [pytest.mark.redis], "cluster": [pytest.mark.cluster], "rabbitmq": [pytest.mark.rabbitmq]}
ASKED = int(os.environ.get("FASTQ_CYCLES", "0"))
PATIENCE_S = 100 + 4 * ASKED
ALLOWED_KIB, EACH_KIB = 4096, 1.0
"""Of resident memory: what an allocator may keep back once, and more with each cycle. A ring has 2 MiB."""
ALLOWED_OBJECTS, EACH_OBJECT = 200, 0.2
"""Of Python objects, the same."""


@pytest.mark.timeout(PATIENCE_S + 20)
@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS.get(part.broker, [])) for name, part in PARTS.items()])
def test_what_is_started_and_stopped_leaves_nothing(name: str, address: Callable[[str], str], tmp_path: Path,
                                                    note: Callable[[dict[str, Any]], None]) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    cycles = ASKED or PARTS[name].quick
    done = subprocess.run(
        [sys.executable, "-m", "tests.stress", name, address(PARTS[name].broker), str(cycles)],
        env=os.environ | {"TMPDIR": str(scratch)}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=PATIENCE_S)
    assert done.returncode == 0
    row = json.loads(done.stdout)
    note(row)
    assert row["left"] == {}
    assert row["objects"] <= ALLOWED_OBJECTS + EACH_OBJECT * cycles, row["kinds"]
    assert row["rss_kib"] <= ALLOWED_KIB + EACH_KIB * cycles
    assert [path.name for path in scratch.iterdir()] == []
