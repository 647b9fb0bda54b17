"""``fastq bench``: hands its arguments to the benchmarks, which have a help of their own."""

from __future__ import annotations

import click

from fastq.bench.run import main


@click.command(
    add_help_option=False, context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def command(arguments: tuple[str, ...]) -> int:
    """Measure this machine, beside the peers that are installed."""
    return main(list(arguments))
