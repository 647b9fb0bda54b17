"""Names of pools: ours, those that packages bring, and what is said of those that are not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from fastq.exceptions import ConfigError
from fastq.pool import kinds
from fastq.pool.kinds import FEATURES, KINDS, Kind

SNAIL = Kind("snail", "tests.unit.pool.test_kinds:nothing")


def test_ours_are_found_by_their_names_and_celerys() -> None:
    assert [kinds.find(name).name for name in (*KINDS, "processes")] == [*KINDS, "prefork"]


def test_what_a_kind_can_do_is_said_in_the_words_of_the_table() -> None:
    assert {feature for kind in KINDS.values() for feature in kind.can} == set(FEATURES)


def test_one_of_a_module_is_found_by_its_path() -> None:
    assert kinds.find("tests.unit.pool.test_kinds:SNAIL") is SNAIL


@pytest.mark.parametrize(("name", "part"), [
    ("snail", "the pools are prefork, solo, threads, asyncio, gevent, eventlet, and 'module:NAME' of a Kind"),
    ("nowhere:SNAIL", "'nowhere:SNAIL' cannot be loaded: No module named 'nowhere'"),
    ("tests.unit.pool.test_kinds:SLUG", "cannot be loaded: .*no attribute 'SLUG'"),
    ("celery.concurrency.solo:TaskPool", "not a fastq.pool.kinds.Kind; pools that were written for Celery"),
])
def test_what_is_no_pool_is_named_with_the_reason(name: str, part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        kinds.find(name)


def test_one_of_a_package_is_found_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "snails-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: snails\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[fastq.pools]\nsnail = tests.unit.pool.test_kinds:SNAIL\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert kinds.find("snail").live == SNAIL.live
    assert kinds.names()[-1] == "snail"


def test_what_has_to_be_installed_first_is_said() -> None:
    with pytest.raises(ConfigError, match=r"needs 'lettuce', which is not installed; pip install 'fastq\[salad\]'"):
        Kind("salad", "x:y", patch="lettuce.monkey:patch", extra="salad").check()
    for kind in KINDS.values():
        kind.check()
