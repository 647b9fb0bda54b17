"""What a setting may be called and what it may be, and the words for it when it is not.

Each complaint is one line that names the key, where it came from, and the remedy.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta, tzinfo
from typing import Any

from fastq.app.setting_rows import ROWS, Setting
from fastq.exceptions import ConfigError

BY_NAME: dict[str, Setting] = {row.name: row for row in ROWS}
NEW_NAME: dict[str, str] = {row.old: row.name for row in ROWS if row.old}


# --- values ---------------------------------------------------------------------------------------------------

def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


KINDS: dict[str, tuple[str, Callable[[Any], bool], str]] = {
    # kind: how it is called, what it is, an example
    "any": ("anything", lambda _: True, "None"),
    "auto": ("'auto'", lambda value: value == "auto", "'auto'"),
    "bool": ("True or False", lambda value: isinstance(value, bool), "True"),
    "bytes": ("bytes", lambda value: isinstance(value, bytes), "b'secret'"),
    "callable": ("a callable", callable, "print"),
    "class": ("a class", lambda value: isinstance(value, type), "MyClass"),
    "dict": ("a dict", lambda value: isinstance(value, Mapping), "{'key': 'value'}"),
    "float": ("a number", _is_number, "30.0"),
    "int": ("a whole number", lambda value: _is_number(value) and isinstance(value, int), "4"),
    "list": ("a list", lambda value: isinstance(value, (list, tuple, set, frozenset)), "['one', 'two']"),
    "none": ("None", lambda value: value is None, "None"),
    "path": ("a path", lambda value: isinstance(value, os.PathLike), "Path('file')"),
    "str": ("text", lambda value: isinstance(value, str), "'text'"),
    "string": ("text", lambda value: isinstance(value, str), "'text'"),
    "timedelta": ("a timedelta", lambda value: isinstance(value, timedelta), "timedelta(hours=1)"),
    "tuple": ("a list", lambda value: isinstance(value, (list, tuple, set, frozenset)), "['one', 'two']"),
    "tzinfo": ("a tzinfo", lambda value: isinstance(value, tzinfo), "timezone.utc"),
}


def is_optional(row: Setting) -> bool:
    """Whether None is a value of it."""
    return "none" in row.kinds or row.celery is None or row.fastq is None


def takes(row: Setting, value: object) -> bool:
    """Whether *value* may be its value."""
    return (value is None and is_optional(row)) or any(KINDS[kind][1](value) for kind in row.kinds)


def wanted(row: Setting) -> str:
    """Say in words what it takes."""
    words = [KINDS[kind][0] for kind in row.kinds if kind != "none"]
    return " or ".join([*words, "None"] if is_optional(row) and "any" not in row.kinds else words)


def example(row: Setting) -> str:
    """Give a value that it takes, as one would type it."""
    if row.celery:
        return repr(row.celery)
    return "'redis://localhost:6379/0'" if row.name.endswith("_url") else KINDS[row.kinds[0]][2]


def type_problem(row: Setting, value: object, spelling: str, origin: str) -> str:
    """Say what the value is, where it came from, what was wanted, and an example."""
    return (f"{spelling} = {_short(value)} ({type(value).__name__}), from {origin}: wanted {wanted(row)}, "
            f"for example {spelling} = {example(row)}")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# --- values that are text: the environment and the command line ----------------------------------------------

TRUE = frozenset(("1", "true", "yes", "on", "y", "t"))
FALSE = frozenset(("0", "false", "no", "off", "n", "f"))


def _bool(text: str) -> bool:
    if text.lower() not in TRUE | FALSE:
        raise ValueError("wanted true or false")
    return text.lower() in TRUE


def _list(text: str) -> Any:
    return json.loads(text) if text.lstrip().startswith("[") else [part.strip() for part in text.split(",")]


def _any(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


CASTS: dict[str, Callable[[str], Any]] = {
    "any": _any, "auto": str, "bool": _bool, "bytes": str.encode, "callable": str, "class": str, "dict": json.loads,
    "float": float, "int": int, "json": json.loads, "list": _list, "path": str, "str": str, "string": str,
    "tuple": _list,
}


def cast(row: Setting, text: str, spelling: str, origin: str) -> Any:
    """Make *text* a value of *row*, trying its kinds in order; ConfigError if it is none of them."""
    if is_optional(row) and text.lower() in ("none", "null"):
        return None
    for kind in row.kinds:
        try:
            value = CASTS[kind](text)
        except (KeyError, ValueError):
            continue
        if KINDS[kind][1](value):
            return value
    raise ConfigError(type_problem(row, text, spelling, origin))


# --- names ----------------------------------------------------------------------------------------------------

def nearest(name: str, among: Iterable[str], cutoff: float = 0.6) -> str | None:
    """Return the one of *among* that *name* was most likely meant to be, or None."""
    import difflib  # noqa: PLC0415  only errors pay for it

    found = difflib.get_close_matches(name, list(among), n=1, cutoff=cutoff)
    return found[0] if found else None


def suggest(name: str, prefix: str = "") -> str:
    """Say which right name *name* may have been meant to be, "" if none is near."""
    bare = name[len(prefix):].lower() if prefix and name.startswith(prefix) else name
    if not prefix and name.startswith("CELERY_") and name[7:].lower() in BY_NAME:
        return f"; did you mean {name[7:].lower()!r}, or namespace='CELERY'?"
    if name.isupper() and not prefix:
        near = nearest(name, NEW_NAME)
        return f"; did you mean {near!r}?" if near else ""
    near = nearest(bare, BY_NAME)
    return f"; did you mean {_spell(near, prefix)!r}?" if near else ""


def _spell(name: str, prefix: str) -> str:
    return prefix + (name.upper() if prefix.isupper() else name)
