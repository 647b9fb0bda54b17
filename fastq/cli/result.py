"""``fastq result``: print what a task returned."""

from __future__ import annotations

from typing import Any

import click

from fastq.app.app import App
from fastq.cli.command import Chosen, Command, option, pass_chosen
from fastq.cli.exits import FAILURE, OK, nearest, refuse
from fastq.cli.target import check_file, find_app, find_task, task_names
from fastq.exceptions import TimeoutError
from fastq.result import AsyncResult


@click.command(cls=Command, examples="""
    fastq -A proj result 0192f0c1-5d5e-7c6e-b7a5-0f4d7f3a1c22
    fastq -A proj result --wait --timeout 30 0192f0c1-5d5e-7c6e-b7a5-0f4d7f3a1c22
""")
@click.argument("task_id")
@option("-t", "--task", metavar="NAME", help="The task's name, if it has a result store of its own.")
@option("--traceback", is_flag=True, help="Print the traceback of a failed task.")
@option("--wait", is_flag=True, help="Wait until the task has ended.")
@option("--timeout", type=float, metavar="SECONDS", help="Wait no longer than this.")
@pass_chosen
def command(chosen: Chosen, task_id: str, task: str | None, traceback: bool, wait: bool, timeout: float | None) -> int:
    """Print what a task returned.

    Exit code 0: it succeeded; 1: it failed (its error is on stderr), or it has not ended.
    """
    app = find_app(chosen)
    check_file(app.result_url or "")
    result = _handle(app, task, task_id)
    if wait or timeout is not None:
        try:
            result.get(timeout=timeout, propagate=False)
        except TimeoutError:
            refuse(f"result: {task_id} has not ended within {timeout} s", FAILURE)
    if not result.ready():
        refuse(f"result: {task_id} is {result.state}: it has not ended, or nobody knows the id; --wait waits", FAILURE)
    if result.successful():
        click.echo(result.traceback or "" if traceback else result.result)
        return OK
    click.echo(result.traceback if traceback and result.traceback else f"{result.state}: {result.result!r}", err=True)
    return FAILURE


def _handle(app: App, task: str | None, task_id: str) -> AsyncResult[Any]:
    if task is None:
        return app.AsyncResult(task_id)
    found = find_task(app, task)
    if found is None:
        refuse(f"result: the app has no task {task!r}{nearest(task, task_names(app))}")
    return found.AsyncResult(task_id)
