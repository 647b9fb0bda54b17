"""``fastq dead``: look at the messages that were given up, put them back, or drop them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click

from fastq.cli.command import Chosen, Family, option, pass_chosen
from fastq.cli.exits import FAILURE, nearest, refuse
from fastq.cli.letter import Letter, read_letter
from fastq.cli.output import print_table
from fastq.cli.purge import confirm
from fastq.cli.target import check_queues, find_app, open_transport

EVERYTHING = 1_000_000_000
NUMBERS = ("id", "deaths")


@click.command(cls=Family, examples="""
    fastq -A proj dead list
    fastq -A proj dead show 17
    fastq -A proj dead replay --task proj.mail
""")
def command() -> None:
    """List, show, replay or drop dead letters.

    A task that killed its worker too often, or was rejected, is a dead letter: kept, with the reason, until you decide.
    """


@command.command("list", examples="""
    fastq -A proj dead list
    fastq -A proj dead list --queue mail --limit 1000
""")
@option("--queue", metavar="NAME", help="Only of this queue.")
@option("--task", metavar="NAME", help="Only of this task.")
@option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="The newest so many.")
@pass_chosen
def list_(chosen: Chosen, queue: str | None, task: str | None, limit: int) -> None:
    """List the newest dead letters."""
    app = find_app(chosen)
    with open_transport(app) as transport:
        if queue:
            check_queues([queue], transport.queues())
        letters = [read_letter(dead) for dead in transport.dead_letters(queue, EVERYTHING if task else limit)]
    letters = _of_task(letters, task)[:limit] if task else letters
    if not letters:
        click.echo("no dead letters")
        return
    rows = [(one.id, one.queue, one.task, one.task_id, one.deaths, one.died, one.reason) for one in letters]
    print_table(("id", "queue", "task", "task id", "deaths", "died", "reason"), rows, numbers=NUMBERS)


@command.command("show", examples="""
    fastq -A proj dead show 17
""")
@click.argument("ids", type=int, nargs=-1, required=True)
@pass_chosen
def show(chosen: Chosen, ids: tuple[int, ...]) -> None:
    """Show the headers and the arguments of dead letters.

    A body is decoded only if the app accepts its content type, so looking at a letter never runs what is in it.
    """
    app = find_app(chosen)
    with open_transport(app) as transport:
        for letter in _by_id(transport, ids):
            click.echo("\n".join(letter.lines(app.conf.accept_content)))


@command.command("replay", examples="""
    fastq -A proj dead replay 17 18
    fastq -A proj dead replay --task proj.mail
    fastq -A proj dead replay --all
""")
@click.argument("ids", type=int, nargs=-1)
@option("--all", "everything", is_flag=True, help="All dead letters.")
@option("--task", metavar="NAME", help="Those of this task.")
@pass_chosen
def replay(chosen: Chosen, ids: tuple[int, ...], everything: bool, task: str | None) -> None:
    """Put dead letters back in their queues, with no deaths counted."""
    with _chosen_letters(chosen, ids, everything, task) as (transport, found):
        click.echo(f"replayed {transport.resolve_dead(found, replay=True):,} dead letters")


@command.command("drop", examples="""
    fastq -A proj dead drop 17 18
    fastq -A proj dead drop --all -f
""")
@click.argument("ids", type=int, nargs=-1)
@option("--all", "everything", is_flag=True, help="All dead letters.")
@option("--task", metavar="NAME", help="Those of this task.")
@option("-f", "--force", is_flag=True, help="Do not ask.")
@pass_chosen
def drop(chosen: Chosen, ids: tuple[int, ...], everything: bool, task: str | None, force: bool) -> None:
    """Drop dead letters. There is no way back."""
    with _chosen_letters(chosen, ids, everything, task) as (transport, found):
        # Ids that were typed one by one are meant; a filter may match more than its user thinks.
        if not ids and not force:
            confirm(f"Drop {len(found):,} dead letters?")
        click.echo(f"dropped {transport.resolve_dead(found, replay=False):,} dead letters")


@contextmanager
def _chosen_letters(
    chosen: Chosen, ids: Sequence[int], everything: bool, task: str | None,
) -> Iterator[tuple[Any, list[int]]]:
    if (bool(ids), everything, task is not None).count(True) != 1:
        refuse("dead: say which ones: ids, --all, or --task NAME")
    with open_transport(find_app(chosen)) as transport:
        if ids:
            found = [letter.id for letter in _by_id(transport, ids)]
        else:
            letters = [read_letter(dead) for dead in transport.dead_letters(None, EVERYTHING)]
            found = [letter.id for letter in (_of_task(letters, task) if task else letters)]
        yield transport, found


def _by_id(transport: Any, ids: Sequence[int]) -> list[Letter]:
    known = {dead.id: dead for dead in transport.dead_letters(None, EVERYTHING)}
    missing = [str(one) for one in ids if one not in known]
    if missing:
        refuse(f"dead: no dead letter {', '.join(missing)}; 'fastq dead list' shows them", FAILURE)
    return [read_letter(known[one]) for one in ids]


def _of_task(letters: Sequence[Letter], task: str) -> list[Letter]:
    found = [letter for letter in letters if letter.task == task]
    if letters and not found:
        refuse(f"dead: no dead letter of task {task!r}{nearest(task, {letter.task for letter in letters})}", FAILURE)
    return found
