"""The command line: finds the command, runs it, and turns every known failure into one line and an exit code.

1. Commands are named in one table and imported when they are called, so that ``fastq --help`` stays quick.
2. Nobody else prints errors; commands raise, `main` says it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click

from fastq import __version__
from fastq.cli.command import SHARED, Chosen, Family, option
from fastq.cli.exits import FAILURE, KNOWN, OK, USAGE, explain, nearest

COMMANDS = {
    "worker": "Run tasks.",
    "call": "Send one task and print its id.",
    "result": "Print what a task returned.",
    "queues": "Show every queue and how much is in it.",
    "dead": "List, show, replay or drop dead letters.",
    "inspect": "Ask the workers that run.",
    "control": "Tell them: revoke, terminate, limit, stop.",
    "purge": "Drop the messages that wait in queues.",
    "handover": "Give Celery's workers on Redis what only fastq's read.",
    "report": "Print what a bug report needs.",
    "bench": "Measure this machine, beside the peers that are installed.",
    "demo": "Index the standard library with two children and kill one.",
}
"""Each is the attribute ``command`` of the module of its name in this package."""
NOT_YET = {
    "beat": "on Redis and RabbitMQ 'celery beat' can send to its queues",
    "events": "'fastq inspect active' shows what runs",
    "multi": "start each with 'fastq worker -D'",
}
"""Celery's commands that fastq does not have, and what to do meanwhile."""


class Root(Family):
    """``fastq`` itself."""

    def resolve_command(
        self, ctx: click.Context, args: list[str],
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; one of Celery's that is not there is answered with what to do instead."""
        if args[0] in NOT_YET and not ctx.resilient_parsing:
            raise click.UsageError(f"{args[0]} is not available yet; {NOT_YET[args[0]]}", ctx)
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"fastq.cli.{name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table; importing the commands for it would take ten times as long."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


def _version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"fastq {__version__}")
        ctx.exit()


@click.command(
    cls=Root, environment=True, context_settings={"help_option_names": ["-h", "--help"]},
    examples="""
    fastq -A proj worker -c 4                run the tasks of proj.py with four children
    fastq -A proj call proj.add -a '[2, 3]'  send one
    fastq demo                               see it work, in half a minute
    """,
)
@option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_version, section=SHARED,
        help="Print the version.")
@click.pass_context
def root(ctx: click.Context) -> None:
    """A task queue: Celery's API and command line, nothing lost."""
    ctx.ensure_object(Chosen)


def main(argv: Sequence[str] | None = None, app: Any = None) -> int:
    """Run one command line, ``sys.argv`` by default, and return its exit code; *app* stands in for ``-A``."""
    try:
        code: Any = root.main(args=argv if argv is None else list(argv), prog_name="fastq", standalone_mode=False,
                              obj=Chosen(instance=app))
        return code if isinstance(code, int) else OK
    except click.UsageError as error:
        return _say(_usage_line(error), USAGE)
    except click.Abort:
        return _say("fastq: stopped", FAILURE)
    except click.ClickException as error:
        return _say(f"fastq: {error.format_message()}", FAILURE)
    except KNOWN as error:
        return _say(*explain(error))


def _usage_line(error: click.UsageError) -> str:
    where = error.ctx.command_path if error.ctx else "fastq"
    if isinstance(error, click.NoSuchOption):
        params = error.ctx.command.get_params(error.ctx) if error.ctx else []
        known = [name for param in params for name in param.opts]
        return f"{where}: no option {error.option_name}{nearest(error.option_name, known)}"
    return f"{where}: {' '.join(error.format_message().split()).rstrip('.')}"


def _say(line: str, code: int) -> int:
    print(line, file=sys.stderr)
    return code
