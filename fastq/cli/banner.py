"""The worker's first words, as a pure function from values to text. Imports nothing that is slow to print."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

BOLD, GREEN, DIM, OFF = "\x1b[1m", "\x1b[32m", "\x1b[2m", "\x1b[0m"


class Banner(NamedTuple):
    """What a worker tells before it starts; URLs come without passwords."""

    version: str
    hostname: str
    app: str
    broker: str
    results: str
    concurrency: int
    pool: str
    queues: Sequence[str]
    tasks: Sequence[str]


def render(banner: Banner, *, color: bool = False) -> str:
    """Write *banner* as text, with ANSI colours if *color*."""
    bold, green, dim, off = (BOLD, GREEN, DIM, OFF) if color else ("", "", "", "")
    rows = [
        ("app", banner.app),
        ("broker", banner.broker),
        ("results", banner.results),
        ("concurrency", f"{banner.concurrency} ({banner.pool})"),
        ("queues", ", ".join(banner.queues)),
        ("tasks", _listed(banner.tasks)),
    ]
    head = f"{bold}{green}fastq{off} {banner.version}  {bold}{banner.hostname}{off}"
    return "\n".join(["", f"  {head}", "", *(f"  {dim}{name:<12}{off} {value}" for name, value in rows), "", ""])


def _listed(tasks: Sequence[str]) -> str:
    if not tasks:
        return "none: nothing to run; is the module with the tasks imported by the app's (or named by -I)?"
    return ("\n" + " " * 15).join(tasks)
