"""Options of ``fastq worker`` that an app adds, and the steps that get them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.cli.conftest import Cli
from tests.unit.cli.test_worker import running

OWN = """
from pathlib import Path
import click
from fastq.bootsteps import Step

app.user_options["worker"].add(click.Option(["--region"], default="here", help="Where it is."))

class Placed(Step):
    def __init__(self, worker, region=None, **options):
        Path(__file__).with_name("region").write_text(f"{region} {options['hostname']}")

app.steps["worker"].add(Placed)
"""


@pytest.fixture
def placed(proj: Path) -> Path:
    """The project, with an option of its own; what its step wrote is beside it."""
    source = proj if proj.is_file() else proj / "proj.py"
    source.write_text(source.read_text() + OWN)
    return source.with_name("region")


@pytest.mark.parametrize(("words", "region"), [
    (("--region", "north"), "north"), (("--region=south",), "south"), ((), "here"),
])
def test_the_steps_of_workers_get_the_options_of_their_app(placed: Path, tmp_path: Path, words: tuple[str, ...],
                                                           region: str) -> None:
    with running(tmp_path / "out", "-l", "info", "-n", "w1@host", *words):
        assert placed.read_text() == f"{region} w1@host"


def test_help_shows_them_when_the_app_is_named(cli: Cli, placed: Path) -> None:
    shown = cli("-A", "proj", "worker", "--help")
    assert shown.code == 0 and "The app's own:" in shown.out and "Where it is." in shown.out
    assert "--region" not in cli("worker", "--help").out


def test_an_app_that_cannot_be_imported_is_told_of(cli: Cli, proj: Path) -> None:
    assert "nowhere" in cli("-A", "nowhere", "worker", "--region", "x").err
    assert cli("-A", "nowhere", "worker", "--help").code == 0


def test_what_is_no_option_is_told_of(cli: Cli, placed: Path) -> None:
    source = placed.with_name("proj.py")
    source.write_text(source.read_text().replace('click.Option(["--region"], default="here", help="Where it is.")',
                                                 '"--region"'))
    for words in (("worker",), ("worker", "--help")):
        assert "takes options of click" in cli("-A", "proj", *words).line


def test_an_option_of_nobody_is_refused_as_ever(cli: Cli, placed: Path) -> None:
    refused = cli("-A", "proj", "worker", "--regoin", "x")
    assert refused.code == 64 and "--regoin" in refused.err and "--region" in refused.err


def test_the_folder_of_the_app_may_be_named_behind_the_command(placed: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch,
                                                               tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    shown = cli("worker", "-A", "proj", "--workdir", str(placed.parent), "--help")
    assert "--region" in shown.out
