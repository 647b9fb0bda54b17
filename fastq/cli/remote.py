"""What ``fastq inspect`` and ``fastq control`` share: options, and how answers are shown."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import click

from fastq.cli.command import option
from fastq.cli.exits import FAILURE, UNAVAILABLE, nearest, refuse
from fastq.cli.target import load_tasks

F = TypeVar("F", bound=Callable[..., Any])


def remote_options(function: F) -> F:
    """Add who is asked, for how long, and the form of the output."""
    for add in (
        option("-j", "--json", "as_json", is_flag=True, help="Print JSON."),
        option("-t", "--timeout", type=float, default=1.0, show_default=True, help="Seconds to wait for answers."),
        option("-d", "--destination", metavar="NODES", help="Only these nodes, separated by commas."),
    ):
        function = add(function)
    return function


def nodes_of(destination: str | None) -> list[str] | None:
    """Return the node names in an option."""
    return [name.strip() for name in destination.split(",") if name.strip()] if destination else None


def parse(words: tuple[str, ...]) -> list[Any]:
    """Read arguments of a command: JSON where they are that, else text."""
    found: list[Any] = []
    for word in words:
        try:
            found.append(json.loads(word))
        except ValueError:
            found.append(word)
    return found


def ask_added(app: Any, kind: str, name: str, known: Iterable[str], words: tuple[str, ...], destination: str | None,
              timeout: float) -> dict[str, Any]:
    """Have workers do a command that the app added, of this *kind*. Raises UsageError for one that it has not."""
    from fastq.worker.control import Panel, arguments_of  # only those who have such commands pay for it

    load_tasks(app)
    added = {each: told for each, told in Panel.meta.items() if told.type == kind}
    if name not in added:
        raise click.UsageError(f"no command {name}{nearest(name, [*known, *added])}")
    told = added[name]
    try:
        arguments = arguments_of(told, parse(words))
    except (TypeError, ValueError) as error:
        raise click.UsageError(f"{name} takes {told.signature or 'no words'}: {error}") from error
    answers = app.control.broadcast(name, arguments, nodes_of(destination), reply=True,
                                    timeout=max(timeout, told.default_timeout))
    return {node: value for answer in answers for node, value in answer.items()}


def show(answers: dict[str, Any] | None, as_json: bool) -> None:
    """Print ``{node: answer}``. Ends the command when there is none, or an error in one."""
    if not answers:
        refuse("no worker answered in time; is one running, on this broker? -t waits longer", UNAVAILABLE)
    if as_json:
        click.echo(json.dumps(answers, default=str))
    else:
        for node, answer in answers.items():
            _show_one(node, answer)
    errors = [f"{node}: {answer['error']}" for node, answer in answers.items()
              if isinstance(answer, dict) and "error" in answer]
    if errors:
        refuse("; ".join(errors), FAILURE)


def _show_one(node: str, answer: Any) -> None:
    failed = isinstance(answer, dict) and "error" in answer
    click.echo(f"-> {node}: {'ERROR' if failed else 'OK'}")
    value = answer.get("ok", answer) if isinstance(answer, dict) else answer
    if isinstance(value, str):
        click.echo(f"    {value}")
    elif isinstance(value, list):
        for each in value or ["- empty -"]:
            click.echo(f"    * {each if isinstance(each, str) else json.dumps(each, default=str)}")
    elif not failed:
        click.echo("\n".join(f"    {line}" for line in json.dumps(value, indent=2, default=str).splitlines()))
