"""``fastq purge``: drop the messages that wait."""

from __future__ import annotations

import sys

import click

from fastq.cli.command import Chosen, Command, option, pass_chosen
from fastq.cli.exits import refuse
from fastq.cli.params import Names
from fastq.cli.target import broker_url, check_queues, find_app, leave_out, open_transport


@click.command(cls=Command, examples="""
    fastq -A proj purge
    fastq -A proj purge -f -Q mail,slow
""")
@option("-f", "--force", is_flag=True, help="Do not ask.")
@option("-Q", "--queues", type=Names(), help="Only these queues; the default is all of the app's.")
@option("-X", "--exclude-queues", type=Names(), help="Not these.")
@pass_chosen
def command(chosen: Chosen, force: bool, queues: list[str] | None, exclude_queues: list[str] | None) -> None:
    """Drop the messages that wait in queues.

    Those for later are dropped too; what a worker has in hand, and dead letters, stay. There is no way back.
    """
    app = find_app(chosen)
    with open_transport(app) as transport:
        stats = transport.queues()
        chosen_queues = check_queues(queues or list(app.router.queues), {*stats, *app.router.queues})
        names = leave_out(chosen_queues, exclude_queues or ())
        waiting = sum(stats[name].ready + stats[name].future for name in names if name in stats)
        if not force:
            confirm(f"Drop {waiting:,} messages from {', '.join(names)} of {broker_url(app)}?")
        dropped = sum(transport.purge(name) for name in names)
    click.echo(f"dropped {dropped:,} messages from {', '.join(names)}")


def confirm(question: str) -> None:
    """Go on only if the user says yes; where there is nobody to ask, refuse."""
    if not sys.stdin.isatty():
        refuse("nothing was dropped: nobody to ask here; say -f if you mean it")
    click.confirm(question, abort=True)
