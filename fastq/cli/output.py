"""How commands print: plain lines, and tables that are cut to a terminal but never to a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from typing import IO, Any

PIPE_WIDTH = 10_000


def has_color(stream: IO[str]) -> bool:
    """Tell whether *stream* is a terminal that may be written to in colour."""
    return stream.isatty() and not os.environ.get("NO_COLOR")


def printable(text: str) -> str:
    """Return *text*, escaped if it holds what a terminal would obey: names and reasons come from others' messages."""
    return text if text.isprintable() else ascii(text)[1:-1]


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, numbers: Sequence[str] = ()) -> None:
    """Print *rows* under *columns*; those named in *numbers* are aligned to the right."""
    from rich.console import Console
    from rich.table import Table

    color = has_color(sys.stdout)
    console = Console(
        no_color=not color, highlight=False, emoji=False, markup=False,
        width=None if sys.stdout.isatty() else PIPE_WIDTH,
    )
    table = Table(box=None, pad_edge=False, header_style="bold" if color else "")
    for name in columns:
        table.add_column(name, justify="right" if name in numbers else "left", no_wrap=name != columns[-1])
    for row in rows:
        table.add_row(*(printable(str(value)) for value in row))
    console.print(table)
