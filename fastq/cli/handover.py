"""``fastq handover``: give Celery's workers what only fastq's workers read."""

from __future__ import annotations

import click

from fastq.cli.command import Chosen, Command, option, pass_chosen
from fastq.cli.exits import refuse
from fastq.cli.params import Names
from fastq.cli.target import broker_url, check_queues, find_app, open_transport


@click.command(cls=Command, examples="""
    fastq -A proj handover
    fastq -b redis://localhost/0 handover -Q mail,slow
""")
@option("-Q", "--queues", type=Names(), help="Only these queues; the default is all that exist.")
@pass_chosen
def command(chosen: Chosen, queues: list[str] | None) -> None:
    """Give Celery's workers on Redis what only fastq's read.

    Messages for later, and those that are to be run alone, go to the lists of their queues. Stop fastq's workers first:
    while one serves a queue nothing of it is moved. Messages with an ETA are held by the Celery worker that takes them,
    until they are due; others run at once.
    """
    app = find_app(chosen)
    with open_transport(app) as transport:
        hand_over = getattr(transport, "hand_over", None)
        if hand_over is None:
            refuse(f"{broker_url(app)}: handover is for a single Redis, where messages for later wait apart from those "
                   "of Celery")
        known = transport.queues()
        for name in check_queues(queues or sorted(known), {*known, *app.router.queues}):
            moved = hand_over(name)
            click.echo(f"{name}: {moved.future:,} for later, {moved.trial:,} to be run alone")
