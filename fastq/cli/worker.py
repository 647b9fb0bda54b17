"""``fastq worker``: Celery's options, turned into settings of the app and arguments of the worker.

1. An option is applied, or it is refused in one line that says what to do instead; none is dropped silently
   unless it switches off something that fastq does not have.
2. The banner is printed here; the work is `fastq.worker.worker.Worker`'s.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click

from fastq import __version__, proc, signals
from fastq.app.app import App
from fastq.cli import user_options
from fastq.cli.banner import Banner, render
from fastq.cli.command import Chosen, F, option, pass_chosen
from fastq.cli.exits import KNOWN, explain, nearest, refuse
from fastq.cli.output import has_color
from fastq.cli.params import Children, Level, Names, Range
from fastq.cli.target import (
    app_path,
    broker_url,
    find_app,
    leave_out,
    load_tasks,
    open_transport,
    result_url,
    task_names,
)
from fastq.cli.user_options import WorkerCommand
from fastq.exceptions import QueueNotFound
from fastq.pool import kinds
from fastq.worker import restart
from fastq.worker.options import START_METHODS
from fastq.worker.worker import Worker

POOL, QUEUE, DAEMON, ACCEPTED = "Pool", "Queues", "Process", "Accepted for Celery's sake, without effect"

NOT_YET = {
    "--beat": "run a scheduler of its own",
    "--schedule": "run a scheduler of its own",
    "--scheduler": "run a scheduler of its own",
    "--heartbeat-interval": "the worker renews its lease by itself",
}
"""Celery's options that name something fastq does not have yet, and what to do meanwhile."""
SETTINGS = {"prefetch_multiplier": "worker_prefetch_multiplier", "disable_prefetch": "worker_disable_prefetch",
            "task_events": "worker_send_task_events", "statedb": "worker_state_db"}
"""Options that are settings by another name. The worker warns of those without effect, however they were set."""
PROCESS = {"logfile": "worker_logfile", "pidfile": "worker_pidfile", "uid": "worker_uid", "gid": "worker_gid",
           "umask": "worker_umask", "executable": "worker_executable"}
"""Options of the process, and the settings that count where they are not given."""


