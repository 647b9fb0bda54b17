"""``fastq demo``: runs the example ``fastq.examples.stdlib_index``."""

from __future__ import annotations

import click

from fastq.cli.command import Command, option
from fastq.examples.stdlib_index.run import run, stdlib_files


@click.command(cls=Command, examples="""
    fastq demo
    fastq demo --files 200 --children 4
""")
@option("--files", type=click.IntRange(min=1), metavar="N", help="Only the first so many files.")
@option("-c", "--children", type=click.IntRange(min=1), default=2, show_default=True, help="Children of the worker.")
@option("--no-kill", is_flag=True, help="Kill nobody.")
def command(files: int | None, children: int, no_kill: bool) -> int:
    """Index the standard library with two children and kill one.

    Counts the lines, tokens, functions and classes of every source file of this Python's standard library.
    On the way one child is killed with SIGKILL; at the end each file must have exactly one result.
    Exit code 1, with the names, if one was lost. It works in a temporary folder and leaves nothing behind.
    The code is in the package: fastq/examples/stdlib_index.
    """
    return run(stdlib_files()[:files], children=children, kill=not no_kill)
