"""``fastq report``: what a bug report needs, with no secret in it."""

from __future__ import annotations

import click

from fastq.app.report import bugreport
from fastq.cli.command import Chosen, Command, pass_chosen
from fastq.cli.target import app_path, find_app, is_broker_chosen


@click.command(cls=Command, examples="""
    fastq report
    fastq -A proj report
""")
@pass_chosen
def command(chosen: Chosen) -> None:
    """Print what a bug report needs.

    Versions and platform, and of an app the settings that differ from the defaults. Passwords are masked.
    """
    app = find_app(chosen) if chosen.app or chosen.instance or is_broker_chosen(chosen) else None
    if app is not None:
        click.echo(f"{'app':<12} {app_path(chosen, app)}")
    click.echo(bugreport(app))
