"""``fastq call``: send one task by name."""

from __future__ import annotations

import sys
from datetime import datetime
from functools import partial
from typing import Any

import click

from fastq.cli.command import Chosen, Command, option, pass_chosen
from fastq.cli.exits import nearest, refuse
from fastq.cli.params import Json, When
from fastq.cli.target import find_app, find_task, task_names

ROUTING = "Routing"


@click.command(cls=Command, examples="""
    fastq -A proj call proj.add -a '[2, 3]'
    fastq -A proj call proj.mail -k '{"to": "ann@example.org"}' --countdown 60
    fastq -A proj call proj.add -a '[2, 3]' --queue slow --expires 2030-01-31T08:00:00Z
""")
@click.argument("name")
@option("-a", "--args", type=Json(list, "'[2, 3]'"), default="[]", help="Positional arguments, a JSON list.")
@option("-k", "--kwargs", type=Json(dict, """'{"x": 2}'"""), default="{}", help="Keyword arguments, a JSON object.")
@option("--eta", type=When(seconds=False), help="Run no earlier than this ISO 8601 time, by default in the app's zone.")
@option("--countdown", type=float, metavar="SECONDS", help="Run no earlier than in so many seconds.")
@option("--expires", type=When(seconds=True), metavar="TIME|SECONDS", help="Do not run after this.")
@option("--serializer", metavar="NAME", help="How to write the body; the default is the app's.")
@option("--queue", metavar="NAME", section=ROUTING, help="Put it in this queue.")
@option("--exchange", metavar="NAME", section=ROUTING, help="Publish to this exchange.")
@option("--routing-key", metavar="KEY", section=ROUTING, help="Publish under this key.")
@pass_chosen
def command(chosen: Chosen, /, name: str, args: list[Any], kwargs: dict[str, Any], eta: datetime | None,
            countdown: float | None, **options: Any) -> None:
    """Send one task and print its id.

    The task need not be known here: a name that looks like a slip is sent all the same, with a warning.
    """
    if eta is not None and countdown is not None:
        refuse("call: --eta and --countdown contradict each other; give one")
    app = find_app(chosen)
    given = {key: value for key, value in options.items() if value is not None}
    task = find_task(app, name)
    if task is None:
        hint = nearest(name, task_names(app))
        if hint:
            print(f"fastq: warning: the app has no task {name!r}{hint}", file=sys.stderr)
    try:
        # A task that is known here is sent by itself, since it checks its arguments.
        send = partial(app.send_task, name) if task is None else task.apply_async
        sent = send(args, kwargs, eta=eta, countdown=countdown, **given)
    except (TypeError, ValueError) as error:
        refuse(f"call {name}: {error}")
    click.echo(sent.id)

