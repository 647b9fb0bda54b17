"""One SVG for each question: a bar with its median and its spread for each system, grouped by case."""

from __future__ import annotations

from html import escape
from math import ceil, floor, log10
from pathlib import Path

from fastq.bench.record import Ledger, Summary
from fastq.bench.system import BARE, FASTQ
from fastq.bench.table import number

ROW, GAP, TOP, LABELS, WIDTH, RIGHT = 20, 30, 56, 170, 560, 90
COLOURS = {FASTQ: "#d9480f", BARE: "#868e96"}
PEER = "#4c6ef5"


class Axis:
    """Values to pixels; logarithmic when the bars differ so much that a linear one would hide the short ones."""

    def __init__(self, rows: list[Summary]) -> None:
        values = [value for row in rows for value in (row.low, row.high) if value > 0] or [1.0]
        self.log = max(values) / min(values) > 30
        self.low = 10.0 ** floor(log10(min(values) * 0.7)) if self.log else 0.0
        self.high = 10.0 ** ceil(log10(max(values))) if self.log else max(values) * 1.05

    def x(self, value: float) -> float:
        if self.log:
            share = log10(max(value, self.low) / self.low) / log10(self.high / self.low)
        else:
            share = value / self.high
        return LABELS + share * WIDTH

    def ticks(self) -> list[float]:
        if self.log:
            return [10.0**power for power in range(round(log10(self.low)), round(log10(self.high)) + 1)]
        step = 10.0 ** floor(log10(self.high))
        step = next(step / part for part in (1, 2, 5, 10) if self.high / (step / part) >= 4)
        return [step * count for count in range(int(self.high / step) + 1)]


def draw(ledger: Ledger, folder: Path) -> Path:
    """Write FOLDER/QUESTION.svg and return its path."""
    rows = list(ledger.summaries())
    axis, y, case, body = Axis(rows), TOP, None, []
    for row in rows:
        if row.case != case:
            case = row.case
            y += GAP
            body.append(text(LABELS, y - 6, case, "start", "bold"))
        body.append(bar(axis, row, y))
        y += ROW
    better = "more is better" if ledger.question.more_is_better else "less is better"
    scale = "logarithmic, " if axis.log else ""
    grid = [
        f'<line x1="{axis.x(tick):.1f}" y1="{TOP}" x2="{axis.x(tick):.1f}" y2="{y + 4}" stroke="#dee2e6"/>'
        + text(axis.x(tick), y + 20, f"{tick:,.10g}", "middle")
        for tick in axis.ticks()
    ]
    foot = f"Median and range of the rounds. {ledger.facts}"
    heading = text(12, 24, ledger.title, "start", "bold", 15)
    unit = text(12, 44, f"{ledger.question.unit}, {scale}{better}", "start")
    size = f'width="{LABELS + WIDTH + RIGHT}" height="{y + 52}"'
    parts = [heading, unit, *grid, *body, text(12, y + 42, foot, "start", size=10)]
    path = folder / f"{ledger.question.name}.svg"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif"><rect {size} fill="white"/>'
    path.write_text("\n".join([head, *parts, "</svg>\n"]))
    return path


def bar(axis: Axis, row: Summary, y: float) -> str:
    end, low, high, middle = axis.x(row.median), axis.x(row.low), axis.x(row.high), y + ROW / 2
    colour = COLOURS.get(row.system, PEER)
    spread = f"M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 4}v8M{high:.1f} {middle - 4}v8"
    return (
        text(LABELS - 8, middle + 4, row.system, "end")
        + f'<rect x="{LABELS}" y="{y + 3}" width="{max(end - LABELS, 1):.1f}" height="{ROW - 6}" fill="{colour}"/>'
        + f'<path d="{spread}" stroke="#212529"/>'
        + text(max(end, high) + 6, middle + 4, number(row.median), "start")
    )


def text(x: float, y: float, words: str, anchor: str, weight: str = "normal", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" font-size="{size}"'
    return f'<text {place} fill="#212529">{escape(words)}</text>'
