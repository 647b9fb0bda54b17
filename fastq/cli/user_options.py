"""Options of ``fastq worker`` that an app adds, ``app.user_options["worker"]``: for the steps of its workers.

The app is imported before the line is read, so that its options are known and ``--help`` shows them. Not with -D, where
nothing of the app's may run before the process has gone to the background.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import click

from fastq.cli.command import Chosen, Command
from fastq.cli.exits import KNOWN
from fastq.cli.target import find_app
from fastq.exceptions import ConfigError

SECTION = "The app's own"
_KEY = "fastq.user_options"


class WorkerCommand(Command):
    """A command with the options of the app that its line names."""

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own, and the app's."""
        return [*super().get_params(ctx), *ctx.meta.get(_KEY, ())]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the line, knowing the app's options. An app that cannot be imported is told of where that matters."""
        failure: Exception | None = None
        try:
            app = self._find(ctx, args)
        except (click.ClickException, *KNOWN) as error:
            app, failure = None, error      # the command meets it again, and tells it: --help needs no app
        if app is not None:
            ctx.meta[_KEY] = _options_of(app)
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            if failure is not None:
                raise failure from None
            raise

    def _find(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the app that the line names, None when it names none, or has -D."""
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        said, _, _ = parser.parse_args(list(args))
        chosen = ctx.ensure_object(Chosen)
        chosen = replace(chosen, app=said.get("app") or chosen.app)
        if said.get("detach") or (chosen.app is None and chosen.instance is None):
            return None
        here = os.getcwd()
        try:
            os.chdir(said.get("workdir") or here)
            return find_app(chosen)
        finally:
            os.chdir(here)


def _options_of(app: Any) -> Sequence[click.Parameter]:
    found = list(app.user_options["worker"])
    for option in found:
        if not isinstance(option, click.Option):
            raise ConfigError(f'app.user_options["worker"] has {option!r}; it takes options of click, such as '
                              'click.Option(["--region"])')
        vars(option).setdefault("section", SECTION)
    return found


def take(options: dict[str, Any]) -> dict[str, Any]:
    """Take the values of the app's own options out of *options*, those of the command that runs."""
    names = [param.name for param in click.get_current_context().meta.get(_KEY, ())]
    return {name: options.pop(name) for name in names if name in options}
