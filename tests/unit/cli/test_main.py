"""Help, unknown words, and what the bare command costs."""

from __future__ import annotations

import subprocess
import sys

import click
import pytest

from fastq.cli.main import COMMANDS, root
from tests.unit.cli.conftest import Cli, environment

OWN_HELP = {"bench"}


def command_of(name: str) -> click.Command:
    command = root.get_command(click.Context(root), name)
    assert command is not None
    return command


def test_help_names_every_command_and_shows_examples(cli: Cli):
    ran = cli("--help")
    assert ran.code == 0
    assert all(f"  {name} " in ran.out and text in ran.out for name, text in COMMANDS.items())
    assert "Examples:" in ran.out


def test_nothing_on_the_line_is_answered_with_the_help(cli: Cli):
    assert cli() == cli("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_table_says_of_a_command_what_its_own_help_says(name: str):
    assert (command_of(name).help or "").splitlines()[0] == COMMANDS[name]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - OWN_HELP))
def test_the_help_of_every_command_has_an_example_that_names_it(cli: Cli, name: str):
    ran = cli(name, "--help")
    assert ran.code == 0
    examples = ran.out.partition("Examples:")[2]
    assert f" {name}" in examples


@pytest.mark.parametrize("name", ["list", "show", "replay", "drop"])
def test_the_help_of_every_command_on_dead_letters_has_an_example(cli: Cli, name: str):
    assert f" dead {name}" in cli("dead", name, "--help").out.partition("Examples:")[2]


def test_the_version_is_printed_without_an_app(cli: Cli):
    ran = cli("--version")
    assert (ran.code, ran.out.split()[0]) == (0, "fastq")


@pytest.mark.parametrize("words, line", [
    (["wroker"], "fastq: no command 'wroker'; did you mean 'worker'?"),
    (["-A", "x", "multi", "start", "3"], "fastq: multi is not available yet; start each with 'fastq worker -D'"),
    (["dead", "replya"], "fastq dead: no command 'replya'; did you mean 'replay'?"),
    (["worker", "--conccurrency", "2"], "fastq worker: no option --conccurrency; did you mean '--concurrency'?"),
    (["zzzz"], "fastq: no command 'zzzz'"),
    (["result"], "fastq result: Missing argument 'TASK_ID'"),
    (["queues", "celery"], "fastq queues: Got unexpected extra argument (celery)"),
])
def test_a_wrong_word_is_answered_with_one_line_and_the_nearest(cli: Cli, words: list[str], line: str):
    ran = cli(*words)
    assert (ran.code, ran.out, ran.line) == (64, "", line)


def test_the_help_loads_neither_the_app_nor_rich(cli: Cli):
    source = (
        "import sys; from fastq.cli.main import main; main(['--help']);"
        "print([name for name in ('rich', 'fastq.app.app', 'msgspec', 'psutil') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", source], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_reader_that_goes_away_is_no_traceback():
    with subprocess.Popen([sys.executable, "-m", "fastq", "--help"], env=environment(), stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE) as process:
        assert process.stdout and process.stderr
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
