"""What every command is made of: help in sections, examples below it, and the options that all commands share.

Nothing here may import the app: ``fastq --help`` pays for this file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click

from fastq.cli.exits import nearest
from fastq.worker import restart

F = TypeVar("F", bound=Callable[..., Any])
SHARED = "Every command"


@dataclass
class Chosen:
    """What the shared options said, wherever on the line they stood; the later one wins."""

    app: str | None = None
    instance: Any = None
    """The app itself, when it is the app that runs the command line."""
    broker: str | None = None
    result_backend: str | None = None
    quiet: bool = False


pass_chosen = click.make_pass_decorator(Chosen, ensure=True)


class Option(click.Option):
    """An option that knows the section of the help it belongs to."""

    def __init__(self, *args: Any, section: str = "Options", **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.section = section


def option(*names: str, section: str = "Options", **rest: Any) -> Callable[[F], F]:
    """Add an option to a command, shown under *section* of its help."""
    return click.option(*names, cls=Option, section=section, **rest)


def _choose(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value and param.name:
        setattr(ctx.ensure_object(Chosen), param.name, value)


def _enter(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        restart.folder = restart.folder or os.getcwd()
        os.chdir(value)


def _uncolor(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value:
        os.environ["NO_COLOR"] = "1"  # which rich, the log and most programs heed


def _configure(ctx: click.Context, param: click.Parameter, value: str | None) -> None:
    if value:
        os.environ["FASTQ_CONFIG_MODULE"] = value


def shared_options(*, environment: bool) -> list[click.Option]:
    """Make the options that may stand before or after the command.

    Only those before it read the *environment*: read again after it, a variable would beat what was typed before.
    The addresses are not read from it here, since that is what the app's settings do.
    """
    def names(*variables: str) -> Sequence[str] | None:
        return variables if environment else None

    def make(*flags: str, callback: Any = _choose, **rest: Any) -> click.Option:
        return Option([*flags], section=SHARED, expose_value=False, callback=callback, **rest)

    return [
        make("-A", "--app", metavar="MODULE[:NAME]", envvar=names("FASTQ_APP", "CELERY_APP"),
             help="The app: a module, or the app's name in it."),
        make("-b", "--broker", metavar="URL", help="Use this broker, not the app's."),
        make("--result-backend", metavar="URL", help="Use this result store, not the app's."),
        make("--config", metavar="MODULE", callback=_configure, help="Settings module, for an app that names none."),
        make("--workdir", metavar="FOLDER", is_eager=True, callback=_enter,
             type=click.Path(exists=True, file_okay=False), help="Change to this folder first."),
        make("-C", "--no-color", is_flag=True, callback=_uncolor, help="No colour."),
        make("-q", "--quiet", is_flag=True, help="Print less."),
        # Django's checks are not run, so there is nothing to skip; Celery's command lines name it all the same.
        make("--skip-checks", is_flag=True, hidden=True, callback=None),
    ]


class Sections(click.Command):
    """Writes a command's help: options by section, then examples, verbatim."""

    examples: str
    table: tuple[str, Mapping[str, str]] | None = None

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options, one section after the other, the shared ones last."""
        rows: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record is not None:
                rows.setdefault(getattr(param, "section", SHARED), []).append(record)
        shared = rows.pop(SHARED, [])
        for title, records in [*rows.items(), (SHARED, shared)]:
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the command's own table, and the examples."""
        if self.table is not None:
            with formatter.section(self.table[0]):
                formatter.write_dl(list(self.table[1].items()))
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")


class Command(Sections):
    """A command of ``fastq``."""

    def __init__(self, *args: Any, examples: str = "", table: tuple[str, Mapping[str, str]] | None = None,
                 **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.examples = examples
        self.table = table
        self.params.extend(shared_options(environment=False))


class Family(Sections, click.Group):
    """A command with commands of its own, such as ``fastq dead``."""

    command_class = Command

    def __init__(self, *args: Any, examples: str = "", environment: bool = False, **rest: Any) -> None:
        super().__init__(*args, **rest)
        self.examples = examples
        self.params.extend(shared_options(environment=environment))

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands first: they are what the reader came for."""
        self.format_commands(ctx, formatter)
        super().format_options(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the options; with nothing on the line at all, show the help."""
        return super().parse_args(ctx, args or ["--help"])

    def resolve_command(
        self, ctx: click.Context, args: list[str],
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that *args* begin with; an unknown one is answered with the nearest."""
        name = args[0]
        command = self.get_command(ctx, name)
        if command is None and not ctx.resilient_parsing:
            raise click.UsageError(f"no command {name!r}{nearest(name, self.list_commands(ctx))}", ctx)
        return name, command, args[1:]
