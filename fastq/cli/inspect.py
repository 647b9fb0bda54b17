"""``fastq inspect``: ask workers, and change nothing."""

from __future__ import annotations

import click

from fastq.cli.command import Chosen, Command, pass_chosen
from fastq.cli.remote import ask_added, nodes_of, parse, remote_options, show
from fastq.cli.target import find_app

COMMANDS = {
    "active": "the tasks that run", "active_queues": "the queues that are consumed", "clock": "logical clocks",
    "conf": "settings, without passwords", "memdump": "[N]: the last samples of a worker's memory",
    "memsample": "a worker's memory, now", "ping": "who is there",
    "query_task": "what workers know of tasks: query_task ID...", "registered": "the tasks that workers have",
    "report": "what a bug report needs", "reserved": "tasks that wait in a worker",
    "revoked": "the ids that are revoked", "scheduled": "future tasks that a worker holds (fastq's hold none)",
    "stats": "figures",
}


@click.command(cls=Command, examples="""
    fastq -A proj inspect active
    fastq -A proj inspect query_task ID1 ID2 --json
    fastq -A proj inspect stats -d worker@host -t 5
""", table=("Commands", COMMANDS))
@click.argument("name", metavar="COMMAND")
@click.argument("arguments", nargs=-1)
@remote_options
@pass_chosen
def command(chosen: Chosen, name: str, arguments: tuple[str, ...], destination: str | None, timeout: float,
            as_json: bool) -> None:
    """Ask the workers that run."""
    app = find_app(chosen)
    if name not in COMMANDS:
        show(ask_added(app, "inspect", name, COMMANDS, arguments, destination, timeout), as_json)
        return
    asking = app.control.inspect(destination=nodes_of(destination), timeout=timeout)
    show(getattr(asking, name)(*parse(arguments)), as_json)
