"""Values of options: what is taken, and how a wrong one is answered."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from fastq.cli.call import command
from fastq.cli.params import Children, Json, Level, Names, When
from fastq.proc import cpus

LIST, OBJECT = Json(list, "'[1]'"), Json(dict, "'{}'")


def parse(kind: click.ParamType, text: str) -> Any:
    return kind.convert(text, None, None)


@pytest.mark.parametrize("kind, text, value", [
    (LIST, "[2, 3]", [2, 3]),
    (OBJECT, '{"x": [null]}', {"x": [None]}),
    (Names(), "mail, slow,,", ["mail", "slow"]),
    (Level(), "info", 20),
    (Level(), "FATAL", 50),
    (Level(), "15", 15),
    (Children(), "4", 4),
    (When(seconds=True), "2.5", 2.5),
    (When(seconds=True), "2030-01-31T08:00:00Z", datetime(2030, 1, 31, 8, tzinfo=timezone.utc)),
    (When(seconds=False), "2030-01-31T08:00:00+02:00", datetime(2030, 1, 31, 8, tzinfo=timezone(timedelta(hours=2)))),
    (When(seconds=False), "2030-01-31", datetime(2030, 1, 31)),
])
def test_a_value_is_parsed(kind: click.ParamType, text: str, value: object):
    assert parse(kind, text) == value
    assert parse(kind, value) == value  # type: ignore[arg-type]


@pytest.mark.parametrize("kind, text, part", [
    (LIST, "[2, 3", "not JSON"),
    (LIST, '{"x": 1}', "a JSON list is wanted"),
    (OBJECT, "[1]", "a JSON object is wanted"),
    (Level(), "inof", "did you mean 'INFO'?"),
    (Level(), "loud", "levels: DEBUG, INFO"),
    (Children(), "0", "neither a number from 1 nor 'auto'"),
    (Children(), "-1", "neither a number from 1 nor 'auto'"),
    (Children(), "many", "neither a number from 1 nor 'auto'"),
    (When(seconds=False), "tomorrow", "write it like 2030-01-31T08:00:00+00:00"),
    (When(seconds=False), "60", "write it like"),
    (When(seconds=True), "", "write it like"),
])
def test_a_wrong_value_is_answered_with_what_was_expected(kind: click.ParamType, text: str, part: str):
    with pytest.raises(click.BadParameter, match=".*" + part.replace("?", r"\?").replace("+", r"\+")):
        parse(kind, text)


@given(st.text())
def test_any_text_ends_in_a_value_or_in_one_clear_error(text: str):
    for kind in (LIST, OBJECT, Names(), Level(), Children(), When(seconds=True), When(seconds=False)):
        try:
            parse(kind, text)
        except click.BadParameter as error:
            assert error.message


@pytest.mark.parametrize("files, wanted", [
    ({}, None),
    ({"cpu.max": "max 100000\n"}, None),
    ({"cpu.max": "100000 100000\n"}, 1),
    ({"cpu.max": "5000 100000\n"}, 1),
    ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
    ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ({"cpu.max": "nonsense"}, None),
])
def test_auto_means_the_cpus_that_a_container_may_use(tmp_path: Path, files: dict[str, str], wanted: int | None):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert cpus(tmp_path) == (wanted or cpus(tmp_path / "nothing here"))
    assert parse(Children(), "auto") == cpus()


def test_an_option_may_follow_or_precede_the_argument():
    for words in (["nosuch", "-a", "[1"], ["-a", "[1", "nosuch"]):
        result = CliRunner().invoke(command, words)
        assert result.exit_code == 2 and "not JSON" in result.output
