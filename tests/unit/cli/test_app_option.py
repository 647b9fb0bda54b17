"""Which app a command works on, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli


@pytest.mark.parametrize("words", [
    ["-A", "proj", "call", "proj.add", "-a", "[2, 3]"],
    ["call", "-A", "proj", "proj.add", "-a", "[2, 3]"],
    ["call", "proj.add", "-a", "[2, 3]", "--app", "proj:app"],
    ["-A", "nosuch", "call", "proj.add", "-A", "proj", "-a", "[2, 3]"],
])
def test_the_app_may_be_named_before_and_after_the_command_and_the_later_wins(cli: Cli, proj: Path, words: list[str]):
    ran = cli(*words)
    assert (ran.code, ran.err) == (0, "")
    assert len(ran.out.strip()) == 36


@pytest.mark.parametrize("variable", ["FASTQ_APP", "CELERY_APP"])
def test_the_environment_names_the_app(cli: Cli, proj: Path, variable: str):
    assert cli("call", "proj.add", **{variable: "proj"}).code == 0


def test_what_was_typed_beats_the_environment(cli: Cli, proj: Path):
    assert cli("-A", "proj", "call", "proj.add", FASTQ_APP="nosuch").code == 0


@pytest.mark.parametrize("app, part", [
    ("porj", "did you mean proj?"),
    ("proj:ap", "did you mean 'app'?"),
    ("proj.py", "say 'proj'"),
    ("os", "there is no app in module 'os'"),
])
def test_a_wrong_app_is_answered_with_one_line(cli: Cli, proj: Path, app: str, part: str):
    ran = cli("-A", app, "queues")
    assert (ran.code, ran.out) == (64, "")
    assert ran.line.startswith("fastq: -A ") and part in ran.line


def test_no_app_at_all_is_answered_with_how_to_name_one(cli: Cli):
    ran = cli("queues")
    assert ran.code == 64
    assert ran.line == "fastq: which app? say -A MODULE (or FASTQ_APP=MODULE), or -b URL for a broker alone"


def test_an_exception_in_the_users_module_is_shown_from_his_own_frame_on(cli: Cli, tmp_path: Path):
    (tmp_path / "broken.py").write_text("import inner\n")
    (tmp_path / "inner.py").write_text("import nosuchmodule\n")
    ran = cli("-A", "broken", "queues")
    files = [line.split('"')[1] for line in ran.err.splitlines() if line.startswith("  File ")]
    assert ran.code == 1
    assert files == [str(tmp_path / "broken.py"), str(tmp_path / "inner.py")]
    assert ran.err.splitlines()[-1] == "ModuleNotFoundError: No module named 'nosuchmodule'"


def test_a_syntax_error_in_the_users_module_points_at_its_line(cli: Cli, tmp_path: Path):
    (tmp_path / "broken.py").write_text("x = = 1\n")
    ran = cli("-A", "broken", "queues")
    assert ran.code == 1
    assert f'File "{tmp_path}/broken.py", line 1' in ran.err and "fastq/" not in ran.err


def test_a_wrong_setting_is_one_line(cli: Cli, tmp_path: Path):
    (tmp_path / "proj.py").write_text("from fastq import Fastq\napp = Fastq('proj', brokr_url='memory://')\n")
    ran = cli("-A", "proj", "queues")
    assert ran.code == 1
    assert "'brokr_url'" in ran.line and "broker_url" in ran.line


def test_the_commands_broker_is_used_instead_of_the_apps(cli: Cli, proj: Path, tmp_path: Path):
    assert cli("-A", "proj", "-b", "sqlite:///other.db", "call", "proj.add").code == 0
    assert (tmp_path / "other.db").exists() and not (tmp_path / "proj.fastq.db").exists()
    assert "celery" in cli("queues", "-b", "sqlite:///other.db").out


def test_the_working_folder_is_entered_first(cli: Cli, tmp_path: Path, proj: Path):
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "mod.py").write_text(proj.read_text())
    assert cli("--workdir", "inner", "-A", "mod", "call", "mod.add").code == 0
    assert (tmp_path / "inner" / "proj.fastq.db").exists()


def test_a_settings_module_may_be_named_on_the_line(cli: Cli, proj: Path, tmp_path: Path):
    (tmp_path / "conf.py").write_text("task_default_queue = 'other'\n")
    assert cli("--config", "conf", "-A", "proj", "call", "proj.add").code == 0
    assert "other" in cli("-A", "proj", "queues").out


def test_a_wrong_address_is_one_line(cli: Cli):
    ran = cli("-b", "sqlit:///x.db", "queues")
    assert ran.code == 1 and "sqlite" in ran.line


@pytest.mark.parametrize("words", [["queues"], ["result", "1"], ["purge", "-f"], ["dead", "list"]])
def test_a_broker_that_is_not_there_is_unavailable_and_is_not_made(cli: Cli, tmp_path: Path, words: list[str]):
    ran = cli("-b", "sqlite:///nosuch.db", *words)
    assert ran.code == 69
    assert f"sqlite:///{tmp_path}/nosuch.db" in ran.line
    assert not (tmp_path / "nosuch.db").exists()


def test_a_file_that_is_no_broker_is_unavailable(cli: Cli, tmp_path: Path):
    (tmp_path / "text.db").write_text("no database " * 100)
    ran = cli("-b", "sqlite:///text.db", "queues")
    assert ran.code == 69 and "text.db" in ran.line
