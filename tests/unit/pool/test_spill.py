from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fastq.pool.shared import Spill

MAKER = """
import os, signal
from fastq.pool.shared import Spill
spill = Spill()
spill.put(b"left")
print(spill.folder, flush=True)
signal.pause()
"""


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_what_is_put_can_be_read_and_dropped(tmp_path: Path) -> None:
    spill = Spill()
    path = spill.put(b"data")
    assert Path(os.fsdecode(path)).read_bytes() == b"data"
    spill.drop(path)
    spill.close()
    spill.close()
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_maker_is_removed_by_the_next_and_a_living_ones_is_not(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE, text=True) as maker:
        assert maker.stdout is not None
        folder = Path(maker.stdout.readline().strip())
        Spill().close()
        assert folder.is_dir()
        maker.send_signal(signal.SIGKILL)
    Spill().close()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_leaves_its_parents_folder_alone() -> None:
    spill = Spill()
    if (pid := os.fork()) == 0:
        spill.close()
        os._exit(0)
    os.waitpid(pid, 0)
    assert Path(spill.folder).is_dir()
    spill.close()
