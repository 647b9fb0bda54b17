"""The account at the end: the largest files, the totals, and the files that were lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

COUNTS = ("lines", "tokens", "functions", "classes")


def find_lost(files: Sequence[str], outcomes: Sequence[Mapping[str, Any]]) -> list[str]:
    """Name the files that do not have exactly one outcome."""
    seen = Counter(outcome["path"] for outcome in outcomes)
    return [path for path in files if seen[path] != 1]


def print_report(console: Console, outcomes: Mapping[str, Mapping[str, Any]], elapsed_s: float) -> None:
    """Print the ten files with the most tokens, and the totals of all *outcomes*, which are by file name."""
    table = Table("the ten largest files", *COUNTS, box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for name in sorted(outcomes, key=lambda name: -outcomes[name]["tokens"])[:10]:
        table.add_row(name, *(f"{outcomes[name][count]:,}" for count in COUNTS))
    console.print(table)
    totals = ", ".join(f"{sum(outcome[count] for outcome in outcomes.values()):,} {count}" for count in COUNTS)
    broken = sum(outcome["error"] is not None for outcome in outcomes.values())
    again = sum(outcome["redelivered"] for outcome in outcomes.values())
    console.print(f"{totals}; {broken} files are no valid Python, which is their result", soft_wrap=True)
    console.print(f"{len(outcomes):,} tasks in {elapsed_s:.1f} s: {len(outcomes) / elapsed_s:,.0f} tasks/s, "
                  f"{again} redelivered", soft_wrap=True)
