"""Options of ``fastq worker`` that an app adds, ``app.user_options["worker"]``: for the steps of its workers.

The app is imported before the line is read, so that its options are known and ``--help`` shows them. Not with -D, where
nothing of the app's may run before the process has gone to the background.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import click

from fastq.cli.command import Chosen, Command

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
            ctx.meta[_KEY] = self._find(ctx, args)
        except Exception as error:
            failure = error     # the command meets it again, and tells it: --help needs no app
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption:
            if failure is not None:
                raise failure from None
            raise

    def _find(self, ctx: click.Context, args: list[str]) -> Iterable[click.Parameter]:
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        said, _, _ = parser.parse_args(list(args))
        if said.get("detach"):
            return ()
        chosen = ctx.ensure_object(Chosen)
        return _options_of(replace(chosen, app=said.get("app") or chosen.app), said.get("workdir"))


def _options_of(chosen: Chosen, folder: str | None) -> Iterable[click.Parameter]:
    from fastq.cli.target import find_app

    if chosen.app is None and chosen.instance is None:
        return ()
    here = os.getcwd()
    try:
        if folder:
            os.chdir(folder)
        found: list[click.Option] = list(find_app(chosen).user_options["worker"])
    finally:
        os.chdir(here)
    for option in found:
        vars(option).setdefault("section", SECTION)
    return found


def take(options: dict[str, Any]) -> dict[str, Any]:
    """Take the values of the app's own options out of *options*, those of the command that runs."""
    names = [param.name for param in click.get_current_context().meta.get(_KEY, ())]
    return {name: options.pop(name) for name in names if name in options}