def _not_yet(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    if value not in (None, False):
        refuse(f"worker: {param.opts[-1]} is not available yet; {NOT_YET[param.opts[-1]]}")


def _pool(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value == "custom":
        value = os.environ.get("CELERY_CUSTOM_WORKER_POOL") or refuse(
            "worker: -P custom takes the pool from CELERY_CUSTOM_WORKER_POOL, as module:NAME; or name it after -P")
    if value is None or ":" in value or value in kinds.ALIASES or value in (known := kinds.names()):
        return value
    return refuse(f"worker: no pool {value!r}{nearest(value, known) or '; pools: ' + ', '.join(known)}")


def _refused(*names: str, is_flag: bool = False) -> Callable[[F], F]:
    return option(*names, hidden=True, expose_value=False, is_flag=is_flag, default=None, callback=_not_yet)


def _accepted(*names: str, is_kept: bool = False, **rest: Any) -> Callable[[F], F]:
    return option(*names, section=ACCEPTED, expose_value=is_kept, **rest)


@click.command(cls=WorkerCommand, examples="""
    fastq -A proj worker -c 4
    fastq -A proj worker -Q mail,slow -n mailer@%h -l INFO
    fastq -A proj worker -c 2 --time-limit 300 --max-tasks-per-child 1000 -D -f worker.log --pidfile worker.pid
""")
@option("-n", "--hostname", metavar="NAME", help="The worker's name; %h is the host, %n its name, %d its domain.")
@option("-l", "--loglevel", type=Level(), default="WARNING", show_default=True, help="What to log.")
@option("-I", "--include", type=Names(), help="Import these modules too.")
@option("-c", "--concurrency", type=Children(), metavar="N|auto", section=POOL,
        help="Tasks at a time: children of prefork (one to each CPU), tasks in each child of other pools.")
@option("-P", "--pool", metavar="|".join(kinds.KINDS), callback=_pool, section=POOL,
        help="What a child does; docs/pools.md compares them.")
@option("--processes", type=click.IntRange(min=1), metavar="N", section=POOL,
        help="Children, of pools that run many tasks in each (1).")
@option("--autoscale", type=Range(), section=POOL, help="Children, as many as there is work for, in these bounds.")
@option("--pool-start-method", "start_method", type=click.Choice(START_METHODS), section=POOL,
        help="How children are made (fork).")
@option("--time-limit", type=float, metavar="SECONDS", section=POOL, help="Kill a child whose task takes longer.")
@option("--soft-time-limit", type=float, metavar="SECONDS", section=POOL, help="Raise in a task that takes longer.")
@option("--max-tasks-per-child", type=click.IntRange(min=1), metavar="N", section=POOL,
        help="Replace a child after so many tasks.")
@option("--max-memory-per-child", type=click.IntRange(min=1), metavar="KIB", section=POOL,
        help="Replace a child that grew larger.")
@option("--prefetch-multiplier", type=click.IntRange(min=0), metavar="N", section=POOL,
        help="Hold at most so many tasks per child; the default goes by how long they take.")
@option("--disable-prefetch", is_flag=True, section=POOL, help="Hold none but those that run.")
@option("-Q", "--queues", type=Names(), section=QUEUE, help="Take from these queues only.")
@option("-X", "--exclude-queues", type=Names(), section=QUEUE, help="Not from these.")
@option("--purge", "--discard", is_flag=True, section=QUEUE, help="Drop what waits in the queues first.")
@option("-f", "--logfile", type=click.Path(dir_okay=False), section=DAEMON, help="Log to this file.")
@option("--log-format", type=click.Choice(["text", "json"]), section=DAEMON,
        help="json: one object a line, with id, name, attempt and queue of the task.")
@option("--pidfile", type=click.Path(dir_okay=False), section=DAEMON, help="Keep the process id in this file.")
@option("-D", "--detach", is_flag=True, section=DAEMON, help="Go to the background.")
@option("--executable", metavar="PYTHON", section=DAEMON, help="Go on in this Python there.")
@option("--uid", metavar="USER", section=DAEMON, help="Become this user, by name or number, before tasks are imported.")
@option("--gid", metavar="GROUP", section=DAEMON, help="Become this group; else the user's own.")
@option("--umask", metavar="OCTAL", section=DAEMON, help="Make files with this umask, such as 022.")
@_accepted("-E", "--task-events", "--events", is_flag=True, is_kept=True, help="No events are sent yet.")
@_accepted("-O", "--optimization", type=click.Choice(["default", "fair"]), help="Every idle child takes the next task.")
@_accepted("--without-gossip", is_flag=True, help="Workers do not gossip.")
@_accepted("--without-mingle", is_flag=True, help="Nor mingle.")
@_accepted("--without-heartbeat", is_flag=True, help="Their leases show that they live.")
@_accepted("-S", "--statedb", metavar="FILE", is_kept=True, help="Revocations are kept in the broker.")
@_refused("-B", "--beat", is_flag=True)
@_refused("-s", "--schedule-filename", "--schedule")
@_refused("--scheduler")
@_refused("--heartbeat-interval")
@pass_chosen
def command(chosen: Chosen, /, detach: bool, **options: Any) -> int:
    """Run tasks.

    TERM or one Ctrl-C: take nothing new, finish what runs. QUIT or Ctrl-C again: stop now; what ran goes back.
    HUP, unless in a terminal: as TERM, then begin anew. USR1: log where each thread is.
    """
    if options["executable"] and not detach:
        refuse("worker: --executable is for -D; in front, start it as 'PYTHON -m fastq'")
    return _detached(chosen, options) if detach else _run(chosen, **options)


def _detached(chosen: Chosen, options: dict[str, Any]) -> int:
    restart.is_detached = True
    if restart.was_detached() or os.environ.get("C_FAKEFORK"):
        return _run(chosen, **options)
    # Before the app is imported: its module may start threads, and they would not survive the fork.
    handed_over = proc.Daemon.handed_over()
    daemon = handed_over or proc.daemonize(os.getcwd())
    signals.worker_ready.connect(lambda **_: daemon.ready(), weak=False)
    try:
        return _run(chosen, None if handed_over else daemon, **options)
    except KNOWN as error:
        daemon.failed(explain(error)[0])
        raise


def _run(
    chosen: Chosen, daemon: proc.Daemon | None = None, *, queues: list[str] | None,
    exclude_queues: list[str] | None, purge: bool, include: list[str] | None, **options: Any,
) -> int:
    app = find_app(chosen)
    own = {name: app.conf[setting] if options[name] is None else options[name] for name, setting in PROCESS.items()}
    executable = own.pop("executable")
    if executable and daemon is not None:
        daemon.go_on_in(executable, restart.folder or os.getcwd())
    # Before anything of the worker's is opened, or more of the user's code runs.
    proc.set_umask(own.pop("umask"))
    proc.drop_privileges(own.pop("uid"), own.pop("gid"))
    if proc.is_root_for_pickle(app.conf.accept_content):
        refuse("worker: this is root, and pickle is accepted: whoever can send a message could do anything here. Take "
               "another user with --uid, leave pickle out of accept_content, or set C_FORCE_ROOT=1")
    options = {**{name: value for name, value in options.items() if name not in PROCESS}, **own}
    load_tasks(app, include or ())
    given = {setting: options.pop(name) for name, setting in SETTINGS.items()}
    app.conf.override({name: value for name, value in given.items() if value is not None and value is not False})
    names = leave_out(_consumed(app, queues), exclude_queues or ())
    if purge:
        _purge(app, names)
    worker = Worker(app, queues=names, quiet=chosen.quiet, user_options=user_options.take(options), **options)
    if not chosen.quiet:
        print(render(_banner(chosen, app, worker), color=has_color(sys.stdout)), flush=True)
    return worker.run()


def _consumed(app: App, queues: list[str] | None) -> list[str]:
    try:
        return list(app.select_queues(queues))
    except QueueNotFound as error:
        refuse(f"worker: {error.args[0]}")


def _purge(app: App, names: Sequence[str]) -> None:
    with open_transport(app, create=True) as transport:
        dropped = sum(transport.purge(name) for name in names)
    print(f"dropped {dropped:,} messages from {', '.join(names)}")


def _banner(chosen: Chosen, app: App, worker: Worker) -> Banner:
    return Banner(
        version=__version__, hostname=worker.hostname, app=app_path(chosen, app), broker=broker_url(app),
        results=result_url(app), concurrency=worker.concurrency, pool=worker.pool, queues=worker.queues,
        tasks=task_names(app),
    )
