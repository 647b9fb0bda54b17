"""The kinds of values that options take. A wrong value is answered with what was expected, in one line."""

from __future__ import annotations

import json
import logging
from datetime import datetime
from typing import Any

import click

from fastq.cli.exits import nearest
from fastq.proc import cpus

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL")


class Json(click.ParamType):
    """A JSON document whose outermost value is of one kind."""

    name = "JSON"

    def __init__(self, kind: type[list[Any]] | type[dict[str, Any]], example: str) -> None:
        self.kind = kind
        self.example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse *value*."""
        if isinstance(value, self.kind):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"not JSON ({error}): {value}; write it like {self.example}", param, ctx)
        if not isinstance(found, self.kind):
            wanted = "list" if self.kind is list else "object"
            self.fail(f"a JSON {wanted} is wanted, not {value}; write it like {self.example}", param, ctx)
        return found


class When(click.ParamType):
    """An ISO 8601 time, and where *seconds* are allowed, a number of them."""

    name = "TIME"

    def __init__(self, *, seconds: bool) -> None:
        self.seconds = seconds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | float:
        """Parse *value*."""
        if isinstance(value, (datetime, float)):
            return value
        text = str(value)
        if self.seconds:
            try:
                return float(text)
            except ValueError:
                pass  # no number, so a time
        try:
            # fromisoformat learned to read "Z" in Python 3.11.
            return datetime.fromisoformat(text[:-1] + "+00:00" if text[-1:] in "zZ" else text)
        except ValueError:
            self.fail(f"{text!r} is no time; write it like 2030-01-31T08:00:00+00:00", param, ctx)


class Names(click.ParamType):
    """Names with commas between them."""

    name = "NAME,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> list[str]:
        """Split *value*."""
        if isinstance(value, list):
            return value
        return [name.strip() for name in str(value).split(",") if name.strip()]


class Level(click.ParamType):
    """A level of logging, by name in any case, or by number."""

    name = "LEVEL"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number that `logging` uses."""
        if isinstance(value, int):
            return value
        text = str(value).upper()
        if text.isdecimal():
            return int(text)
        if text not in LEVELS:
            self.fail(f"no level {value!r}{nearest(text, LEVELS) or '; levels: ' + ', '.join(LEVELS)}", param, ctx)
        return int(getattr(logging, text))


class Children(click.ParamType):
    """How many children: a number from 1, or ``auto`` for one to each CPU this process may use."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Return the number."""
        if isinstance(value, int):
            return value
        if value == "auto":
            return cpus()
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is neither a number from 1 nor 'auto'", param, ctx)
        return int(value)


class Range(click.ParamType):
    """The most and the fewest of something: ``MAX,MIN``, or ``MAX`` with at least one."""

    name = "MAX[,MIN]"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        """Return both."""
        if isinstance(value, tuple):
            return value
        most, _, least = str(value).partition(",")
        if not most.strip().isdecimal() or (least and not least.strip().isdecimal()):
            self.fail(f"{value!r} is no range; write it like 10,3: the most first, then the fewest", param, ctx)
        return int(most), int(least or 1)
