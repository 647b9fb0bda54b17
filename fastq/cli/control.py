"""``fastq control``: tell workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fastq.cli.command import Chosen, Command, pass_chosen
from fastq.cli.remote import ask_added, nodes_of, parse, remote_options, show
from fastq.cli.target import find_app

Told = Callable[..., Any]


def _stamps(words: list[Any]) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for word in words:
        header, separator, value = str(word).partition("=")
        if not separator:
            raise click.UsageError(f"{word!r} is no header=value")
        headers.setdefault(header, []).append(value)
    return headers


COMMANDS: dict[str, tuple[str, Callable[[Any, list[Any], dict[str, Any]], Any]]] = {
    "add_consumer": ("QUEUE [EXCHANGE [TYPE [ROUTING_KEY]]]: consume this queue too",
                     lambda control, words, told: control.add_consumer(*words, **told)),
    "autoscale": ("MAX MIN: children, of workers that were started with --autoscale",
                  lambda control, words, told: control.autoscale(*words, **told)),
    "cancel_consumer": ("QUEUE: consume this queue no more",
                        lambda control, words, told: control.cancel_consumer(*words, **told)),
    "disable_events": ("of Celery's workers: send no events of tasks",
                       lambda control, words, told: control.disable_events(**told)),
    "enable_events": ("of Celery's workers: send events of tasks",
                      lambda control, words, told: control.enable_events(**told)),
    "heartbeat": ("of Celery's workers: send one now", lambda control, words, told: control.heartbeat(**told)),
    "pool_grow": ("[N]: more children", lambda control, words, told: control.pool_grow(*words, **told)),
    "pool_shrink": ("[N]: fewer children", lambda control, words, told: control.pool_shrink(*words, **told)),
    "pool_restart": ("new children, each when what it runs has ended; takes worker_pool_restarts",
                     lambda control, words, told: control.pool_restart(**told)),
    "rate_limit": ("TASK RATE: starts in each worker, as 10/s, 100/m; 0: no limit",
                   lambda control, words, told: control.rate_limit(*words, **told)),
    "revoke": ("ID...: let tasks not start", lambda control, words, told: control.revoke(words, **told)),
    "revoke_by_stamped_headers": ("HEADER=VALUE...: let tasks not start that are stamped so",
                                  lambda control, words, told:
                                  control.revoke_by_stamped_headers(_stamps(words), **told)),
    "shutdown": ("stop when what runs has ended", lambda control, words, told: control.shutdown(**told)),
    "terminate": ("SIGNAL ID...: revoke tasks, and end those that run",
                  lambda control, words, told: control.terminate(words[1:], signal=words[0], **told)),
    "time_limit": ("TASK SOFT [HARD]: seconds", lambda control, words, told: control.time_limit(*words, **told)),
}


@click.command(cls=Command, examples="""
    fastq -A proj control revoke ID1 ID2
    fastq -A proj control rate_limit proj.add 10/m
    fastq -A proj control terminate SIGKILL ID
""", table=("Commands", {name: what for name, (what, _) in COMMANDS.items()}))
@click.argument("name", metavar="COMMAND")
@click.argument("arguments", nargs=-1)
@remote_options
@pass_chosen
def command(chosen: Chosen, name: str, arguments: tuple[str, ...], destination: str | None, timeout: float,
            as_json: bool) -> None:
    """Tell them: revoke, terminate, limit, stop."""
    app = find_app(chosen)
    if name not in COMMANDS:
        show(ask_added(app, "control", name, COMMANDS, arguments, destination, timeout), as_json)
        return
    what, tell = COMMANDS[name]
    replies = name != "shutdown"
    try:
        answers = tell(app.control, parse(arguments),
                       {"destination": nodes_of(destination), "timeout": timeout, "reply": replies})
    except (TypeError, IndexError) as error:
        raise click.UsageError(f"{name} takes {what}") from error
    if replies:
        show({node: value for answer in answers for node, value in answer.items()}, as_json)
