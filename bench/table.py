"""The rounds of a question as a table for people."""

from __future__ import annotations

from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from fastq.bench.record import Ledger, Summary
from fastq.bench.system import FASTQ

_WIDEST = 400


def show(ledger: Ledger, console: Console) -> None:
    """Print the medians, their spread, and how fastq compares; then what is missing and why."""
    question = ledger.question
    rows = list(ledger.summaries())
    ours = {row.case: row.median for row in rows if row.system == FASTQ}
    table = Table(title=ledger.title, title_justify="left", header_style="bold")
    for heading in ("case", "system"):
        table.add_column(heading, no_wrap=True)
    served = any(row.broker_us is not None for row in rows)
    for heading in ("median", "min .. max", "CPU us/task", *["broker us"] * served, "rounds", "fastq is"):
        table.add_column(heading, justify="right", no_wrap=True)
    shown = None
    for row in rows:
        if shown not in (None, row.case):
            table.add_section()
        case, shown = ("" if row.case == shown else row.case), row.case
        ratio = compare(ours.get(row.case), row, more_is_better=question.more_is_better)
        table.add_row(
            case, row.system, number(row.median), f"{number(row.low)} .. {number(row.high)}",
            micros(row.cpu_us), *[micros(row.broker_us)] * served, str(row.rounds), ratio,
            style="bold" if row.system == FASTQ else "",
        )  # fmt: skip
    # At its own width, whatever the window's: a figure or a name with its end cut off is none.
    window = console.width
    console.width = max(window, Measurement.get(console, console.options.update(max_width=_WIDEST), table).maximum)
    console.print(table)
    console.width = window
    for note in question.notes:
        console.print(f"  {note}", highlight=False)
    for reasons, mark, style in ((ledger.absent, "", "yellow"), (ledger.failed, "FAILED: ", "red")):
        for why, systems in by_reason(reasons).items():
            console.print(f"  {mark}{', '.join(systems)}: {why}", style=style, markup=False, highlight=False)
    console.print(f"  {ledger.facts}\n", style="dim", highlight=False)


def by_reason(reasons: dict[str, str]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for system, why in reasons.items():
        grouped.setdefault(why, []).append(system)
    return grouped


def compare(ours: float | None, row: Summary, *, more_is_better: bool) -> str:
    """How many times as good fastq is as this row: over 1 is better, under 1 is worse, whatever the unit."""
    if ours is None or row.system == FASTQ or not (ours and row.median):
        return ""
    ratio = ours / row.median if more_is_better else row.median / ours
    return f"{ratio:.2f} x" if ratio < 10 else f"{ratio:,.0f} x"


def micros(value: float | None) -> str:
    return "" if value is None else number(value)


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
