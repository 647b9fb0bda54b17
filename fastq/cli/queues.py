"""``fastq queues``: every queue and how much is in it."""

from __future__ import annotations

import json

import click

from fastq.cli.command import Chosen, Command, option, pass_chosen
from fastq.cli.output import print_table
from fastq.cli.target import find_app, open_transport

PLACES = ("ready", "held", "future", "dead")


@click.command(cls=Command, examples="""
    fastq -A proj queues
    fastq -b sqlite:///proj.fastq.db queues --json
""")
@option("-j", "--json", "as_json", is_flag=True, help="Print JSON.")
@pass_chosen
def command(chosen: Chosen, as_json: bool) -> None:
    """Show every queue and how much is in it.

    ready: waits for a worker; held: in a worker's hands; future: waits for its time; dead: given up.
    """
    with open_transport(find_app(chosen)) as transport:
        found = transport.queues()
    if as_json:
        click.echo(json.dumps({name: stat._asdict() for name, stat in sorted(found.items())}))
    elif not found:
        click.echo("no queue yet: the first task makes one")
    else:
        rows = [(name, *(f"{figure:,}" for figure in stat)) for name, stat in sorted(found.items())]
        print_table(("name", *PLACES), rows, numbers=PLACES)
